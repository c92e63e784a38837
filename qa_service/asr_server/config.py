"""What the asr-server can be told when it is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qa_service.protocol import CLOSE_WAIT_S, DEFAULT_MODEL, MODELS


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The configuration of one asr-server."""

    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    api_keys: tuple[str, ...] = ()
    """Keys that are accepted; at least one, unless ``no_auth``."""
    no_auth: bool = False
    """Serve without looking for a key."""
    threads: int = 2
    """Recognitions side by side; one core each."""
    cache_dir: Path | None = None
    """Where model files are; None for the user's cache folder."""
    engine: Literal["whisper", "scripted"] = "whisper"
    emotion: bool = True
    """Load the emotion model at all."""
    models: tuple[str, ...] = MODELS
    """Model names that clients may ask for; all mean the same engine."""
    default_model: str = DEFAULT_MODEL
    """What a client gets that asks for none."""
    max_sessions: int = 200
    """Sessions at a time; further ones are refused with 429."""
    idle_timeout_s: float = 900.0
    """Seconds without any frame from the client after which its session ends; at least 600 are advised."""
    close_wait_s: float = CLOSE_WAIT_S
    """Seconds the client has to close after its session is finished."""
