"""A recogniser of its own process that hears word for word: ``python -m tests.chaos.recogniser PORT``."""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from qa_service import logs
from qa_service.asr_server import ServerConfig, serve
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.voice_activity import LoudnessDetector
from qa_service.asr_server.workplace import Models
from tests.chaos.words import VOCABULARY

_NO_LIMIT = 100_000


async def main(port: int) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = ServerConfig(
        port=port, no_auth=True, max_sessions=_NO_LIMIT, sessions_per_second=_NO_LIMIT, close_wait_s=0.2
    )
    models = Models(engine=ScriptedEngine(VOCABULARY), detector=LoudnessDetector())
    async with await serve(config, models=models):
        await stop.wait()


if __name__ == "__main__":
    logs.configure("json", "info")
    uvloop.run(main(int(sys.argv[1])))
