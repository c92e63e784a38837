"""Partitions that are assigned, taken away, lost to others and won back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiokafka.errors import CommitFailedError

from qa_service.domain.call import CallPolicy
from qa_service.domain.writes import Claim, WriteBatch
from qa_service.rules.ruleset import default_rule_set
from qa_service.storage.errors import StoreUnavailable
from qa_service.testing.store import MemoryStore
from qa_service.worker import assignments as module
from qa_service.worker.assignments import Assignments, OwnershipOptions
from qa_service.worker.outage import Outage
from qa_service.worker.owner import PartitionOwner
from qa_service.worker.reading import ReaderTools
from qa_service.worker.rule_book import RuleSets
from tests.domain.builders import start
from tests.support.waiting import eventually
from tests.worker.fakes import PARTITION, ManualClock, NotedConsumer, NotedSessions, fetched


class GatedStore(MemoryStore):
    """A store whose claims and writes can be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.claims_pass = asyncio.Event()
        self.writes_pass = asyncio.Event()
        self.claims_pass.set()
        self.writes_pass.set()

    async def claim(self, topic: str, partition: int, owner: str) -> Claim:
        claim = await super().claim(topic, partition, owner)
        await self.claims_pass.wait()
        return claim

    async def write(self, batch: WriteBatch) -> None:
        await self.writes_pass.wait()
        await super().write(batch)


@dataclass
class Place:
    """Assignments and all that surrounds them."""

    assignments: Assignments
    store: GatedStore
    consumer: NotedConsumer
    sessions: NotedSessions

    async def assign(self) -> None:
        await self.assignments.on_partitions_assigned([PARTITION])

    async def revoke(self) -> None:
        await self.assignments.on_partitions_revoked([PARTITION])

    async def await_owner(self) -> PartitionOwner:
        reader = await eventually(
            lambda: self.assignments.readers.get(PARTITION), waiting_for="the partition to be read"
        )
        return reader.owner

    async def take_over(self) -> PartitionOwner:
        """Have the partition, with nothing left to write."""
        await self.assign()
        owner = await self.await_owner()
        await owner.flush(1.0)
        return owner

    async def begin_call(self) -> None:
        """Let a call begin, which makes entries."""
        await self.assignments.readers[PARTITION].take([fetched(7, start())])


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    store, consumer, sessions, clock = GatedStore(), NotedConsumer(), NotedSessions(), ManualClock()
    tools = ReaderTools(
        consumer=consumer,  # type: ignore[arg-type]
        store=store,
        store_outage=Outage("store", clock),
        rule_sets=RuleSets(default_rule_set(), store),
        dead_letters=None,  # type: ignore[arg-type]
        dead_letters_outage=Outage("dead_letters", clock),
        clock=clock,
    )
    options = OwnershipOptions(
        owner_name="test", start_from_earliest=False, dlq_max_run=3, dlq_max_ratio=0.5, calls=CallPolicy()
    )
    assignments = Assignments(
        tools,
        sessions=sessions,  # type: ignore[arg-type]
        offer_partial=lambda _: None,
        options=options,
    )
    yield Place(assignments, store, consumer, sessions)
    await assignments.close()


async def test_a_partition_is_held_until_its_claim_says_where_to_begin(place: Place) -> None:
    place.store.claims_pass.clear()
    await place.assign()
    assert place.consumer.is_paused
    assert place.assignments.waiting == 1
    place.store.claims_pass.set()
    await place.await_owner()

    assert place.consumer.position == 7
    assert not place.consumer.is_paused
    assert place.assignments.waiting == 0


async def test_a_partition_that_comes_back_goes_on_from_memory(place: Place) -> None:
    await place.assign()
    owner = await place.await_owner()
    await place.begin_call()
    await place.revoke()
    assert place.assignments.readers == {}
    await place.assign()

    assert await place.await_owner() is owner
    assert (owner.core.epoch, place.consumer.position) == (2, 8)
    assert place.sessions.abandoned == 0


