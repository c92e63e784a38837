"""The floor: the least that a program with these client libraries can do, for comparison.

aiokafka's ``getmany`` on the same topic, headers decoded, µ-law by table, 100 ms to an append, aiohttp's
WebSocket on uvloop. No order, no state, no answers, nothing kept, nothing written. Written as plainly as one
would write it, and not to be tuned: what the worker does better than this shows as a ratio below one.
"""

from __future__ import annotations

import asyncio
import binascii
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition

from qa_service.audio.g711 import decode_ulaw
from qa_service.bench.path.helper import Handlers
from qa_service.bench.path.recogniser import SILENT_MODEL
from qa_service.kafka import KafkaConfig, make_consumer
from qa_service.protocol.client import REALTIME_PATH
from qa_service.protocol.config import SessionConfig
from qa_service.protocol.writer import write_update

_APPEND_BYTES: Final = 800  # 100 ms of µ-law at 8 kHz
_CONNECTIONS_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class FloorPlan:
    """Where the floor finds everything."""

    kafka: KafkaConfig
    asr_url: str
    ca_file: str | None = None


@dataclass(slots=True)
class _Leg:
    socket: aiohttp.ClientWebSocketResponse
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    appends: int = 0


class _Floor:
    def __init__(self, plan: FloorPlan) -> None:
        self._plan = plan
        self._table = decode_ulaw(bytes(range(256)))
        self._tasks: list[asyncio.Task[None]] = []
        self._http: aiohttp.ClientSession | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def begin(self, topic: str, partitions: int, keys: list[tuple[bytes, bytes]]) -> bool:
        """Connect these legs and read the topic from its end on."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        gate = asyncio.Semaphore(_CONNECTIONS_AT_ONCE)
        legs = dict(zip(keys, await asyncio.gather(*(self._connect(gate) for _ in keys)), strict=True))
        # Not the worker's ways of fetching, whatever they are: aiokafka's own.
        consumer = self._consumer = make_consumer(
            self._plan.kafka, auto_offset_reset="latest", fetch_min_bytes=1, fetch_max_wait_ms=500
        )
        await consumer.start()
        consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
        await consumer.seek_to_end()
        self._tasks.append(asyncio.create_task(self._run(consumer, legs)))
        return True

    async def end(self) -> bool:
        """Stop and hang up."""
        for task in self._tasks:
            task.cancel()
        failures = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._consumer is not None:
            await self._consumer.stop()
        if self._http is not None:
            await self._http.close()
        for failure in failures:
            if isinstance(failure, Exception):
                raise failure
        return True

    async def _connect(self, gate: asyncio.Semaphore) -> _Leg:
        assert self._http is not None  # noqa: S101 - begin has made it
        tls = ssl.create_default_context(cafile=self._plan.ca_file) if self._plan.ca_file else True
        url = f"{self._plan.asr_url}{REALTIME_PATH}?model={SILENT_MODEL}"
        async with gate:
            socket = await self._http.ws_connect(url, compress=0, max_msg_size=0, ssl=tls)
            await socket.receive()  # session.created
            await socket.send_str(
                write_update(SessionConfig(sample_rate=8000), "update", with_extensions=False)
            )
            await socket.receive()  # session.updated
        return _Leg(socket)

    async def _run(self, consumer: AIOKafkaConsumer, legs: dict[tuple[bytes, bytes], _Leg]) -> None:
        while True:
            polled: dict[TopicPartition, list[Any]] = await consumer.getmany(timeout_ms=100)
            for records in polled.values():
                for record in records:
                    headers = dict(record.headers)
                    if headers["v"] != b"1" or headers["type"] != b"audio":
                        continue
                    _ = int(headers["pos"]), int(headers["seq"]), int(headers["ts"])
                    leg = legs[record.key, headers["leg"]]
                    leg.parts.append(record.value)
                    leg.size += len(record.value)
                    if leg.size >= _APPEND_BYTES:
                        await self._append(leg)

    async def _append(self, leg: _Leg) -> None:
        codes = np.frombuffer(b"".join(leg.parts), dtype=np.uint8)
        audio = binascii.b2a_base64(self._table[codes].tobytes(), newline=False).decode("ascii")
        leg.parts.clear()
        leg.size = 0
        leg.appends += 1
        await leg.socket.send_str(
            f'{{"event_id":"event_{leg.appends}","type":"input_audio_buffer.append","audio":"{audio}"}}'
        )


async def run_floor(answer: Callable[[Handlers], Awaitable[None]], plan: FloorPlan) -> None:
    """The floor's program."""
    floor = _Floor(plan)
    await answer({"begin": floor.begin, "end": floor.end})
