"""What becomes of fetched records: handled in order, given back, or refused; and when a partition waits."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from qa_service.contract.records import CallRecord
from qa_service.domain.actions import FinishSession
from qa_service.domain.partition import Partition
from qa_service.domain.poison import PoisonGuard
from qa_service.protocol.events import SessionFinished
from qa_service.rules.ruleset import default_rule_set
from qa_service.storage.errors import StoreUnavailable
from qa_service.testing.store import MemoryStore
from qa_service.worker.consumer import MAX_POLL_RECORDS
from qa_service.worker.outage import Outage
from qa_service.worker.reading import (
    LOOK_FOR_OLD_EVERY_S,
    RETRY_AFTER_S,
    STANDSTILL_S,
    PartitionReader,
    ReaderTools,
)
from qa_service.worker.rule_book import RuleSets
from tests.domain.builders import FRAME, a_partition, frame, in_call, start
from tests.worker.fakes import PARTITION, ManualClock, NotedConsumer, NotedSessions, an_owner, fetched


@dataclass
class NotedLetters:
    """Takes the place of the dead-letter topic."""

    offsets: list[int] = field(default_factory=list)
    fails: bool = False

    async def send(self, record: Any, violation: Exception) -> None:  # noqa: ARG002 - the topic's signature
        if self.fails:
            raise KafkaConnectionError("no such topic")
        self.offsets.append(record.offset)


@dataclass
class Place:
    """A reader and all that surrounds it."""

    reader: PartitionReader
    store: MemoryStore
    consumer: NotedConsumer
    letters: NotedLetters
    clock: ManualClock

    @property
    def position(self) -> int:
        return self.reader.owner.core.position

    def review(self, *, is_full: bool = False, recogniser_answers: bool = True) -> str | None:
        self.reader.review(is_full=is_full, recogniser_answers=recogniser_answers)
        assert self.consumer.is_paused == (self.reader.held_for is not None)
        return self.reader.held_for


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    store, consumer, letters, clock = MemoryStore(), NotedConsumer(), NotedLetters(), ManualClock()
    owner = await an_owner(store, clock)
    tools = ReaderTools(
        consumer=consumer,  # type: ignore[arg-type]
        store=store,
        store_outage=Outage("store", clock),
        rule_sets=RuleSets(default_rule_set(), store),
        dead_letters=letters,  # type: ignore[arg-type]
        dead_letters_outage=Outage("dead_letters", clock),
        clock=clock,
    )
    reader = PartitionReader(PARTITION, owner, tools, PoisonGuard(max_run=3, max_ratio=0.5))
    reader.begin()
    yield Place(reader, store, consumer, letters, clock)
    await owner.drop()


LEG = [fetched(0, start()), *(fetched(index + 1, frame(index)) for index in range(9))]


def bad(offset: int) -> Any:
    return fetched(offset, start(), type=b"noise")


async def test_records_are_handled_in_order(place: Place) -> None:
    await place.reader.take(LEG)

    assert place.position == 10
    assert place.reader.owner.core.live_legs == 1


async def test_records_that_were_handled_already_are_left_out(place: Place) -> None:
    await place.reader.take(LEG)
    await place.reader.take([*LEG[5:], fetched(10, frame(9))])

    assert place.position == 11


async def test_records_fetched_before_the_partition_was_parked_are_not_handled(place: Place) -> None:
    place.reader.park()
    await place.reader.take(LEG)

    assert place.position == 0
    place.reader.begin()
    assert place.consumer.position == 0


async def test_records_fetched_before_the_partition_was_held_are_fetched_again(place: Place) -> None:
    assert place.review(is_full=True) == "capacity"
    await place.reader.take(LEG)

    assert place.position == 0
    assert place.consumer.position == 0


async def test_a_call_the_database_cannot_be_asked_about_waits_in_kafka(place: Place) -> None:
    place.store.fail_with = StoreUnavailable("away")
    await place.reader.take(LEG)
    assert (place.position, place.consumer.position) == (0, 0)
    assert place.review() == "database"

    place.store.fail_with = None
    place.clock.now += RETRY_AFTER_S
    assert place.review() is None
    await place.reader.take(LEG)
    assert place.position == 10


async def test_a_bad_record_goes_to_the_dead_letters_between_its_neighbours(place: Place) -> None:
    await place.reader.take([LEG[0], bad(1), fetched(2, frame(0))])

    assert place.letters.offsets == [1]
    assert place.position == 3


async def test_a_bad_record_waits_for_the_dead_letter_topic_and_holds_its_partition(place: Place) -> None:
    records = [LEG[0], bad(1), fetched(2, frame(0))]
    place.letters.fails = True
    await place.reader.take(records)
    assert (place.position, place.consumer.position) == (1, 1)
    assert place.review() == "dead_letters"

    place.letters.fails = False
    place.clock.now += RETRY_AFTER_S
    assert place.review() is None
    await place.reader.take(records[1:])
    assert place.letters.offsets == [1]
    assert place.position == 3


async def test_a_record_only_the_call_can_judge_waits_for_the_dead_letter_topic_too(place: Place) -> None:
    wrong_rate = fetched(1, frame(0, rate=16000))  # the leg has 8000
    place.letters.fails = True
    await place.reader.take([LEG[0], wrong_rate, fetched(2, frame(0))])
    assert place.consumer.position == 1

    place.letters.fails = False
    place.clock.now += RETRY_AFTER_S
    place.review()
    await place.reader.take([wrong_rate, fetched(2, frame(0))])
    assert place.letters.offsets == [1]
    assert place.position == 3


async def test_a_run_of_bad_records_stops_the_partition_after_the_last_one_kept(place: Place) -> None:
    await place.reader.take([bad(offset) for offset in range(5)])

    assert place.letters.offsets == [0, 1, 2]
    assert place.consumer.position == 3
    assert place.review() == "poison"


async def test_an_unknown_version_stops_the_partition_at_that_record(place: Place) -> None:
    await place.reader.take([*LEG, fetched(10, frame(9), v=b"2"), fetched(11, frame(10))])

    assert place.consumer.position == 10
    assert place.review() == "version"


async def test_a_partition_that_was_stopped_stays_so_over_a_rebalance(place: Place) -> None:
    await place.reader.take([fetched(0, start(), v=b"2")])
    place.reader.park()
    place.consumer.is_paused = True  # as a new assignment begins
    place.reader.begin()

    assert place.review() == "version"


async def test_a_full_worker_reads_on_where_calls_are_in_progress(place: Place) -> None:
    await place.reader.take(LEG)

    assert place.review(is_full=True) is None


async def test_a_partition_waits_while_its_batch_cannot_be_written(place: Place) -> None:
    place.reader.owner.write_failure = "away"
    assert place.review() == "database"
    place.reader.owner.write_failure = None

    assert place.review() is None


async def test_audio_far_ahead_of_its_results_waits_in_kafka(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Partition, "is_far_behind", property(lambda core: core.position >= 50))
    records = [fetched(0, start()), *(fetched(index + 1, frame(index)) for index in range(300))]
    await place.reader.take(records)

    assert place.position == 100
    assert place.consumer.position == 100
    assert place.review() == "recogniser"


@pytest.mark.parametrize("answers", [True, False])
async def test_a_partition_that_stands_still_is_read_on_only_if_the_recogniser_answers(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    answers: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setattr(Partition, "is_far_behind", True)
    assert place.review(recogniser_answers=answers) == "recogniser"
    place.clock.now += STANDSTILL_S + 1

    assert place.review(recogniser_answers=answers) == (None if answers else "recogniser")


async def store_call_of(partition: int, store: MemoryStore, call_id: str = "call") -> None:
    """Let another partition begin a call and store it."""
    claim = await store.claim(PARTITION.topic, partition, "another")
    core = a_partition(claim)
    core.handle(CallRecord(call_id, start()), 0, record_ms=0, now=0.0)
    batch = core.take_batch()
    assert batch is not None
    await store.write(batch)


async def test_records_of_a_call_of_another_partition_go_to_the_dead_letters_and_stop_nothing(
    place: Place,
) -> None:
    await store_call_of(7, place.store)
    with capture_logs() as logs:
        for batch in (LEG[:4], LEG[4:], [fetched(10, start(), "healthy")]):
            await place.reader.take(batch)

    assert place.letters.offsets == list(range(10))  # more than poison is allowed in a row
    assert place.reader.held_for is None
    assert place.position == 11
    assert place.reader.owner.core.live_legs == 1
    told = [entry for entry in logs if entry["event"] == "call_on_other_partition"]
    assert len(told) == 1
    assert "murmur2" in told[0]["remedy"]


async def test_records_of_a_stray_wait_for_the_dead_letter_topic(place: Place) -> None:
    await store_call_of(7, place.store)
    place.letters.fails = True
    await place.reader.take([fetched(0, start(), "healthy"), *[fetched(1, start()), fetched(2, frame(0))]])

    assert place.reader.held_for == "dead_letters"
    assert place.consumer.position == place.position == 0
    place.letters.fails = False
    place.clock.now += RETRY_AFTER_S
    assert place.review() is None
    await place.reader.take([fetched(0, start(), "healthy"), *[fetched(1, start()), fetched(2, frame(0))]])
    assert place.letters.offsets == [1, 2]
    assert place.position == 3


async def test_a_call_that_another_partition_stored_first_is_given_up_and_read_again_for_the_dead_letters(
    place: Place,
) -> None:
    healthy = [fetched(10, start(), "healthy"), fetched(11, frame(0), "healthy")]
    await place.reader.take([*LEG, *healthy])  # nobody knows the call yet
    await store_call_of(7, place.store)  # but now, before our batch

    assert await place.reader.owner.flush(1.0)

    core, claim = place.reader.owner.core, place.store.claims[PARTITION.topic, PARTITION.partition]
    assert place.store.calls["call"]["partition"] == 7
    assert place.store.calls["healthy"]["partition"] == PARTITION.partition
    assert claim.next_offset == 0  # what is owed is not passed
    place.review()
    assert place.consumer.position == 0
    await place.reader.take([fetched(12, frame(1), "healthy")])  # it was on its way before
    assert (place.consumer.position, core.position) == (0, 12)
    await place.reader.take([*LEG, *healthy, fetched(12, frame(1), "healthy"), fetched(13, frame(9))])
    assert place.letters.offsets == [*range(10), 13]
    assert core.position == 14
    assert core.owed_from is None
    assert await place.reader.owner.flush(1.0)
    assert core.live_legs == 1
    assert place.review() is None


async def test_calls_of_a_partition_that_was_stopped_end_by_their_time_outs(place: Place) -> None:
    owner, sessions = place.reader.owner, place.reader.owner._sessions
    assert isinstance(sessions, NotedSessions)

    def wait(seconds: float) -> None:
        for _ in range(int(seconds)):
            place.clock.now += 1.0
            owner.tick(read_until=place.reader.read_until(place.clock.now))

    await place.reader.take(LEG)
    wait(70)
    assert owner.core.live_legs == 1  # nobody has said that no more comes
    await place.reader.take([bad(10), bad(11), bad(12)])
    assert place.review() == "poison"

    wait(70)
    assert isinstance(sessions.actions[-1], FinishSession)
    sessions.say(SessionFinished())
    wait(1)
    assert owner.core.live_legs == 0
    assert await owner.flush(1.0)
    assert place.store.calls["call"]["ended"]
    # Once the record is dealt with, a restarted worker reads on, and the leg is opened again.
    successor = await an_owner(place.store, place.clock)
    stored = await place.store.load_call("call")
    assert stored is not None
    successor.core.adopt(stored)
    successor.core.handle(in_call(frame(9)), 13, record_ms=0, now=place.clock.now)
    assert successor.core.live_legs == 1
    await successor.drop()


async def test_audio_that_waits_too_long_for_capacity_is_given_up_and_the_newer_is_kept(place: Place) -> None:
    reader, core = place.reader, place.reader.owner.core
    reader._tools = dataclasses.replace(reader._tools, max_lag_s=300.0)
    records = [fetched(0, start()), *(fetched(index + 1, frame(index)) for index in range(200))]

    def look() -> bool:
        """Let the worker, which is full, look; whether it reads."""
        reader.review(is_full=True, recogniser_answers=True)
        assert reader.held_for == "capacity"
        return not place.consumer.is_paused

    assert not look()
    # Record 100 is 300 s old to the millisecond.
    place.clock.now = (records[100].timestamp + 0.5) / 1000 + 300
    with capture_logs() as logs:
        assert look()
        await reader.take(records)

    assert [entry["event"] for entry in logs] == ["audio_given_up"]
    assert (core.position, place.consumer.position) == (100, 100)
    assert (core.live_legs, core.served_legs) == (1, 0)
    assert not look()
    assert await reader.owner.flush(1.0)
    gaps = [row for row in place.store.entries.values() if row["kind"] == "gap"]
    assert [(gap["reason"], gap["end_pos"]) for gap in gaps] == [("capacity", 99 * FRAME)]
    assert place.store.claims[PARTITION.topic, PARTITION.partition].next_offset == 100

    place.clock.now += LOOK_FOR_OLD_EVERY_S
    assert look()
    await reader.take(records[100:103])  # all of these are too old by now
    assert core.position == 103
    sessions = reader.owner._sessions
    assert isinstance(sessions, NotedSessions)
    assert sessions.opened == []
    assert place.review() is None  # there is capacity again
    await reader.take(records[103:])
    assert core.served_legs == 1
    assert len(sessions.opened) == 1


async def test_without_a_bound_audio_waits_for_capacity_for_ever(place: Place) -> None:
    place.review(is_full=True)
    place.clock.now += 10_000

    assert place.review(is_full=True) == "capacity"


async def test_five_thousand_calls_that_start_in_one_second_are_taken_without_a_loss(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def know_nothing(_call_id: str) -> None:
        """The store in memory goes over all it holds for one call."""

    monkeypatch.setattr(place.store, "load_call", know_nothing)
    calls = 5000
    records = [fetched(index, start(), f"call-{index}") for index in range(calls)]
    records += [fetched(calls + index, frame(0), f"call-{index}") for index in range(calls)]

    with capture_logs():
        while place.position < len(records):
            await place.reader.take(records[place.position : place.position + MAX_POLL_RECORDS])
            place.clock.now += RETRY_AFTER_S  # should a look-up have taken too long
            place.review()
    core, sessions = place.reader.owner.core, place.reader.owner._sessions
    core.tick(now=place.clock.monotonic() + 2, read_until=place.clock.monotonic() + 2)
    place.reader.owner.step()

    assert isinstance(sessions, NotedSessions)
    assert core.live_legs == calls
    assert len(sessions.opened) == calls  # each waits for its token in the pool: see tests/asr/test_rate.py
    with capture_logs():
        assert await place.reader.owner.flush(60.0)
    assert len(place.store.calls) == calls
    assert (
        place.store.claims[PARTITION.topic, PARTITION.partition].next_offset == calls
    )  # no frame is covered
