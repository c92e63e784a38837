"""The self-hosted realtime ASR server: an aiohttp shell over protocol, voice activity, engines.

The way of a sound: `connection` → `session` → `voice_activity` → `segmenter` → `turn` → `scheduler` →
`recognition` → `engines`, and back through `session`.
"""

from __future__ import annotations

from qa_service.asr_server.config import ServerConfig
from qa_service.asr_server.errors import AsrServerError, EngineError, StartError
from qa_service.asr_server.server import AsrServer, serve
from qa_service.asr_server.tls import TlsFiles
from qa_service.asr_server.workplace import Models

__all__ = [
    "AsrServer",
    "AsrServerError",
    "EngineError",
    "Models",
    "ServerConfig",
    "StartError",
    "TlsFiles",
    "serve",
]
