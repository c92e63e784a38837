"""Which partitions are ours: claimed when assigned, parked while the group rebalances, claimed anew if lost.

The truth is in PostgreSQL. An assignment by Kafka says that we may claim a partition there; the claim says
from where to read, and fences off whoever had it. aiokafka takes every partition away at each rebalance and
assigns them again: meanwhile they are parked, with their sessions and their writer at work. If the next
claim shows that nobody else was there, they go on from memory.

The listener's methods run in a task of aiokafka's, between two rounds of the main loop or beside one. Hence
two rules: a partition is in :attr:`Assignments.readers` exactly while Kafka's assignment and our claim both
stand; and claims end, or are ended, before a partition is parked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from qa_service import metrics
from qa_service.backoff import Backoff
from qa_service.domain.announcements import PartialData
from qa_service.domain.call import CallPolicy
from qa_service.domain.partition import Partition
from qa_service.domain.poison import PoisonGuard
from qa_service.domain.writes import Claim
from qa_service.storage.errors import Fenced, StorageError, StoreUnavailable
from qa_service.worker.outage import REMIND_EVERY_S
from qa_service.worker.owner import PartitionOwner
from qa_service.worker.reading import PartitionReader, ReaderTools
from qa_service.worker.sessions import SessionPool

_log = structlog.get_logger(__name__)

REVOKE_WITHIN_S = 4.0
"""Bound on writing what is due when partitions are taken away. With the wait for claims it stays well below
the default session time-out (10 s), within which the group wants an answer."""
CLAIMS_END_WITHIN_S = 2.0
CLAIMS_AT_ONCE = 4
"""One less than the connections a process has by default."""
OFFSETS_WITHIN_MS = 10_000
CALM_AFTER_S = 300.0
"""A partition that failed and then went well for so long starts again with short waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipOptions:
    """What a deployment decides about partitions and their calls."""

    owner_name: str
    start_from_earliest: bool
    dlq_max_run: int
    dlq_max_ratio: float
    calls: CallPolicy


