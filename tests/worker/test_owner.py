"""The writer of a partition, and how an ownership ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from structlog.testing import capture_logs

from qa_service import metrics
from qa_service.contract.records import AudioFrame, LegStart
from qa_service.domain.entries import Utterance
from qa_service.protocol.events import Completed, SpeechStarted, SpeechStopped
from qa_service.storage.errors import Fenced, StoreUnavailable, WriteOutOfOrder
from qa_service.testing.store import MemoryStore
from qa_service.worker.clock import Clock
from qa_service.worker.owner import PROVE_EVERY_S, PartitionOwner
from tests.domain.builders import FRAME, ORIGIN_TS, frame, in_call, session_updated, start
from tests.support.waiting import eventually
from tests.worker.fakes import PARTITION, ManualClock, NotedSessions, an_owner

HEARD = (session_updated(extensions=True), SpeechStarted("i1", 0), SpeechStopped("i1", 400))


@asynccontextmanager
async def owning(store: MemoryStore, **options: Any) -> AsyncIterator[PartitionOwner]:
    owner = await an_owner(store, Clock(), **options)
    try:
        yield owner
    finally:
        await owner.drop()


def feed(owner: PartitionOwner, frames: int = 50) -> None:
    """A leg of a second, handed to the core."""
    records = [start(), *(frame(index) for index in range(frames))]
    for offset, record in enumerate(records):
        owner.core.handle(in_call(record), offset, record_ms=0, now=0.0)
    owner.step()


async def test_a_flush_returns_when_all_that_is_due_is_stored() -> None:
    store = MemoryStore()
    async with owning(store) as owner:
        feed(owner)

        assert await owner.flush(1.0)
        assert len(store.entries) == 2
        assert owner.stored_next_offset == store.claims[PARTITION.topic, 0].next_offset


async def test_where_reading_begins_is_stored_before_any_record_came() -> None:
    store = MemoryStore()
    async with owning(store) as owner:
        owner.core.skip(9)
        await owner.flush(1.0)

        assert store.claims[PARTITION.topic, 0].next_offset == 10


async def test_damaged_opus_packets_are_counted_and_told_of_once_a_leg() -> None:
    def counted() -> float:
        return metrics.REGISTRY.get_sample_value("qa_opus_packets_damaged_total") or 0.0

    before = counted()
    async with owning(MemoryStore()) as owner:
        with capture_logs() as logs:
            for leg in ("customer", "agent"):
                opened = LegStart(leg, ORIGIN_TS, "opus", 8000, start().info)
                frames = [AudioFrame(leg, n * FRAME, n, ORIGIN_TS, b"\x4b\x41\xff\xff") for n in range(50)]
                for offset, record in enumerate([opened, *frames], owner.core.position):
                    owner.core.handle(in_call(record), offset, record_ms=0, now=0.0)
                owner.step()

    told = [entry["leg_id"] for entry in logs if entry["event"] == "packets_damaged"]
    assert counted() == before + 100
    assert told == ["customer", "agent"]


async def test_a_flush_gives_up_in_time_and_the_batch_is_stored_later() -> None:
    store = MemoryStore()
    async with owning(store) as owner:
        await owner.flush(1.0)
        store.fail_with = StoreUnavailable("away")
        feed(owner)

        assert not await owner.flush(0.05)
        assert owner.write_failure == "away"
        store.fail_with = None
        await eventually(lambda: len(store.entries) == 2, waiting_for="the batch to be stored")
        await eventually(lambda: owner.write_failure is None, waiting_for="the failure to be over")


async def test_an_owner_that_is_fenced_off_says_so_and_closes_its_sessions() -> None:
    store, sessions, ends = MemoryStore(), NotedSessions(), []
    async with owning(store, sessions=sessions, on_end=lambda _, error: ends.append(error)) as owner:
        await owner.flush(1.0)
        await store.claim(PARTITION.topic, 0, "another")
        feed(owner)

        assert not await owner.flush(1.0)
        assert [type(error) for error in ends] == [Fenced]
        assert not owner.is_active
        assert sessions.abandoned == 1


async def test_an_owner_without_anything_to_write_learns_that_the_database_was_set_back() -> None:
    store, clock, lost = MemoryStore(), ManualClock(), []
    owner = await an_owner(store, clock, on_end=lambda _owner, error: lost.append(error))
    feed(owner)
    await owner.flush(1.0)
    where = (PARTITION.topic, PARTITION.partition)
    store.claims[where] = msgspec.structs.replace(store.claims[where], write_seq=0, next_offset=0)

    clock.now += PROVE_EVERY_S + 1
    await eventually(lambda: bool(lost), "the owner to notice")

    assert isinstance(lost[0], WriteOutOfOrder)
    await owner.drop()


async def test_an_owner_whose_very_epoch_was_given_out_again_writes_nothing() -> None:
    store, clock, lost = MemoryStore(), ManualClock(), []
    owner = await an_owner(store, clock, on_end=lambda _owner, error: lost.append(error))
    await owner.flush(1.0)
    store.claims.clear()  # set back to before the owner's claim
    async with owning(store) as successor:
        await successor.flush(1.0)
        assert (successor.core.epoch, successor.core.partition) == (owner.core.epoch, owner.core.partition)
        feed(owner)  # its next batch has the very number that follows the successor's

        assert not await owner.flush(1.0)
        assert [type(error) for error in lost] == [Fenced]
        assert store.entries == {}
    await owner.drop()


async def test_a_fault_in_the_writer_ends_the_ownership_and_is_told() -> None:
    class Broken(MemoryStore):
        async def write(self, batch: object) -> None:  # noqa: ARG002 - the store's signature
            raise ZeroDivisionError

    ends: list[Exception] = []
    async with owning(Broken(), on_end=lambda _, error: ends.append(error)) as owner:
        feed(owner)

        assert not await owner.flush(1.0)
        assert [type(error) for error in ends] == [ZeroDivisionError]


async def test_a_fault_in_the_core_ends_the_ownership_and_is_told_once() -> None:
    ends: list[Exception] = []
    async with owning(MemoryStore(), on_end=lambda _, error: ends.append(error)) as owner:
        for _ in range(2):
            with owner.or_ended():
                raise ZeroDivisionError

        assert len(ends) == 1
        assert not await owner.flush(1.0)


async def test_results_are_in_once_the_final_of_ended_speech_has_come() -> None:
    store, sessions = MemoryStore(), NotedSessions()
    async with owning(store, sessions=sessions) as owner:
        feed(owner)
        sessions.say(*HEARD)
        waiting = asyncio.create_task(owner.results_are_in())
        await asyncio.sleep(0)
        assert not waiting.done()
        sessions.say(Completed("i1", "hello"))
        await asyncio.wait_for(waiting, 1.0)
        await owner.flush(1.0)

        stored = await store.load_call("call")
        assert stored is not None
        assert [e.body.text for e in stored.entries if isinstance(e.body, Utterance)] == ["hello"]


async def test_nobody_waits_for_the_results_of_a_partition_that_was_dropped() -> None:
    sessions = NotedSessions()
    async with owning(MemoryStore(), sessions=sessions) as owner:
        feed(owner)
        sessions.say(*HEARD)
        waiting = asyncio.create_task(owner.results_are_in())
        await asyncio.sleep(0)
        await owner.drop()
        await asyncio.wait_for(waiting, 1.0)


async def test_a_claim_is_made_between_batches_and_goes_on_from_memory() -> None:
    store = MemoryStore()
    async with owning(store) as owner:
        feed(owner)
        async with owner.between_batches():
            claim = await store.claim(PARTITION.topic, 0, "test")
            assert owner.core.renew(claim)
        assert await owner.flush(1.0)

        assert store.claims[PARTITION.topic, 0].epoch == claim.epoch
        assert len(store.entries) == 2
