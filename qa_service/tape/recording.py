"""A call's records out of the audio topic, without a group: nobody's position is touched.

Decided here: the call is looked for where the producers' partitioner (murmur2) puts its key, and only if it
is not there, on all other partitions; a topic is read up to where it ended when the recording began.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.partitioner import murmur2

from qa_service.kafka import KafkaConfig, KafkaUnavailable, make_consumer, start_with_retry
from qa_service.tape.tapes import Label, Tape, TapeRecord

_POLL_MS = 500
_POSITIVE = 0x7FFFFFFF
"""Java's partitioner drops the sign of the hash this way."""


class CallNotFound(Exception):  # noqa: N818 - named after what was met
    """No record of the call is in what was read, or it lies on two partitions; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records are wanted."""

    topic: str
    call_id: str
    partition: int | None = None
    """None: wherever the call is."""
    since_ms: int | None = None
    """Unix ms from which on the topic is read; None: from its beginning."""


async def record_call(kafka: KafkaConfig, wanted: Wanted, tell: Callable[[int, int], None]) -> Tape:
    """Read the records of a call; ``tell`` hears how many records of how many have been looked at.

    Raises CallNotFound, KafkaUnavailable.
    """
    consumer = await start_with_retry(lambda: make_consumer(kafka), kafka)
    try:
        partitions = await _partitions(consumer, wanted.topic)
        if wanted.partition is not None:
            first, others = [TopicPartition(wanted.topic, wanted.partition)], []
        else:
            likely = partitions[(murmur2(wanted.call_id.encode()) & _POSITIVE) % len(partitions)]
            first, others = [likely], [partition for partition in partitions if partition != likely]
        found = await _collect(consumer, wanted, first, tell)
        if not found and others:
            found = await _collect(consumer, wanted, others, tell)
    finally:
        await consumer.stop()
    return _make_tape(wanted, found)


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - without a group there is no other way
    numbers = metadata.partitions_for_topic(topic)
    if not numbers:
        raise KafkaUnavailable(f"topic {topic} does not exist; check --topic and QA_AUDIO_TOPIC")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


async def _collect(
    consumer: AIOKafkaConsumer,
    wanted: Wanted,
    partitions: Sequence[TopicPartition],
    tell: Callable[[int, int], None],
) -> dict[int, list[TapeRecord]]:
    """The call's records by partition."""
    key = wanted.call_id.encode()
    found: dict[int, list[TapeRecord]] = {}
    async for record in _read_on(consumer, partitions, wanted.since_ms, tell):
        if record.key == key:
            headers = tuple((name, value or b"") for name, value in record.headers)
            taped = TapeRecord(record.offset, record.timestamp, key, headers, record.value)
            found.setdefault(record.partition, []).append(taped)
    return found


async def _read_on(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    since_ms: int | None,
    tell: Callable[[int, int], None],
) -> AsyncIterator[ConsumerRecord]:
    """All records from some time on up to the present ends."""
    consumer.assign(list(partitions))
    ends = await consumer.end_offsets(partitions)
    starts = await _starts(consumer, partitions, since_ms, ends)
    for partition, start in starts.items():
        consumer.seek(partition, start)
    total = sum(max(ends[p] - starts[p], 0) for p in partitions)
    positions = dict(starts)
    while any(positions[p] < ends[p] for p in partitions):
        for partition, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
            for record in records:
                if record.offset < ends[partition]:
                    yield record
        positions = {p: await consumer.position(p) for p in partitions}
        tell(sum(min(positions[p], ends[p]) - starts[p] for p in partitions), total)


async def _starts(
    consumer: AIOKafkaConsumer,
    partitions: Sequence[TopicPartition],
    since_ms: int | None,
    ends: dict[TopicPartition, int],
) -> dict[TopicPartition, int]:
    if since_ms is None:
        return dict(await consumer.beginning_offsets(partitions))
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
    return {p: ends[p] if found.get(p) is None else found[p].offset for p in partitions}


def _make_tape(wanted: Wanted, found: dict[int, list[TapeRecord]]) -> Tape:
    if not found:
        raise CallNotFound(
            f"topic {wanted.topic} holds no record of call {wanted.call_id!r}; has retention dropped it? "
            "Check the call id, --since and --partition"
        )
    if len(found) > 1:
        raise CallNotFound(
            f"call {wanted.call_id!r} lies on partitions {sorted(found)} of {wanted.topic}, so two producers "
            "use different partitioners: choose one with --partition"
        )
    ((partition, records),) = found.items()
    label = Label(
        call_id=wanted.call_id,
        topic=wanted.topic,
        partition=partition,
        recorded_ms=time.time_ns() // 1_000_000,
    )
    return Tape(label, tuple(records))
