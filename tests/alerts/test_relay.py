"""Events leave the outbox in order, at least once, and one call's trouble is no other's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections import defaultdict
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiokafka import TopicPartition

from qa_service import kafka, metrics
from qa_service.alerts.cloudevents import decode_event
from qa_service.alerts.relay import Relay, RelayTopics, stamp
from qa_service.backoff import Backoff
from qa_service.domain.writes import CallRow, Claim, OutboxEvent, WriteBatch
from qa_service.outbox import OutboxRow
from qa_service.storage.database import Database
from qa_service.storage.errors import StoreUnavailable
from qa_service.storage.outbox import SHARDS, PostgresOutbox
from qa_service.storage.store import PostgresStore
from qa_service.testing.store import MemoryOutbox, MemoryStore
from tests.support.waiting import eventually

TOPICS = RelayTopics("alerts-topic", "transcripts-topic")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _row(number: int, call: str, seq: int, topic: str = "alerts") -> OutboxRow:
    return OutboxRow(
        id=number,
        event_id=uuid.uuid5(uuid.NAMESPACE_OID, f"{call}/{seq}"),
        call_id=call,
        call_seq=seq,
        topic=topic,
        type="qa.alert.opened" if topic == "alerts" else "qa.utterance",
        data=json.dumps({"call_seq": seq, "stamps": {"final_at": 5}}).encode(),
        created_at=NOW,
    )


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def outbox(store):
    return MemoryOutbox(store)


@pytest.fixture
def fill(store):
    def add(*rows: OutboxRow) -> None:
        store.outbox.update({row.id: row for row in rows})
        for listener in store.listeners:
            listener.set()

    return add


def _relay(outbox, producer, topics=TOPICS, **options) -> Relay:
    options = {
        "shards": range(SHARDS),
        "backoff": Backoff(first_s=0.01, ceiling_s=0.05),
        "clock": lambda: NOW.timestamp() + 3,
        **options,
    }
    return Relay(outbox, producer, topics, **options)


@asynccontextmanager
async def running(relay: Relay):
    stop = asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


def _sequences(producer) -> dict[str, list[int]]:
    """By call: the places in the log of what was published, in order."""
    found = defaultdict(list)
    for record in producer.sent:
        found[record.key.decode()].append(json.loads(record.value)["call_seq"])
    return dict(found)


async def test_each_calls_events_go_out_in_order_to_their_topics(outbox, store, fill, producer):
    fill(_row(1, "a", 1), _row(2, "b", 1, "transcripts"), _row(3, "a", 2, "transcripts"), _row(4, "a", 3))
    async with running(_relay(outbox, producer)):
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    assert _sequences(producer) == {"a": [1, 2, 3], "b": [1]}
    topics = {(record.key, json.loads(record.value)["call_seq"]): record.topic for record in producer.sent}
    assert topics == {
        (b"a", 1): "alerts-topic",
        (b"b", 1): "transcripts-topic",
        (b"a", 2): "transcripts-topic",
        (b"a", 3): "alerts-topic",
    }


async def test_an_event_carries_its_identity_and_its_stamps(outbox, store, fill, producer):
    row = _row(1, "a", 1)
    fill(row)
    async with running(_relay(outbox, producer)):
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    record = producer.sent[0]
    event = decode_event(record.key, list(record.headers.items()), record.value)
    assert (event["id"], event["callseq"]) == (str(row.event_id), "1")
    assert event["data"]["stamps"] == {
        "final_at": 5,
        "durable_at": NOW.timestamp() * 1000,
        "published_at": (NOW.timestamp() + 3) * 1000,
    }


def test_stamps_are_added_to_data_that_has_none():
    stamped = msgspec.json.decode(stamp(b'{"a": 1}', durable_at=NOW, published_at_ms=9))

    assert stamped == {"a": 1, "stamps": {"durable_at": round(NOW.timestamp() * 1000), "published_at": 9}}


async def test_a_failure_stops_its_call_only_and_nothing_is_lost(outbox, store, fill, producer):
    fill(*(_row(10 * call + seq, f"c{call}", seq) for seq in (1, 2, 3) for call in (1, 2, 3)))
    broken = {("c2", 2)}
    producer.refuse = lambda record: (
        ConnectionError("broker away")
        if (record.key.decode(), json.loads(record.value)["call_seq"]) in broken
        else None
    )
    before = metrics.RELAY_FAILURES["alerts-topic"]._value.get()
    relay = _relay(outbox, producer)
    async with running(relay):
        await eventually(lambda: len(store.outbox) == 2, "all but the stuck call's rows to be gone")
        await eventually(lambda: not relay.checks()["kafka"]().ok, "the check to say so")
        assert "broker away" in relay.checks()["kafka"]().detail
        assert _sequences(producer) == {"c1": [1, 2, 3], "c2": [1], "c3": [1, 2, 3]}

        broken.clear()
        await eventually(lambda: not store.outbox, "the stuck call to go on")

    assert _sequences(producer) == {"c1": [1, 2, 3], "c2": [1, 2, 3], "c3": [1, 2, 3]}
    assert metrics.RELAY_FAILURES["alerts-topic"]._value.get() > before
    assert relay.checks()["kafka"]().ok


async def test_an_event_without_acknowledgement_is_waited_for_and_not_sent_twice(
    outbox, store, fill, producer
):
    producer.gate = asyncio.Event()
    fill(_row(1, "a", 1), _row(2, "a", 2))
    relay = _relay(outbox, producer, acknowledged_within_s=0.02)
    async with running(relay):
        await eventually(
            lambda: "no acknowledgement within 0.02 s" in relay.checks()["kafka"]().detail,
            "the missing acknowledgement to show in the check",
        )
        await eventually(lambda: not store.locked_shards, "the transaction to be let go")
        producer.gate.set()
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    assert _sequences(producer) == {"a": [1, 2]}


async def test_what_another_relay_has_published_meanwhile_is_forgotten(outbox, store, fill, producer):
    producer.gate = asyncio.Event()
    fill(_row(1, "a", 1))
    relay = _relay(outbox, producer, acknowledged_within_s=0.02, poll_s=0.02)
    async with running(relay):
        await eventually(lambda: not relay.checks()["kafka"]().ok, "the first round to fail")
        store.outbox.clear()
        producer.gate.set()
        await eventually(lambda: not relay._under_way, "the record to be forgotten")

    assert _sequences(producer) == {"a": [1]}


async def test_an_event_that_cannot_be_read_stops_its_call_only(outbox, store, fill, producer):
    fill(msgspec.structs.replace(_row(1, "bad", 1), data=b"no json"), _row(2, "bad", 2), _row(3, "good", 1))
    async with running(_relay(outbox, producer)):
        await eventually(lambda: set(store.outbox) == {1, 2}, "the good call's row to be gone")

    assert _sequences(producer) == {"good": [1]}


async def test_a_lost_transaction_means_a_repeat_with_the_same_identity(outbox, store, fill, producer):
    class Forgetful:
        """Loses its first transaction after everything was published."""

        def __init__(self) -> None:
            self.losses = 1
            self.wait_for_rows = outbox.wait_for_rows

        @asynccontextmanager
        async def take(self, shards, bounds):
            async with outbox.take(shards, bounds) as take:
                yield take
                if take.rows and self.losses:
                    self.losses -= 1
                    raise StoreUnavailable("connection lost in COMMIT")

    fill(_row(1, "a", 1), _row(2, "a", 2))
    async with running(_relay(Forgetful(), producer)):
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    assert _sequences(producer) == {"a": [1, 2, 1, 2]}
    ids = [record.headers["ce_id"] for record in producer.sent]
    assert ids[:2] == ids[2:]


async def test_an_unreachable_outbox_is_shown_and_waited_for(outbox, store, fill, producer):
    store.fail_with = StoreUnavailable("database db:5432 does not answer")
    relay = _relay(outbox, producer)
    assert not relay.checks()["outbox"]().ok
    async with running(relay):
        await eventually(
            lambda: "does not answer" in relay.checks()["outbox"]().detail, "the failure to show in the check"
        )
        fill(_row(1, "a", 1))
        store.fail_with = None
        await eventually(lambda: not store.outbox, "the outbox to be empty")
        await eventually(lambda: relay.checks()["outbox"]().ok, "the check to hold again")


async def test_an_outbox_that_fails_while_waited_for_is_shown_too(outbox, store, producer):
    relay = _relay(outbox, producer, poll_s=0.02)
    async with running(relay):
        await eventually(lambda: relay.checks()["outbox"]().ok, "the first look")
        store.fail_with = StoreUnavailable("gone")
        await eventually(lambda: not relay.checks()["outbox"]().ok, "the failure to show in the check")


async def test_rows_are_published_as_soon_as_they_come(outbox, store, fill, producer):
    relay = _relay(outbox, producer, poll_s=60)
    async with running(relay):
        await eventually(lambda: relay.checks()["outbox"]().ok, "the first, empty look")
        fill(_row(1, "a", 1))
        await eventually(lambda: not store.outbox, "the row to go at once", within_s=5)


async def test_a_backlog_over_the_limit_is_worked_off_in_order(outbox, store, fill, producer):
    fill(*(_row(number, f"c{number % 3}", number) for number in range(1, 41)))
    async with running(_relay(outbox, producer, limit=7, poll_s=60)):
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    for sequence in _sequences(producer).values():
        assert sorted(sequence) == sequence


async def test_calls_with_more_rows_than_a_take_holds_stop_nobody_else(outbox, store, fill, producer):
    stuck = [_row(number, f"stuck-{number % 3}", number) for number in range(1, 61)]
    fill(*stuck, *(_row(60 + number, "good", number) for number in range(1, 21)))
    producer.refuse = lambda record: ConnectionError("no") if record.key.startswith(b"stuck") else None
    slow = Backoff(first_s=30, ceiling_s=30)
    relay = _relay(outbox, producer, limit=10, rows_per_call=5, backoff=slow, poll_s=60)
    async with running(relay):
        await eventually(lambda: len(store.outbox) == len(stuck), "the good call's rows to be gone")
        fill(_row(100, "new", 1))
        await eventually(lambda: "new" in _sequences(producer), "a new call's row to go at once")

        assert not relay.checks()["kafka"]().ok
        assert "3 calls wait" in relay.checks()["kafka"]().detail
        assert metrics.REGISTRY.get_sample_value("qa_relay_outbox_age_seconds") == 3

    assert _sequences(producer) == {"good": list(range(1, 21)), "new": [1]}


async def test_an_acknowledgement_that_comes_while_a_call_is_left_out_counts(outbox, store, fill, producer):
    producer.gate = asyncio.Event()
    fill(_row(1, "a", 1))
    patient = Backoff(first_s=0.3, ceiling_s=0.3)
    relay = _relay(outbox, producer, acknowledged_within_s=0.02, backoff=patient, poll_s=0.02)
    async with running(relay):
        await eventually(lambda: not relay.checks()["kafka"]().ok, "the first attempt to fail")
        producer.gate.set()
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    assert _sequences(producer) == {"a": [1]}


async def test_more_failures_than_calls_can_be_left_out_are_retried_with_rests(outbox, store, fill, producer):
    fill(*(_row(number, f"c{number}", 1) for number in range(1, 21)))
    broken = [True]
    producer.refuse = lambda _record: ConnectionError("broker away") if broken else None
    async with running(_relay(outbox, producer, limit=5, most_stuck=7)) as task:
        await eventually(lambda: producer.refusals > 50, "many attempts")
        broken.clear()
        await eventually(lambda: not store.outbox, "the outbox to be empty")
        assert not task.done()

    assert sum(map(len, _sequences(producer).values())) == 20


async def test_the_age_of_the_oldest_event_is_shown(outbox, store, fill, producer):
    producer.gate = asyncio.Event()
    fill(_row(1, "a", 1))
    async with running(_relay(outbox, producer)):
        await eventually(
            lambda: metrics.REGISTRY.get_sample_value("qa_relay_outbox_age_seconds") == 3, "the row's age"
        )
        producer.gate.set()


async def test_a_round_under_way_is_ended_before_the_relay_stops(outbox, store, fill, producer):
    producer.gate = asyncio.Event()
    fill(_row(1, "a", 1))
    relay, stop = _relay(outbox, producer), asyncio.Event()
    task = asyncio.create_task(relay.run(stop))
    await eventually(lambda: store.locked_shards, "the round to begin")
    stop.set()
    producer.gate.set()
    await asyncio.wait_for(task, 10)

    assert (len(producer.sent), store.outbox) == (1, {})


async def test_a_killed_relay_leaves_its_rows_to_the_next(outbox, store, fill, producer):
    producer.gate = asyncio.Event()
    fill(_row(1, "a", 1), _row(2, "a", 2))
    killed = asyncio.create_task(_relay(outbox, producer).run(asyncio.Event()))
    await eventually(lambda: store.locked_shards, "the round to begin")
    killed.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await killed
    producer.gate = None
    async with running(_relay(MemoryOutbox(store), producer)):
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    assert _sequences(producer) == {"a": [1, 2]}


async def test_two_relays_share_the_work_without_disorder(store, fill, producer):
    fill(*(_row(number, f"c{number % 5}", number) for number in range(1, 101)))
    first, second = (_relay(MemoryOutbox(store), producer, limit=10, poll_s=0.05) for _ in range(2))
    async with running(first), running(second):
        await eventually(lambda: not store.outbox, "the outbox to be empty")

    assert sum(map(len, _sequences(producer).values())) == 100
    for sequence in _sequences(producer).values():
        assert sorted(sequence) == sequence


# --- On the real ones ---------------------------------------------------------------------------------


def _event(call: str, seq: int, topic: str) -> OutboxEvent:
    return OutboxEvent(
        event_id=uuid.uuid5(uuid.NAMESPACE_OID, f"{call}/{seq}"),
        call_id=call,
        call_seq=seq,
        topic=topic,
        type="qa.alert.opened" if topic == "alerts" else "qa.utterance",
        data=json.dumps({"call_id": call, "call_seq": seq, "stamps": {}}).encode(),
    )


def _batch(events: list[OutboxEvent], claim: Claim) -> WriteBatch:
    newest = {event.call_id: event.call_seq for event in events}
    calls = tuple(
        CallRow(
            call_id=call,
            rule_set_hash="h",
            origin_ts=0,
            call_seq=seq,
            control_offset=0,
            tenant=None,
            ended=False,
        )
        for call, seq in newest.items()
    )
    return WriteBatch(
        topic="t",
        partition=0,
        epoch=claim.epoch,
        token=claim.token,
        write_seq=1,
        next_offset=0,
        calls=calls,
        outbox=tuple(events),
    )


@pytest.mark.kafka
@pytest.mark.postgres
async def test_what_a_transaction_announced_is_read_from_the_topics(
    kafka_bootstrap, make_topic, database_url
):
    topics = RelayTopics(await make_topic("alerts", partitions=3), await make_topic("transcripts"))
    events = [
        _event(f"call-{number % 4}", 1 + number // 4, "transcripts" if number % 2 else "alerts")
        for number in range(40)
    ]
    config = kafka.KafkaConfig(bootstrap=kafka_bootstrap)
    database = Database(database_url)
    store, outbox = PostgresStore(database), PostgresOutbox(database)
    producer = await kafka.start_with_retry(lambda: kafka.make_producer(config), config)
    try:
        async with running(_relay(outbox, producer, topics, poll_s=60, clock=datetime.now(UTC).timestamp)):
            await store.save_rule_set("h", "rules: []")
            claim = await store.claim("t", 0, "test")
            await store.write(_batch(events, claim))
            read = await _read(config, topics, len(events))
    finally:
        await producer.stop()
        await outbox.close()
        await database.close()

    by_call = defaultdict(lambda: defaultdict(list))
    for topic, event in read:
        by_call[event["subject"]][topic].append(event["data"]["call_seq"])
    assert {event["id"] for _, event in read} == {str(event.event_id) for event in events}
    for sequences in by_call.values():
        for sequence in sequences.values():
            assert sorted(set(sequence)) == list(dict.fromkeys(sequence))
    stamps = read[0][1]["data"]["stamps"]
    assert abs(stamps["durable_at"] - datetime.now(UTC).timestamp() * 1000) < timedelta(
        minutes=5
    ) / timedelta(milliseconds=1)


async def _read(config, topics, count) -> list:
    consumer = await kafka.start_with_retry(lambda: kafka.make_consumer(config), config)
    try:
        partitions = [TopicPartition(topics.alerts, number) for number in range(3)]
        partitions.append(TopicPartition(topics.transcripts, 0))
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        found = []
        async with asyncio.timeout(30):
            while len(found) < count:
                record = await consumer.getone()
                found.append((record.topic, decode_event(record.key, record.headers, record.value)))
        return found
    finally:
        await consumer.stop()
