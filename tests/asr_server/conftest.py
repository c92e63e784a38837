"""Servers for the tests: scripted ones, which need no model files."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from qa_service.asr_server import AsrServer, ServerConfig, serve


@pytest.fixture
async def server() -> AsyncIterator[AsrServer]:
    """A server with the scripted engine and no keys."""
    config = ServerConfig(port=0, no_auth=True, engine="scripted", threads=2, close_wait_s=0.5)
    async with await serve(config) as server:
        await server.wait_ready()
        yield server
