"""Reading the outgoing topics: without a group, from all partitions, as CloudEvents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from qa_service.alerts.cloudevents import decode_event
from qa_service.kafka import KafkaConfig, KafkaUnavailable, make_consumer, start_with_retry

_POLL_MS = 500


async def follow(
    kafka: KafkaConfig, *topics: str, from_start: bool = True, until_end: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """Yield each event of some topics with its attributes and its data; raises KafkaUnavailable."""
    consumer = await start_with_retry(lambda: make_consumer(kafka), kafka)
    try:
        partitions = await _assign(consumer, topics, from_start=from_start)
        ends = await consumer.end_offsets(partitions) if until_end else {}
        while True:
            polled = await consumer.getmany(timeout_ms=_POLL_MS)
            for records in polled.values():
                for record in records:
                    yield decode_event(record.key, record.headers, record.value)
            if until_end and all([await consumer.position(p) >= ends[p] for p in partitions]):
                return
    finally:
        await consumer.stop()


async def _assign(
    consumer: AIOKafkaConsumer, topics: Sequence[str], *, from_start: bool
) -> list[TopicPartition]:
    metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - without a group there is no other way
    partitions = []
    for topic in topics:
        found = metadata.partitions_for_topic(topic)
        if not found:
            raise KafkaUnavailable(f"topic {topic} does not exist; check the topic's name in the settings")
        partitions += [TopicPartition(topic, number) for number in sorted(found)]
    consumer.assign(partitions)
    seek = consumer.seek_to_beginning if from_start else consumer.seek_to_end
    await seek(*partitions)
    return partitions
