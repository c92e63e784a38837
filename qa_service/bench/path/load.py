"""The load: calls of two legs, 20-ms µ-law frames in real time, as a telephony platform would publish them.

Legs are spread over two slots of 10 ms, since the clocks of real lines do not beat together; all frames of a
slot and partition go out as one record batch, and a slot never waits for the one before to be acknowledged.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2
from msgspec import Struct

from qa_service.bench.path.helper import Handlers
from qa_service.bench.path.stamps import FRAME_SAMPLES, STAMP_SAMPLES, now_ticks, write_stamp
from qa_service.contract import CallEnd, LegInfo, LegStart, LegStop, encode_record
from qa_service.kafka import KafkaConfig, make_producer

FRAME_MS: Final = 20
_SLOTS: Final = 2
_SLOT_S: Final = FRAME_MS / 1000 / _SLOTS
_POSITIVE: Final = 0x7FFFFFFF
_ROLES: Final = ("customer", "agent")
_MOST_UNACKNOWLEDGED: Final = (
    2000  # batches; then the broker cannot follow, and the bench has nothing to measure
)


class Sent(Struct, frozen=True):
    """What was published: frames, and how late the latest slot began."""

    frames: int
    late_ms: float


@dataclass(slots=True)
class _Leg:
    call: str
    key: bytes
    partition: int
    role: str
    headers: tuple[tuple[str, bytes], ...]
    frames: int = 0


class _Generator:
    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._topic = ""
        self._legs: list[_Leg] = []
        self._playing: asyncio.Task[None] | None = None
        self._unacknowledged: set[asyncio.Future[Any]] = set()
        self._frames = 0
        self._late_s = 0.0
        self._is_ending = False
        # Any sound will do: nobody listens but the voice gate, and that shall not take it for silence.
        self._sound = (
            np.random.default_rng(1).integers(0, 255, FRAME_SAMPLES - STAMP_SAMPLES, np.uint8).tobytes()
        )

    async def begin(self, topic: str, partitions: int, legs: int, prefix: str, spread_s: float) -> bool:
        """Begin so many legs, their beginnings spread over a while, and play them until told to end."""
        self._topic, self._frames, self._late_s = topic, 0, 0.0
        self._is_ending = False
        self._legs = [
            _leg(f"{prefix}-{number // 2}", _ROLES[number % 2], partitions) for number in range(legs)
        ]
        self._playing = asyncio.create_task(self._play(spread_s))
        return True

    async def reset(self) -> bool:
        """Count from here."""
        self._frames, self._late_s = 0, 0.0
        return True

    async def report(self) -> Sent:
        """What was published since."""
        if self._playing is not None and self._playing.done():
            self._playing.result()
        return Sent(self._frames, self._late_s * 1000)

    async def end(self) -> Sent:
        """End all calls; what was published since the last reset."""
        assert self._playing is not None  # noqa: S101 - nothing is ended before it is begun
        self._is_ending = True
        await self._playing
        await self._producer.flush()
        for leg in self._legs:
            await self._tell(leg, LegStop(leg.role, _unix_ms()))
            if leg.role == _ROLES[-1]:
                await self._tell(leg, CallEnd(_unix_ms()))
        await self._producer.flush()
        return Sent(self._frames, self._late_s * 1000)

    async def _play(self, spread_s: float) -> None:
        slots: list[list[_Leg]] = [[] for _ in range(_SLOTS)]
        waiting = iter(self._legs)
        started, begun = 0, time.monotonic()
        for beat in itertools.count():
            if self._is_ending:
                return
            due = begun + beat * _SLOT_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            passed = time.monotonic() - begun
            self._late_s = max(self._late_s, passed - beat * _SLOT_S)
            wanted = int(len(self._legs) * min(1.0, passed / spread_s)) - started
            for leg in itertools.islice(waiting, wanted):
                await self._start(leg)
                slots[started % _SLOTS].append(leg)
                started += 1
            await self._send_slot(slots[beat % _SLOTS])

    async def _start(self, leg: _Leg) -> None:
        info = LegInfo(role="customer" if leg.role == "customer" else "agent")
        await self._tell(leg, LegStart(leg.role, _unix_ms(), "pcmu", 8000, info))

    async def _send_slot(self, legs: list[_Leg]) -> None:
        batches: dict[int, Any] = {}
        ts = _unix_ms()
        ts_header = ("ts", b"%d" % ts)
        value = write_stamp(now_ticks()) + self._sound
        for leg in legs:
            batch = batches.get(leg.partition)
            if batch is None:
                batch = batches[leg.partition] = self._producer.create_batch()
            numbers = (("pos", b"%d" % (leg.frames * FRAME_SAMPLES)), ("seq", b"%d" % leg.frames), ts_header)
            if batch.append(key=leg.key, value=value, timestamp=ts, headers=[*leg.headers, *numbers]) is None:
                raise RuntimeError("more legs in a slot than a record batch holds")
            leg.frames += 1
            self._frames += 1
        for partition, batch in batches.items():
            batch.close()
            delivery = await self._producer.send_batch(batch, self._topic, partition=partition)
            self._unacknowledged.add(delivery)
            delivery.add_done_callback(self._acknowledge)
        if len(self._unacknowledged) > _MOST_UNACKNOWLEDGED:
            raise RuntimeError("the broker does not take records as fast as they are spoken; try fewer legs")

    def _acknowledge(self, delivery: asyncio.Future[Any]) -> None:
        self._unacknowledged.discard(delivery)
        delivery.exception()

    async def _tell(self, leg: _Leg, record: LegStart | LegStop | CallEnd) -> None:
        encoded = encode_record(leg.call, record)
        await self._producer.send(
            self._topic,
            key=encoded.key,
            value=encoded.value,
            headers=list(encoded.headers),
            timestamp_ms=record.ts,
            partition=leg.partition,
        )


async def generate(answer: Callable[[Handlers], Awaitable[None]], kafka: KafkaConfig) -> None:
    """The generator's program."""
    producer = make_producer(kafka)
    await producer.start()
    try:
        generator = _Generator(producer)
        await answer(
            {
                "begin": generator.begin,
                "reset": generator.reset,
                "report": generator.report,
                "end": generator.end,
            }
        )
    finally:
        await producer.stop()


def leg_keys(prefix: str, legs: int) -> list[tuple[bytes, bytes]]:
    """Record key and ``leg`` header of the legs that a generator plays."""
    return [(f"{prefix}-{number // 2}".encode(), _ROLES[number % 2].encode()) for number in range(legs)]


def partition_of(key: bytes, partitions: int) -> int:
    """Where the default partitioner of the contract puts a call."""
    return int((murmur2(key) & _POSITIVE) % partitions)


def _leg(call: str, role: str, partitions: int) -> _Leg:
    key = call.encode()
    headers = (("v", b"1"), ("type", b"audio"), ("leg", role.encode()))
    return _Leg(call, key, partition_of(key, partitions), role, headers)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
