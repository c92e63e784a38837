"""The brokers of tests and demo take records and give them back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import InvalidTopicError

from qa_service.embedded import EmbeddedBroker
from tests.support.kafka import create_topic

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [(b"call-1", b"first"), (b"call-1", b"second"), (b"call-1", b"third")]


async def round_trip(bootstrap: str, topic: str, *, idempotent: bool) -> list[tuple[bytes, bytes]]:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=idempotent) as producer:
        for key, value in RECORDS:
            await producer.send_and_wait(topic, value, key=key)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(20):
        return [(record.key, record.value) for record in [await consumer.getone() for _ in RECORDS]]


@pytest.mark.kafka
async def test_apache_kafka_keeps_the_order_of_a_key(kafka_bootstrap, make_topic):
    topic = await make_topic("order", partitions=4)

    assert await round_trip(kafka_bootstrap, topic, idempotent=True) == RECORDS


@pytest.mark.kafka
async def test_a_topic_that_kafka_refuses_is_an_error_not_a_surprise_later(kafka_bootstrap):
    with pytest.raises(InvalidTopicError, match="no blanks"):
        await create_topic(kafka_bootstrap, "no blanks please", partitions=1, configs={})


async def test_the_embedded_broker_keeps_the_order_of_a_key(cache_dir: Path):
    async with EmbeddedBroker(cache_dir) as broker:
        assert await round_trip(broker.bootstrap, "order", idempotent=False) == RECORDS


async def test_two_embedded_brokers_run_side_by_side(cache_dir: Path):
    async with EmbeddedBroker(cache_dir) as one, EmbeddedBroker(cache_dir) as other:
        assert one.bootstrap != other.bootstrap


def test_a_broker_that_is_not_running_has_no_address(cache_dir: Path):
    with pytest.raises(RuntimeError, match="async with"):
        _ = EmbeddedBroker(cache_dir).bootstrap
