"""The worker's main loop: partitions come and go, records are read, cores are fed.

Positions: the truth is ``next_offset`` in PostgreSQL; an assignment claims the partition there and seeks to
it. What is committed to Kafka is advice for dashboards. Partitions that come back from a rebalance
unclaimed by anyone else go on from memory, with their sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from qa_service import metrics
from qa_service.backoff import Backoff
from qa_service.contract.errors import ContractViolation, UnknownVersion
from qa_service.contract.records import AudioFrame, CallRecord, decode_record
from qa_service.domain.announcements import PartialData
from qa_service.domain.call import CallPolicy
from qa_service.domain.partition import Partition
from qa_service.domain.poison import PoisonGuard
from qa_service.domain.writes import Claim
from qa_service.storage.errors import StorageError
from qa_service.storage.store import Store
from qa_service.web.health import Check, Heartbeat
from qa_service.worker.clock import Clock
from qa_service.worker.dead_letters import DeadLetters
from qa_service.worker.owner import PartitionOwner
from qa_service.worker.rule_book import RuleSets
from qa_service.worker.sessions import SessionPool

_log = structlog.get_logger(__name__)

POLL_MS = 100
"""Longest wait for records; time-outs of legs are looked at as often."""
TICK_S = 0.2
MAX_POLL_RECORDS = 2000
"""Bound of one poll, so that heartbeats and ticks come in between during catch-up."""
COMMIT_EVERY_S = 2.0
REVOKE_WITHIN_S = 5.0
"""Bound on writing what is due when partitions are taken away; half the default session time-out."""
DRAIN_STEP_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a deployment decides about a worker."""

    topic: str
    owner_name: str
    start_from_earliest: bool = False
    max_legs: int = 500
    shutdown_grace_s: float = 10.0
    dlq_max_run: int = 100
    dlq_max_ratio: float = 0.5
    calls: CallPolicy


