"""A recogniser that follows a script: each test says what it does with a connection."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import make_http_session

SESSION = {
    "id": "sess_1",
    "object": "realtime.session",
    "model": "m",
    "modalities": ["text"],
    "input_audio_format": "pcm",
    "sample_rate": 8000,
    "input_audio_transcription": None,
    "turn_detection": {"type": "server_vad", "threshold": 0.2, "silence_duration_ms": 800},
}


class Connection:
    """One connection as the scripted server sees it."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.request = request
        self.socket = socket

    async def send(self, kind: str, **members: object) -> None:
        await self.socket.send_str(json.dumps({"event_id": "event_s", "type": kind, **members}))

    async def receive(self, kind: str) -> dict:
        """The next message, which must be a ``kind``."""
        message = await self.socket.receive_json(timeout=10)
        assert kind == message["type"]
        return message

    async def greet(self) -> dict:
        """The handshake up to ``session.updated``; returns the client's update."""
        await self.send("session.created", session=SESSION)
        update = await self.receive("session.update")
        await self.send("session.updated", session=SESSION)
        return update

    async def receive_audio(self) -> bytes:
        message = await self.receive("input_audio_buffer.append")
        return base64.b64decode(message["audio"])

    async def say(self, item: str, text: str) -> None:
        """The final result of an item."""
        await self.send(
            "conversation.item.input_audio_transcription.completed",
            item_id=item,
            content_index=0,
            language="en",
            emotion="angry",
            transcript=text,
        )

    async def await_close(self) -> int:
        """Read until the client has gone; returns its close code."""
        async for _ in self.socket:
            pass
        return self.socket.close_code


@pytest.fixture
async def http():
    async with make_http_session() as session:
        yield session


@pytest.fixture
def scripted():
    """``async with scripted(script) as endpoint``: a server that runs ``await script(connection)``."""

    @asynccontextmanager
    async def serve(script):
        failures: list[BaseException] = []

        async def handle(request: web.Request) -> web.StreamResponse:
            socket = web.WebSocketResponse(autoping=getattr(script, "autoping", True))
            await socket.prepare(request)
            try:
                await script(Connection(request, socket))
            except BaseException as error:
                failures.append(error)
                raise
            return socket

        async with listening(handle) as endpoint:
            yield endpoint
        failed = [error for error in failures if isinstance(error, AssertionError)]
        assert failed == []

    return serve


@pytest.fixture
def answering():
    """``async with answering(status) as endpoint``: a server that refuses every handshake."""

    def serve(status: int):
        async def refuse(_request: web.Request) -> web.Response:
            return web.json_response({"code": "Refused", "message": "no"}, status=status)

        return listening(refuse)

    return serve


@asynccontextmanager
async def listening(handler):
    app = web.Application()
    app.router.add_get("/api-ws/v1/realtime", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield RecogniserEndpoint(f"ws://127.0.0.1:{runner.addresses[0][1]}", api_key="key-1", model="m")
    finally:
        await runner.cleanup()
