"""The producer side of the audio contract, for telephony platforms written in Python.

    async with connect_publisher(KafkaConfig(bootstrap="kafka:9092"), "telephony.audio") as publisher:
        call = publisher.call("call-1")
        customer = call.leg("customer")
        await customer.start(LegInfo(role="customer"), ts=now_ms())
        await customer.frame(audio, ts=now_ms())  # 20 ms at a time, as it comes off the line
        await customer.stop(ts=now_ms())
        await call.end(ts=now_ms())

Decided here: a leg keeps its own ``pos`` and ``seq``; a record's Kafka time stamp is its capture time; a
record that could not be delivered fails the next call on the same publisher, at the latest the block's end.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka.errors import KafkaError

from qa_service.contract import (
    DEFAULT_CODEC,
    DEFAULT_RATE,
    AudioFrame,
    CallEnd,
    Codec,
    LegChange,
    LegInfo,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
    Record,
    count_samples,
    encode_record,
)
from qa_service.kafka import KafkaConfig, make_producer, start_with_retry

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

# Frames of all legs that come within one frame's time share a request; at 20-ms frames nobody notices 5 ms.
_LINGER_MS = 5


class DeliveryError(Exception):
    """A record was not taken by Kafka; the message names the call and the cause."""


class Sending(Protocol):
    """What is used of a Kafka producer; aiokafka's has it."""

    async def send(  # noqa: PLR0917 - the order of aiokafka
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a record; the future ends once it is delivered or has failed."""
        ...

    async def flush(self) -> None:
        """Return once all queued records are delivered or have failed."""
        ...


class Publisher:
    """Sends records of any number of calls to one topic, each call's in order."""

    def __init__(self, producer: Sending, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._failure: DeliveryError | None = None

    def call(self, call_id: str) -> CallPublisher:
        """The publisher of one call."""
        return CallPublisher(self, call_id)

    async def send(self, call_id: str, record: Record) -> None:
        """Queue one record.

        Raises ContractViolation for a record that no consumer could decode, DeliveryError if an earlier
        record was not delivered.
        """
        self._check()
        encoded = encode_record(call_id, record)
        try:
            delivery = await self._producer.send(
                self._topic,
                key=encoded.key,
                value=encoded.value,
                headers=list(encoded.headers),
                timestamp_ms=record.ts,
            )
        except KafkaError as error:
            raise _undelivered(self._topic, call_id, error) from error
        delivery.add_done_callback(lambda done: self._note(call_id, done))

    async def flush(self) -> None:
        """Return once everything sent so far is delivered; raises DeliveryError if something was not."""
        await self._producer.flush()
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _note(self, call_id: str, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None and self._failure is None:
            self._failure = _undelivered(self._topic, call_id, error)


class CallPublisher:
    """Sends the records of one call."""

    def __init__(self, publisher: Publisher, call_id: str) -> None:
        self.call_id = call_id
        self._publisher = publisher

    def leg(self, leg: str, *, codec: Codec = DEFAULT_CODEC, rate: int = DEFAULT_RATE) -> LegPublisher:
        """The publisher of one leg, whose audio is in ``codec`` at ``rate`` Hz."""
        return LegPublisher(self, leg, codec, rate)

    async def end(self, ts: int) -> None:
        """Say that the call is over; ``ts`` in Unix ms, as everywhere here."""
        await self.send(CallEnd(ts))

    async def send(self, record: Record) -> None:
        """Queue one record; raises as :meth:`Publisher.send` does."""
        await self._publisher.send(self.call_id, record)


class LegPublisher:
    """Sends the records of one leg and counts its frames and samples."""

    def __init__(self, call: CallPublisher, leg: str, codec: Codec, rate: int) -> None:
        self._call = call
        self._leg = leg
        self._codec: Codec = codec
        self._rate = rate
        self._pos = 0
        self._seq = 0

    async def start(self, info: LegInfo, ts: int) -> None:
        """Begin the leg and say who is on it."""
        await self._call.send(LegStart(self._leg, ts, self._codec, self._rate, info))

    async def update(self, change: LegChange, ts: int) -> None:
        """Say what changed of what ``start`` said."""
        await self._call.send(LegUpdate(self._leg, ts, change))

    async def frame(self, audio: bytes, ts: int, *, samples: int | None = None) -> None:
        """Send the next frame; ``samples`` where it is shorter or longer than its bytes say."""
        length = count_samples(self._codec, audio, self._rate) if samples is None else samples
        await self._call.send(AudioFrame(self._leg, self._pos, self._seq, ts, audio))
        self._pos += length
        self._seq += 1

    def skip(self, samples: int) -> None:
        """Leave out audio never captured (hold, mute, DTX): positions go on, frame numbers do not."""
        if samples < 0:
            raise ValueError(f"cannot skip {samples} samples: a leg's positions only grow")
        self._pos += samples

    async def pause(self, ts: int) -> None:
        """Ask for no transcript from here on (card entry)."""
        await self._call.send(LegPause(self._leg, ts))

    async def resume(self, ts: int) -> None:
        """Ask for transcripts again."""
        await self._call.send(LegResume(self._leg, ts))

    async def stop(self, ts: int) -> None:
        """Say that the leg is over."""
        await self._call.send(LegStop(self._leg, ts))


@asynccontextmanager
async def connect_publisher(config: KafkaConfig, topic: str) -> AsyncIterator[Publisher]:
    """A publisher for the length of a block, at whose end everything is delivered.

    ``config.idempotence`` must be off for brokers without it (the embedded one). Raises KafkaUnavailable if
    no broker answers, DeliveryError for a record that was not taken.
    """
    producer = await start_with_retry(lambda: make_producer(config, linger_ms=_LINGER_MS), config)
    try:
        publisher = Publisher(producer, topic)
        yield publisher
        await publisher.flush()
    finally:
        await producer.stop()


def _undelivered(topic: str, call_id: str, error: BaseException) -> DeliveryError:
    cause = str(error) or type(error).__name__
    return DeliveryError(
        f"Kafka did not take a record of call {call_id!r} for topic {topic}: {cause}; "
        "check that the topic exists and that its brokers are up"
    )