async def test_a_partition_that_another_had_meanwhile_is_loaded_anew(place: Place) -> None:
    await place.assign()
    owner = await place.await_owner()
    await place.begin_call()
    await place.revoke()
    await place.store.claim(PARTITION.topic, PARTITION.partition, "another")
    await place.assign()

    assert await place.await_owner() is not owner
    assert not owner.is_active
    assert (await place.await_owner()).core.live_legs == 1


async def test_a_partition_that_goes_elsewhere_is_written_and_dropped(place: Place) -> None:
    await place.assign()
    owner = await place.await_owner()
    await place.begin_call()
    await place.revoke()
    await place.assignments.on_partitions_assigned([])

    assert len(place.store.entries) == 2
    assert not owner.is_active
    assert place.assignments.parked == {}


async def test_a_claim_that_hangs_does_not_outlive_the_assignment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLAIMS_END_WITHIN_S", 0.01)
    place.store.claims_pass.clear()
    await place.assign()
    await asyncio.sleep(0)
    await place.assignments.on_partitions_revoked([PARTITION])
    place.store.claims_pass.set()
    assert place.assignments.waiting == 0
    assert place.assignments.readers == {}
    await place.assign()

    assert (await place.await_owner()).core.epoch == 2


async def test_a_claim_that_begins_while_others_end_does_not_outlive_the_assignment(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLAIMS_END_WITHIN_S", 0.2)
    owner = await place.take_over()
    await place.store.claim(PARTITION.topic, PARTITION.partition, "another")
    place.store.claims_pass.clear()
    await place.assignments.on_partitions_assigned([PARTITION._replace(partition=1)])
    revoking = asyncio.create_task(place.revoke())
    await asyncio.sleep(0)
    await place.begin_call()
    await eventually(lambda: not owner.is_active, waiting_for="the late write to be refused")
    assert not revoking.done()
    await revoking
    place.store.claims_pass.set()
    for _ in range(10):
        await asyncio.sleep(0)

    assert place.assignments.waiting == 0
    assert place.assignments.readers == {}


async def test_a_batch_under_way_is_not_fenced_off_by_the_claim_that_follows(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REVOKE_WITHIN_S", 0.01)
    owner = await place.take_over()
    place.store.writes_pass.clear()
    await place.begin_call()
    await place.revoke()
    await place.assign()
    assert place.assignments.waiting == 1
    place.store.writes_pass.set()

    assert await place.await_owner() is owner
    assert owner.is_active
    assert len(place.store.entries) == 2


async def test_a_fenced_partition_is_won_back_while_the_group_knows_us(place: Place) -> None:
    owner = await place.take_over()
    await place.store.claim(PARTITION.topic, PARTITION.partition, "another")
    await place.begin_call()
    await eventually(lambda: not owner.is_active, waiting_for="the late write to be refused")

    assert (await place.await_owner()).core.epoch == 3


async def test_a_fenced_partition_is_let_go_if_the_group_does_not_know_us(place: Place) -> None:
    owner = await place.take_over()
    place.consumer.commit_error = CommitFailedError()
    await place.store.claim(PARTITION.topic, PARTITION.partition, "another")
    await place.begin_call()
    await eventually(lambda: not owner.is_active, waiting_for="the late write to be refused")
    await eventually(lambda: place.assignments.waiting == 0, waiting_for="the partition to be let go")

    assert place.assignments.readers == {}
    assert place.consumer.is_paused
    assert place.store.claims[PARTITION.topic, PARTITION.partition].epoch == 2


async def test_claims_wait_for_the_database(place: Place) -> None:
    place.store.fail_with = StoreUnavailable("away")
    await place.assign()
    await asyncio.sleep(0)
    assert place.assignments.waiting == 1
    place.store.fail_with = None

    assert (await place.await_owner()).core.position == 7


async def test_a_worker_that_stops_claims_nothing_more(place: Place) -> None:
    await place.assignments.stop_claiming()
    await place.assign()

    assert place.assignments.waiting == 0
    assert place.store.claims == {}


async def test_a_partition_is_loaded_only_once_its_rule_set_is_stored(place: Place) -> None:
    """A database that was set back to before the worker's start does not know the rule set any more."""
    place.store.rule_sets.clear()
    await place.assign()
    await place.await_owner()

    assert list(place.store.rule_sets) == [default_rule_set().hash]
