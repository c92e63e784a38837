"""What the tests of the asr-server share: sounds with known words, and a client that speaks plain JSON."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np

from qa_service.asr_server.engines.scripted import markers
from qa_service.audio.resample import pcm_of_samples

DEADLINE_S = 20.0
Event = dict[str, Any]


def silence(seconds: float, rate_hz: int = 8000) -> bytes:
    return bytes(2 * round(seconds * rate_hz))


def spoken(*words: str, rate_hz: int = 8000) -> bytes:
    """PCM in which the scripted engine hears ``words``."""
    return pcm_of_samples(markers(words, rate_hz=rate_hz))


def noise(seconds: float, rate_hz: int = 8000, level: float = 0.001) -> bytes:
    generator = np.random.default_rng(7)
    return pcm_of_samples(generator.normal(0.0, level, round(seconds * rate_hz)).astype(np.float32))


def update(**session: Any) -> Event:
    return {"type": "session.update", "event_id": "event_update", "session": session}


VAD_8K = update(
    input_audio_format="pcm",
    sample_rate=8000,
    turn_detection={"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400},
)
MANUAL_8K = update(input_audio_format="pcm", sample_rate=8000, turn_detection=None)
COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
FINISH = {"type": "session.finish"}


class Client:
    """A client of the protocol as a user without a library would write it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[Event] = []

    async def send(self, *events: Event) -> None:
        for event in events:
            await self.socket.send_str(json.dumps(event))

    async def append(self, pcm: bytes, *, size: int | None = None) -> None:
        """Send audio, in appends of ``size`` bytes or in one."""
        for start in range(0, len(pcm), size or max(len(pcm), 1)):
            part = pcm[start : start + (size or len(pcm))]
            audio = base64.b64encode(part).decode()
            await self.send({"type": "input_audio_buffer.append", "audio": audio})

    async def receive(self) -> Event:
        """The next event; fails if none comes in time."""
        async with asyncio.timeout(DEADLINE_S):
            message = await self.socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, f"the server sent {message.type}, {message.data!r}"
        event: Event = json.loads(message.data)
        self.events.append(event)
        return event

    async def receive_until(self, kind: str, count: int = 1) -> Event:
        """Take events until the ``count``-th from now whose type ends in ``kind``."""
        while True:
            event = await self.receive()
            if event["type"].endswith(kind):
                count -= 1
                if not count:
                    return event

    async def finish(self) -> None:
        await self.send(FINISH)
        await self.receive_until("session.finished")

    def of_type(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"].endswith(kind)]

    @property
    def transcripts(self) -> list[str]:
        return [event["transcript"] for event in self.of_type(".completed")]

    @property
    def order(self) -> list[str]:
        """The types that came after the configuration, partials left out, shortened to their last parts."""
        skipped = ("created", "updated", ".text", "progress")
        kinds = [event["type"] for event in self.events]
        return [
            kind.rsplit(".", 1)[-1]
            for kind in kinds
            if kind == "conversation.item.created" or not kind.endswith(skipped)
        ]


@asynccontextmanager
async def connected(
    url: str, *updates: Event, headers: dict[str, str] | None = None, query: str = ""
) -> AsyncIterator[Client]:
    """A client whose updates have been accepted."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url + query, headers=headers, max_msg_size=0) as socket,
    ):
        client = Client(socket)
        await client.receive_until("session.created")
        for event in updates:
            await client.send(event)
            await client.receive_until("session.updated")
        yield client


def texts(events: Sequence[Event]) -> list[str]:
    return [event["text"] + event["stash"] for event in events]
