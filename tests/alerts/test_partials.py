"""Partials never stand in anybody's way: the newest of a leg goes out, the rest is counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from qa_service import metrics
from qa_service.alerts.cloudevents import decode_event
from qa_service.alerts.partials import PartialsPublisher
from qa_service.domain.announcements import PartialData
from tests.support.waiting import eventually


def _partial(call: str, text: str, leg: str = "customer") -> PartialData:
    return PartialData(
        call_id=call, leg=leg, role="customer", text=text, stash="", language="en", emotion=None, at_ms=100
    )


@asynccontextmanager
async def running(publisher: PartialsPublisher):
    task = asyncio.create_task(publisher.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def dropped():
    before = metrics.PARTIALS_DROPPED._value.get()
    return lambda: metrics.PARTIALS_DROPPED._value.get() - before


def _texts(producer) -> list[str]:
    return [json.loads(record.value)["text"] for record in producer.sent]


async def test_a_partial_is_published_as_a_cloudevent_of_its_call(producer):
    publisher = PartialsPublisher(producer, "qa.partials", interval_s=0)
    async with running(publisher):
        publisher.offer(_partial("c1", "I want"))
        await eventually(lambda: producer.sent, "the partial")

    (record,) = producer.sent
    event = decode_event(record.key, list(record.headers.items()), record.value)
    assert (record.topic, record.key, event["type"]) == ("qa.partials", b"c1", "qa.partial")
    assert event["data"] == {
        "call_id": "c1",
        "leg": "customer",
        "role": "customer",
        "text": "I want",
        "stash": "",
        "language": "en",
        "emotion": None,
        "at_ms": 100,
    }


async def test_the_newest_of_a_leg_replaces_what_waits(producer, dropped):
    publisher = PartialsPublisher(producer, "t", interval_s=0)
    for text in ("I", "I want", "I want to"):
        publisher.offer(_partial("c1", text))
    publisher.offer(_partial("c1", "hello", leg="agent"))
    async with running(publisher):
        await eventually(lambda: len(producer.sent) == 2, "one partial of each leg")

    assert _texts(producer) == ["I want to", "hello"]
    assert dropped() == 2


async def test_what_waits_is_bounded(producer, dropped):
    publisher = PartialsPublisher(producer, "t", max_pending=2, interval_s=0)
    for number in range(5):
        publisher.offer(_partial(f"c{number}", "x"))

    assert dropped() == 3
    assert len(publisher._pending) == 2


async def test_a_slow_broker_holds_partials_back_and_not_the_worker(producer, dropped):
    producer.gate = asyncio.Event()  # futures stay open
    publisher = PartialsPublisher(producer, "t", max_unacknowledged=2, interval_s=0)
    async with running(publisher):
        for number in range(4):
            publisher.offer(_partial(f"c{number}", "x"))
        await eventually(lambda: len(producer.sent) == 2, "as many as may be under way")
        publisher.offer(_partial("c3", "newer"))

    assert len(producer.sent) == 2
    assert dropped() == 1


async def test_failures_are_counted_and_told_once(producer, dropped):
    producer.refuse = lambda _record: ConnectionError("broker away")
    publisher = PartialsPublisher(producer, "t", interval_s=0)
    with capture_logs() as lines:
        async with running(publisher):
            for number in range(3):
                publisher.offer(_partial(f"c{number}", "x"))
            await eventually(lambda: dropped() == 3, "three failures")
            producer.refuse = lambda _record: None
            publisher.offer(_partial("c9", "back"))
            await eventually(lambda: producer.sent, "the one after")

    assert [line["event"] for line in lines] == ["partials_not_published"]
    assert _texts(producer) == ["back"]