class Worker:
    """Reads the audio topic as a member of the group; :meth:`run` it until told to stop."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        *,
        store: Store,
        sessions: SessionPool,
        dead_letters: DeadLetters,
        rule_sets: RuleSets,
        options: WorkerOptions,
        offer_partial: Callable[[PartialData], object],
        clock: Clock | None = None,
    ) -> None:
        self._consumer = consumer
        self._store = store
        self._sessions = sessions
        self._dead_letters = dead_letters
        self._rule_sets = rule_sets
        self._options = options
        self._offer_partial = offer_partial
        self._clock = clock or Clock()
        self._owners: dict[TopicPartition, PartitionOwner] = {}
        self._guards: dict[TopicPartition, PoisonGuard] = {}
        self._parked: dict[TopicPartition, PartitionOwner] = {}
        self._to_claim: set[TopicPartition] = set()
        self._stopped_reading: dict[TopicPartition, str] = {}
        self._held_back: set[TopicPartition] = set()
        self._has_joined = False
        self._last_tick = 0.0
        self._last_commit = 0.0
        self._committed: dict[TopicPartition, int] = {}
        self._poll_failure: str | None = None
        self._poll_failures = 0
        self._commit_task: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self.heartbeat = Heartbeat(max_age_s=30.0)

    async def run(self, stop: asyncio.Event) -> None:
        """Read until ``stop``, then take the finals that still come, write them and leave the group."""
        self._consumer.subscribe([self._options.topic], listener=_Rebalances(self))
        try:
            while not stop.is_set():
                self.heartbeat.beat()
                await self._claim_assigned()
                await self._read_once()
                self._tick()
                self._commit_when_due()
            await self._drain()
        finally:
            for owner in [*self._owners.values(), *self._parked.values()]:
                await owner.drop()

    def checks(self) -> dict[str, Callable[[], Check]]:
        """What readiness rests on."""
        return {
            "kafka": self._check_kafka,
            "postgres": self._check_store,
            "recogniser": self._check_recogniser,
            "partitions": self._check_partitions,
        }

    # --- reading ----------------------------------------------------------------------------------

    async def _read_once(self) -> None:
        try:
            polled = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_POLL_RECORDS)
        except OffsetOutOfRangeError as error:
            for partition in error.args[0]:
                await self._seek_to_start(partition)
            return
        except KafkaError as error:
            await self._note_poll_failure(error)
            return
        if self._poll_failure is not None:
            _log.info("kafka_recovered")
            self._poll_failure, self._poll_failures = None, 0
        for partition, records in polled.items():
            owner = self._owners.get(partition)
            if owner is not None and owner.is_active:
                await self._take(partition, owner, records)

    async def _note_poll_failure(self, error: KafkaError) -> None:
        if self._poll_failure is None:
            _log.warning("kafka_read_failed", error=str(error))
        self._poll_failure = str(error) or type(error).__name__
        self._poll_failures += 1
        await asyncio.sleep(self._backoff.delay_s(self._poll_failures, random.random()))  # noqa: S311 - jitter

    async def _take(
        self, partition: TopicPartition, owner: PartitionOwner, records: list[ConsumerRecord]
    ) -> None:
        """Feed a partition's records to its core, in order."""
        now = self._clock.monotonic()
        good = 0
        audio_records = 0
        for record in records:
            try:
                decoded = decode_record(record.key, record.headers, record.value)
                if not owner.core.knows(decoded.call_id):
                    await self._look_up(owner, decoded)
                outcome = owner.core.handle(decoded, record.offset, record_ms=record.timestamp, now=now)
            except ContractViolation as violation:
                self._guards[partition].note_good(good)
                good = 0
                if not await self._refuse(partition, owner, record, violation):
                    return
                continue
            except UnknownVersion as error:
                self._stop_reading(partition, record.offset, str(error), "version")
                break
            if not owner.is_active:
                return  # taken away while we looked something up; its successor reads this again
            good += 1
            if isinstance(decoded.record, AudioFrame):
                audio_records += 1
                if outcome == "repeated":
                    metrics.FRAMES_REPEATED.inc()
            else:
                metrics.RECORDS[_type_of(decoded)].inc()
        metrics.RECORDS["audio"].inc(audio_records)
        self._guards[partition].note_good(good)
        owner.step()

    async def _look_up(self, owner: PartitionOwner, decoded: CallRecord) -> None:
        """Fetch a call that is not in memory: it may have ended long ago, and be back."""
        while owner.is_active:
            try:
                stored = await self._store.load_call(decoded.call_id)
            except StorageError as error:
                await self._wait_for_store(error)
                continue
            if stored is not None:
                await self._rule_sets.prepare([stored])
                owner.core.adopt(stored)
            return

    async def _refuse(
        self,
        partition: TopicPartition,
        owner: PartitionOwner,
        record: ConsumerRecord,
        violation: ContractViolation,
    ) -> bool:
        """Put a record on the dead-letter topic; False if reading is to stop here."""
        attempt = 0
        while owner.is_active:
            try:
                await self._dead_letters.send(record, violation)
            except KafkaError as error:
                attempt += 1
                _log.warning("dead_letter_failed", error=str(error), offset=record.offset)
                await asyncio.sleep(self._backoff.delay_s(attempt, random.random()))  # noqa: S311 - jitter
            else:
                break
        owner.core.skip(record.offset)
        why = self._guards[partition].note_bad()
        if why is not None:
            self._stop_reading(partition, record.offset + 1, why, "poison")
            return False
        return owner.is_active

    def _stop_reading(self, partition: TopicPartition, offset: int, why: str, kind: str) -> None:
        """Stop at a record that only a person can deal with; calls in progress end by their time-outs."""
        self._consumer.pause(partition)
        self._consumer.seek(partition, offset)
        self._stopped_reading[partition] = why
        metrics.PARTITIONS_PAUSED[kind].inc()
        _log.error(
            "partition_stopped",
            partition=partition.partition,
            offset=offset,
            reason=why,
            remedy="repair the producer, then restart the worker",
        )

    async def _seek_to_start(self, partition: TopicPartition) -> None:
        """The stored offset is gone from the log: begin where the log does; the legs' gaps show the loss."""
        start = (await self._consumer.beginning_offsets([partition]))[partition]
        _log.error("offset_out_of_range", partition=partition.partition, resuming_at=start)
        self._consumer.seek(partition, start)

    # --- partitions -------------------------------------------------------------------------------

    async def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions may go elsewhere: write what is due and park them; their sessions stay warm."""
        for partition in partitions:
            owner = self._owners.pop(partition, None)
            if owner is not None:
                self._parked[partition] = owner
        flushed = await asyncio.gather(*(owner.flush(REVOKE_WITHIN_S) for owner in self._parked.values()))
        if not all(flushed):
            _log.warning("revoked_before_written", detail="what is missing is read again by the next owner")

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Partitions are ours: they are claimed, and read, as soon as the store answers."""
        self._has_joined = True
        metrics.REBALANCES.inc()
        assigned = set(partitions)
        for partition in assigned:
            # No position yet: hold it until the claim says where to begin.
            self._consumer.pause(partition)
            self._consumer.seek(partition, 0)
        self._to_claim = assigned
        self._stopped_reading.clear()
        self._held_back.clear()
        for partition in [p for p in self._parked if p not in assigned]:
            await self._parked.pop(partition).drop()

    async def _claim_assigned(self) -> None:
        for partition in sorted(self._to_claim):
            try:
                await self._claim(partition)
            except StorageError as error:
                await self._wait_for_store(error)
                return
            self._to_claim.discard(partition)

    async def _claim(self, partition: TopicPartition) -> None:
        claim = await self._store.claim(partition.topic, partition.partition, self._options.owner_name)
        parked = self._parked.pop(partition, None)
        if parked is not None and parked.is_active and parked.core.renew(claim):
            owner = parked
        else:
            if parked is not None:
                await parked.drop()
            owner = await self._load(partition, claim)
        if partition not in self._to_claim:
            await owner.drop()  # revoked while we were at it
            return
        self._owners[partition] = owner
        self._guards[partition] = PoisonGuard(
            max_run=self._options.dlq_max_run, max_ratio=self._options.dlq_max_ratio
        )
        self._consumer.seek(partition, owner.core.position)
        self._consumer.resume(partition)
        metrics.PARTITIONS_OWNED.set(len(self._owners))
        _log.info(
            "partition_claimed",
            partition=partition.partition,
            epoch=claim.epoch,
            position=owner.core.position,
            live_legs=owner.core.live_legs,
            kept_in_memory=owner is parked,
        )

    async def _load(self, partition: TopicPartition, claim: Claim) -> PartitionOwner:
        stored = await self._store.load_calls(partition.topic, partition.partition)
        await self._rule_sets.prepare(stored)
        position = claim.next_offset
        if position is None:
            position = await self._first_position(partition)
        core = Partition(
            claim, stored, position=position, rules=self._rule_sets.book, policy=self._options.calls
        )
        return PartitionOwner(
            core,
            store=self._store,
            sessions=self._sessions,
            clock=self._clock,
            offer_partial=self._offer_partial,
            on_fenced=self._reclaim,
        )

    async def _first_position(self, partition: TopicPartition) -> int:
        consumer = self._consumer
        ask = consumer.beginning_offsets if self._options.start_from_earliest else consumer.end_offsets
        return int((await ask([partition]))[partition])

    def _reclaim(self, owner: PartitionOwner) -> None:
        """Fenced off: if Kafka still says the partition is ours, claim it again and load it anew."""
        partition = TopicPartition(owner.core.topic, owner.core.partition)
        self._owners.pop(partition, None)
        owner.abandon_sessions()
        if partition in self._consumer.assignment():
            self._consumer.pause(partition)
            self._to_claim.add(partition)

    # --- time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._clock.monotonic()
        if now - self._last_tick < TICK_S:
            return
        self._last_tick = now
        for partition, owner in list(self._owners.items()):
            owner.tick(caught_up=self._is_caught_up(partition, owner))
        legs = sum(owner.core.live_legs for owner in self._owners.values())
        metrics.LEGS_LIVE.set(legs)
        self._hold_back_when(self._store_failure is not None, legs)

    def _is_caught_up(self, partition: TopicPartition, owner: PartitionOwner) -> bool:
        highwater = self._consumer.highwater(partition)
        if highwater is None:
            return False
        metrics.PARTITION_LAG[str(partition.partition)].set(max(highwater - owner.core.position, 0))
        return bool(owner.core.position >= highwater)

    def _hold_back_when(self, store_fails: bool, legs: int) -> None:  # noqa: FBT001 - named by its one caller
        """Let records wait in Kafka while nothing can be written, or no more legs can be taken.

        Over the limit of legs only partitions without live legs wait: the others carry calls in progress.
        """
        full = legs >= self._options.max_legs
        for partition, owner in self._owners.items():
            if partition in self._stopped_reading:
                continue
            hold = store_fails or (full and not owner.core.live_legs)
            if hold and partition not in self._held_back:
                self._held_back.add(partition)
                self._consumer.pause(partition)
                _log.warning("partition_held_back", partition=partition.partition, legs=legs, full=full)
            elif not hold and partition in self._held_back:
                self._held_back.discard(partition)
                self._consumer.resume(partition)

    def _commit_when_due(self) -> None:
        now = self._clock.monotonic()
        if now - self._last_commit < COMMIT_EVERY_S:
            return
        self._last_commit = now
        offsets = {
            partition: owner.stored_next_offset
            for partition, owner in self._owners.items()
            if owner.stored_next_offset is not None
            and owner.stored_next_offset != self._committed.get(partition)
        }
        if offsets:
            self._committed |= offsets
            self._commit_task = asyncio.create_task(self._commit(offsets), name="advisory-commit")

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            _log.debug("advisory_commit_failed", error=str(error))  # normal during a rebalance

    async def _drain(self) -> None:
        """Take the finals that come within the grace period; sessions are not told to finish."""
        deadline = self._clock.monotonic() + self._options.shutdown_grace_s
        owners = list(self._owners.values())
        while any(owner.core.awaits_results for owner in owners) and self._clock.monotonic() < deadline:
            await asyncio.sleep(DRAIN_STEP_S)
        await asyncio.gather(*(owner.flush(max(deadline - self._clock.monotonic(), 1.0)) for owner in owners))
        with contextlib.suppress(KafkaError):
            await self._consumer.commit(
                {p: o.stored_next_offset for p, o in self._owners.items() if o.stored_next_offset is not None}
            )

    # --- health -----------------------------------------------------------------------------------

    async def _wait_for_store(self, error: StorageError) -> None:
        _log.warning("store_unavailable", error=str(error))
        await asyncio.sleep(1.0)

    @property
    def _store_failure(self) -> str | None:
        failures = (owner.write_failure for owner in self._owners.values())
        return next((str(failure) for failure in failures if failure is not None), None)

    def _check_kafka(self) -> Check:
        if self._poll_failure is not None:
            return Check(ok=False, detail=self._poll_failure)
        return Check(
            self._has_joined, "member of the group" if self._has_joined else "has not joined the group yet"
        )

    def _check_store(self) -> Check:
        failure = self._store_failure
        if failure is not None:
            return Check(ok=False, detail=failure)
        return Check(not self._to_claim, f"{len(self._to_claim)} partitions wait for their claim")

    def _check_recogniser(self) -> Check:
        lost = self._sessions.last_loss
        return Check(lost is None, "answers" if lost is None else lost.detail)

    def _check_partitions(self) -> Check:
        if self._stopped_reading:
            stopped = "; ".join(f"{p.partition}: {why}" for p, why in sorted(self._stopped_reading.items()))
            return Check(ok=False, detail=f"stopped reading {stopped}")
        return Check(ok=True, detail=f"{len(self._owners)} owned, {len(self._held_back)} held back")


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka publishes no types
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._worker.revoke(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._worker.assign(assigned)


def _type_of(decoded: CallRecord) -> str:
    return _TYPES[type(decoded.record).__name__]


_TYPES = {
    "LegStart": "start",
    "LegUpdate": "update",
    "LegPause": "pause",
    "LegResume": "resume",
    "LegStop": "stop",
    "CallEnd": "call_end",
}