@dataclass(slots=True)
class _Fault:
    """What went wrong with a partition, how often in a row, and when last (monotonic seconds)."""

    error: str
    count: int
    at: float
    told_at: float


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka publishes no types
    """The partitions of this worker: those it reads, those it waits for, those it may have to let go."""

    def __init__(
        self,
        tools: ReaderTools,
        *,
        sessions: SessionPool,
        offer_partial: Callable[[PartialData], object],
        options: OwnershipOptions,
    ) -> None:
        self.readers: dict[TopicPartition, PartitionReader] = {}
        """Assigned by Kafka and claimed by us."""
        self.parked: dict[TopicPartition, PartitionReader] = {}
        """Claimed by us, and taken away by a rebalance whose end is not known yet."""
        self.has_joined = False
        """Whether the group ever gave us an assignment, an empty one included."""
        self._tools = tools
        self._sessions = sessions
        self._offer_partial = offer_partial
        self._options = options
        self._claims: dict[TopicPartition, asyncio.Task[None]] = {}
        self._faults: dict[TopicPartition, _Fault] = {}
        self._claims_at_once = asyncio.Semaphore(CLAIMS_AT_ONCE)
        self._backoff = Backoff(first_s=0.2, ceiling_s=10.0)
        self._is_closing = False

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        return self._tools.consumer

    # --- what Kafka says --------------------------------------------------------------------------

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride] - aiokafka awaits it
        self,
        revoked: Iterable[TopicPartition],  # noqa: ARG002 - it is all of them
    ) -> None:
        """Partitions may go elsewhere: write what is due and park them; their sessions stay warm."""
        await self._end_claims(CLAIMS_END_WITHIN_S)
        for partition, reader in self.readers.items():
            reader.park()
            self.parked[partition] = reader
        self.readers.clear()
        owners = [reader.owner for reader in self.parked.values()]
        flushed = await asyncio.gather(*(owner.flush(REVOKE_WITHIN_S) for owner in owners))
        if not all(flushed):
            _log.warning(
                "revoked_before_written",
                partitions=flushed.count(False),
                detail="what is missing is read again by the next owner",
            )

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride] - aiokafka awaits it
        self, assigned: Iterable[TopicPartition]
    ) -> None:
        """Partitions are ours: they are claimed, and read, as soon as the store answers."""
        if self._is_closing:
            return
        partitions = sorted(assigned)
        metrics.REBALANCES.inc()
        for partition in partitions:
            # No position yet: hold it until the claim says where to begin.
            self._consumer.pause(partition)
            self._consumer.seek(partition, 0)
            self._start_claim(partition)
        self.has_joined = True
        gone = [self.parked.pop(partition) for partition in set(self.parked) - set(partitions)]
        await asyncio.gather(*(reader.owner.drop() for reader in gone))
        for reader in gone:
            metrics.PARTITION_LAG.forget(str(reader.partition.partition))
        _log.info(
            "partitions_assigned",
            assigned=[p.partition for p in partitions],
            let_go=[reader.partition.partition for reader in gone],
        )

    # --- claims -----------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Partitions that are assigned to us and not claimed yet."""
        return len(self._claims)

    @property
    def fault(self) -> str | None:
        """What went wrong with the partitions that wait; None if they merely have not got their turn."""
        faults = (self._faults[partition].error for partition in self._claims if partition in self._faults)
        return next(faults, None)

    @property
    def write_failure(self) -> str | None:
        """Why some partition cannot be written at present."""
        readers = [*self.readers.values(), *self.parked.values()]
        return next((why for reader in readers if (why := reader.owner.write_failure) is not None), None)

    def reload(self, partition: TopicPartition, *, at: int) -> None:
        """Load a partition anew, to be read from ``at``: its log no longer holds what we would read next."""
        reader = self.readers.pop(partition, None)
        if reader is not None:
            self._consumer.pause(partition)
            self._start_claim(partition, after=reader, at=at)

    async def stop_claiming(self) -> None:
        """Take no more partitions, whatever Kafka says."""
        self._is_closing = True
        await self._end_claims(0)

    async def close(self) -> None:
        """Let every partition go at once."""
        await self.stop_claiming()
        owners = [reader.owner for reader in (*self.readers.values(), *self.parked.values())]
        self.readers.clear()
        self.parked.clear()
        await asyncio.gather(*(owner.drop() for owner in owners))

    def _start_claim(
        self, partition: TopicPartition, *, after: PartitionReader | None = None, at: int | None = None
    ) -> None:
        claim = self._claim(partition, after=after, at=at)
        self._claims[partition] = asyncio.create_task(claim, name=f"claim-{partition.partition}")

    async def _end_claims(self, within_s: float) -> None:
        """Let claims come to their end, or end them: their partitions are not ours any more."""
        if self._claims:
            await asyncio.wait(self._claims.values(), timeout=within_s)
        while self._claims:  # others may begin while these end: an owner that is fenced off claims again
            claims = list(self._claims.values())
            for claim in claims:
                claim.cancel()
            await asyncio.wait(claims)
            self._claims = {partition: claim for partition, claim in self._claims.items() if not claim.done()}

    async def _claim(
        self, partition: TopicPartition, *, after: PartitionReader | None, at: int | None
    ) -> None:
        """Claim a partition, however long that takes, and read it."""
        if after is not None:
            await after.owner.drop()
        attempt = 0
        while True:
            try:
                async with self._claims_at_once:
                    reader = await self._take_over(partition, at=at)
            except StoreUnavailable as error:
                self._tools.store_outage.note(str(error))
            except Exception as error:  # noqa: BLE001 - of whatever kind: the partition must not be forgotten
                self._note_fault(partition, error)
            else:
                break
            await asyncio.sleep(self._backoff.delay_s(attempt, random.random()))  # noqa: S311 - jitter
            attempt += 1
        self._tools.store_outage.end()
        self.readers[partition] = reader
        self._claims.pop(partition, None)
        reader.begin()

    async def _take_over(self, partition: TopicPartition, *, at: int | None) -> PartitionReader:
        parked = self.parked.get(partition)
        if parked is None:
            return await self._load(partition, await self._claim_in_store(partition), at=at)
        async with parked.owner.between_batches():  # or a batch under way would be fenced off by ourselves
            claim = await self._claim_in_store(partition)
            goes_on = parked.owner.is_active and parked.owner.core.renew(claim)
        del self.parked[partition]
        if goes_on:
            _log_claimed(parked, claim, kept_in_memory=True)
            return parked
        await parked.owner.drop()
        return await self._load(partition, claim, at=at)

    async def _claim_in_store(self, partition: TopicPartition) -> Claim:
        return await self._tools.store.claim(partition.topic, partition.partition, self._options.owner_name)

    async def _load(self, partition: TopicPartition, claim: Claim, *, at: int | None) -> PartitionReader:
        tools, options = self._tools, self._options
        await tools.rule_sets.publish()  # again: a database that was set back may have lost it
        stored = await tools.store.load_calls(partition.topic, partition.partition)
        await tools.rule_sets.prepare(stored)
        position = claim.next_offset if at is None else at
        if position is None:
            position = await self._first_position(partition)
        core = Partition(claim, stored, position=position, rules=tools.rule_sets.book, policy=options.calls)
        if at is not None:
            core.lose_before(at)
        owner = PartitionOwner(
            core,
            store=tools.store,
            sessions=self._sessions,
            clock=tools.clock,
            offer_partial=self._offer_partial,
            store_outage=tools.store_outage,
            on_end=self._lose,
        )
        guard = PoisonGuard(max_run=options.dlq_max_run, max_ratio=options.dlq_max_ratio)
        reader = PartitionReader(partition, owner, tools, guard)
        _log_claimed(reader, claim, kept_in_memory=False)
        return reader

    async def _first_position(self, partition: TopicPartition) -> int:
        consumer = self._consumer
        ask = consumer.beginning_offsets if self._options.start_from_earliest else consumer.end_offsets
        async with asyncio.timeout(OFFSETS_WITHIN_MS / 1000):
            return int((await ask([partition]))[partition])

    # --- ownership lost ---------------------------------------------------------------------------

    def _lose(self, owner: PartitionOwner, error: Exception) -> None:
        """An owner gave up: if Kafka still says the partition is ours, claim it again and load it anew."""
        partition = TopicPartition(owner.core.topic, owner.core.partition)
        if isinstance(error, Fenced):
            metrics.EPOCH_FENCINGS.inc()
            _log.warning("partition_fenced", partition=partition.partition, epoch=owner.core.epoch)
        else:
            self._note_fault(partition, error)
        reader = self.readers.get(partition)
        if reader is None or reader.owner is not owner:
            return  # parked: the next claim finds it out of order and loads it anew
        del self.readers[partition]
        self._consumer.pause(partition)
        recovery = self._reclaim(reader, error)
        self._claims[partition] = asyncio.create_task(recovery, name=f"reclaim-{partition.partition}")

    async def _reclaim(self, reader: PartitionReader, error: Exception) -> None:
        partition = reader.partition
        await reader.owner.drop()
        if isinstance(error, Fenced):
            if not await self._may_commit(reader):
                _log.info("partition_let_go", partition=partition.partition)
                self._claims.pop(partition, None)
                metrics.PARTITION_LAG.forget(str(partition.partition))
                return
        else:
            fault = self._faults[partition]
            await asyncio.sleep(self._backoff.bound_s(fault.count))
        await self._claim(partition, after=None, at=None)

    async def _may_commit(self, reader: PartitionReader) -> bool:
        """Whether the group still knows us as the reader of a partition: only a commit tells.

        If it does not, aiokafka has learnt it by the same answer and joins again.
        """
        owner = reader.owner
        stored = owner.stored_next_offset
        offset = owner.core.next_offset if stored is None else stored
        while True:
            try:
                await self._consumer.commit({reader.partition: offset})
            except (CommitFailedError, IllegalStateError):
                return False
            except KafkaError as error:
                _log.debug("proof_of_membership_failed", error=str(error))
                await asyncio.sleep(self._backoff.bound_s(2))
            else:
                return True

    def _note_fault(self, partition: TopicPartition, error: Exception) -> None:
        """A fault of our own, or one that only a person can mend; told at once and then once a minute."""
        now = self._tools.clock.monotonic()
        before = self._faults.get(partition)
        fault = _Fault(str(error) or type(error).__name__, 1, now, told_at=now)
        if before is not None and now - before.at < CALM_AFTER_S:
            fault.count = before.count + 1
        self._faults[partition] = fault
        if before is not None and now - before.told_at < REMIND_EVERY_S:
            fault.told_at = before.told_at
            return
        foreseen = isinstance(error, StorageError | KafkaError | TimeoutError)
        _log.error(
            "partition_failed",
            partition=partition.partition,
            error=fault.error,
            count=fault.count,
            exc_info=None if foreseen else error,
        )


def _log_claimed(reader: PartitionReader, claim: Claim, *, kept_in_memory: bool) -> None:
    core = reader.owner.core
    _log.info(
        "partition_claimed",
        partition=claim.partition,
        epoch=claim.epoch,
        position=core.position,
        live_legs=core.live_legs,
        kept_in_memory=kept_in_memory,
    )
