"""The worker's main loop: records are read, time-outs looked at, and in the end results waited for.

Which partitions are read is decided in :mod:`.assignments`, how a record reaches its core in :mod:`.reading`.
Positions: the truth is ``next_offset`` in PostgreSQL; what is committed to Kafka is advice for dashboards.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from qa_service import metrics
from qa_service.backoff import Backoff
from qa_service.domain.announcements import PartialData
from qa_service.domain.call import CallPolicy
from qa_service.storage.store import Store
from qa_service.web.health import Check, Heartbeat
from qa_service.worker.assignments import Assignments, OwnershipOptions
from qa_service.worker.clock import Clock
from qa_service.worker.dead_letters import DeadLetters
from qa_service.worker.outage import Outage
from qa_service.worker.progress import SILENCE_S, STUCK_AFTER_S, AskBrokers, ReadingFailed, Sign, Watchdog
from qa_service.worker.reading import PartitionReader, ReaderTools
from qa_service.worker.rule_book import RuleSets
from qa_service.worker.sessions import SessionPool

_log = structlog.get_logger(__name__)

POLL_MS = 500
"""Longest wait for records; a poll costs more than a round of the main loop."""
POLL_PATIENCE_S = 0.25
"""The main loop goes round as often while a poll waits for records, or for a rebalance: time-outs of legs
are looked at in it."""
TICK_S = 0.2
MEASURE_EVERY_S = 1.0
"""Gauges are scraped every few seconds."""
MAX_POLL_RECORDS = 2000
"""Bound of one poll, so that ticks come in between during catch-up."""
COMMIT_EVERY_S = 2.0
COMMIT_WITHIN_S = 2.0
"""For the last commit, which is advice only: a broker that is away must not hold up the end."""
LAST_WRITE_S = 2.0
"""For the last transaction, even if the grace period is used up."""
GIVE_UP_S = 60.0
"""Kafka itself being away raises nothing; an error that stays so long is one that only a restart, or a
person, can mend: missing rights, a coordination that has died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a deployment decides about a worker."""

    topic: str
    owner_name: str
    start_from_earliest: bool = False
    max_legs: int = 500
    max_lag_s: float = 0.0
    """Age at which audio that waits for capacity is given up; 0: never."""
    shutdown_grace_s: float = 10.0
    stuck_after_s: float = STUCK_AFTER_S
    dlq_max_run: int = 100
    dlq_max_ratio: float = 0.5
    calls: CallPolicy


_Fetched = list[tuple[PartitionReader, list[ConsumerRecord]]]


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
        ask_brokers: AskBrokers | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.heartbeat = Heartbeat(max_age_s=30.0)
        self._clock = clock or Clock()
        self._consumer = consumer
        self._sessions = sessions
        self._options = options
        self._store_outage = Outage("store", self._clock)
        self._kafka_outage = Outage("kafka", self._clock)
        tools = ReaderTools(
            consumer=consumer,
            store=store,
            store_outage=self._store_outage,
            rule_sets=rule_sets,
            dead_letters=dead_letters,
            dead_letters_outage=Outage("dead_letters", self._clock),
            clock=self._clock,
            max_lag_s=options.max_lag_s,
        )
        ownership = OwnershipOptions(
            owner_name=options.owner_name,
            start_from_earliest=options.start_from_earliest,
            dlq_max_run=options.dlq_max_run,
            dlq_max_ratio=options.dlq_max_ratio,
            calls=options.calls,
        )
        self._assignments = Assignments(
            tools, sessions=sessions, offer_partial=offer_partial, options=ownership
        )
        self._watchdog = Watchdog(ask_brokers, topic=options.topic, stuck_after_s=options.stuck_after_s)
        self._poll: asyncio.Task[_Fetched] | None = None
        self._asked_at = 0.0
        self._is_silent = False
        """Whether Kafka has not answered for a while, as far as can be seen from here."""
        self._poll_failures = 0
        self._polls_fail_since: float | None = None
        self._backoff = Backoff(first_s=0.2, ceiling_s=5.0)
        self._last_tick = 0.0
        self._measured_at = 0.0
        self._last_commit = 0.0
        self._committed: dict[TopicPartition, int] = {}
        self._commit_task: asyncio.Task[None] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Read until ``stop``, then take the finals that still come, write them and leave the group.

        Raises ReadingFailed.
        """
        self._consumer.subscribe([self._options.topic], listener=self._assignments)
        try:
            while not stop.is_set():
                self.heartbeat.beat()
                for reader, records in await self._fetch():
                    await reader.take(records)
                self._tick()
                self._commit_when_due()
            await self._drain()
        finally:
            await _end(self._poll)
            await _end(self._commit_task)
            await self._watchdog.close()
            await self._assignments.close()

    def checks(self) -> dict[str, Callable[[], Check]]:
        """What readiness rests on."""
        return {
            "kafka": self._check_kafka,
            "postgres": self._check_store,
            "recogniser": self._check_recogniser,
            "partitions": self._check_partitions,
        }

    # --- reading ----------------------------------------------------------------------------------

    async def _fetch(self) -> _Fetched:
        """What came since; nothing while records, or the end of a rebalance, are still waited for."""
        if self._poll is None:
            self._poll = asyncio.create_task(self._ask(), name="poll")
            self._asked_at = self._clock.monotonic()
        await asyncio.wait([self._poll], timeout=POLL_PATIENCE_S)
        if not self._poll.done():
            return []
        poll, self._poll = self._poll, None
        try:
            fetched = poll.result()
        except OffsetOutOfRangeError as error:
            for partition in error.args[0]:
                await self._return_into_range(partition)
            return []
        except KafkaError as error:
            await self._note_failure(error)
            return []
        self._polls_fail_since, self._poll_failures = None, 0
        self._is_silent = self._is_silent and not fetched
        if not self._is_silent:
            self._kafka_outage.end()
        return fetched

    async def _ask(self) -> _Fetched:
        polled = await self._consumer.getmany(timeout_ms=POLL_MS, max_records=MAX_POLL_RECORDS)
        # Bound to their readers at once: a moment later a partition may have been loaded anew, elsewhere.
        readers = self._assignments.readers
        return [
            (readers[partition], records) for partition, records in polled.items() if partition in readers
        ]

    async def _note_failure(self, error: KafkaError) -> None:
        now = self._clock.monotonic()
        self._kafka_outage.note(str(error) or type(error).__name__)
        self._polls_fail_since = self._polls_fail_since or now
        if now - self._polls_fail_since > GIVE_UP_S:
            raise ReadingFailed(
                f"reading {self._options.topic} has failed for {GIVE_UP_S:g} s: {error}; "
                "check the rights of this user on topic and consumer group, then start the worker again"
            ) from error
        self._poll_failures += 1
        await asyncio.sleep(self._backoff.delay_s(self._poll_failures, random.random()))  # noqa: S311 - jitter

    async def _return_into_range(self, partition: TopicPartition) -> None:
        """Go on where the log begins, as it does not hold what we want; gaps of the legs show the loss."""
        reader = self._assignments.readers.get(partition)
        if reader is None:
            return
        self._consumer.pause(partition)
        try:
            async with asyncio.timeout(SILENCE_S):
                start = int((await self._consumer.beginning_offsets([partition]))[partition])
        except (KafkaError, TimeoutError) as error:
            self._kafka_outage.note(str(error) or type(error).__name__)
            start = None
        if self._assignments.readers.get(partition) is not reader:
            return
        position = reader.owner.core.position
        if start is not None:
            _log.error(
                "offset_out_of_range",
                partition=partition.partition,
                wanted=position,
                resuming_at=start,
                remedy="unless the topic was made anew: longer retention than any outage to survive",
            )
        if start is None:
            reader.begin()  # finds out again, and asks again
        elif start > position:
            reader.owner.core.lose_before(start)
            reader.begin()
        else:
            # The log ends before what we have read: another topic of the same name, or a log cut short.
            self._assignments.reload(partition, at=start)

    # --- time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._clock.monotonic()
        if now - self._last_tick < TICK_S:
            return
        self._last_tick = now
        readers = list(self._assignments.readers.values())
        for reader in readers:
            self._look_at_end(reader, now)
            reader.owner.tick(read_until=reader.read_until(now))
        for reader in list(self._assignments.parked.values()):
            reader.owner.tick(read_until=reader.read_until(now))
        served = sum(reader.owner.core.served_legs for reader in readers)
        for reader in list(self._assignments.readers.values()):
            reader.review(
                is_full=served >= self._options.max_legs, recogniser_answers=self._sessions.last_loss is None
            )
        self._note_silence(now)
        self._watch_progress(now)
        if now - self._measured_at >= MEASURE_EVERY_S:
            self._measured_at = now
            self._measure()

    def _measure(self) -> None:
        readers = self._assignments.readers.values()
        metrics.LEGS_LIVE.set(sum(reader.owner.core.live_legs for reader in readers))
        metrics.PARTITIONS_OWNED.set(len(readers))
        held = Counter(reader.held_for for reader in readers if reader.held_for is not None)
        for reason, gauge in metrics.PARTITIONS_PAUSED.items():
            gauge.set(held[reason])  # type: ignore[index]  # its labels are the reasons
        for reader in readers:
            highwater = self._consumer.highwater(reader.partition)
            if highwater is not None:
                lag = max(highwater - reader.owner.core.position, 0)
                metrics.PARTITION_LAG[str(reader.partition.partition)].set(lag)

    def _look_at_end(self, reader: PartitionReader, now: float) -> None:
        reader.log_end.look(
            told_at=self._consumer.last_poll_timestamp(reader.partition),
            highwater=self._consumer.highwater(reader.partition),
            position=reader.owner.core.position,
            now=now,
        )

    def _note_silence(self, now: float) -> None:
        """A Kafka that is away raises nothing: its fetches bring nothing, or a rebalance does not end."""
        silent_s = [
            min(self._ms_since_answer(reader) / 1000, now - reader.reads_since)
            for reader in self._assignments.readers.values()
            if reader.held_for is None
        ]
        if self._poll is not None:
            silent_s.append(now - self._asked_at)
        self._is_silent = bool(silent_s) and min(silent_s) > SILENCE_S
        if self._is_silent:
            self._kafka_outage.note(f"no answer for {min(silent_s):.0f} s; check that the brokers are up")

    def _watch_progress(self, now: float) -> None:
        signs = [
            Sign(
                reader.partition.partition,
                reader.owner.core.position,
                self._consumer.highwater(reader.partition),
                silent_s=min(self._ms_since_answer(reader) / 1000, now - reader.reads_since),
            )
            for reader in self._assignments.readers.values()
            if reader.held_for is None
        ]
        poll_s = 0.0 if self._poll is None else now - self._asked_at
        self._watchdog.look(signs, poll_s=poll_s, now=now)

    def _ms_since_answer(self, reader: PartitionReader) -> float:
        """Milliseconds since the broker last answered for a partition that is read; infinite: not yet."""
        told_at = self._consumer.last_poll_timestamp(reader.partition)
        return float("inf") if told_at is None else self._clock.unix_ms() - told_at

    def _commit_when_due(self) -> None:
        now = self._clock.monotonic()
        is_busy = self._commit_task is not None and not self._commit_task.done()
        if is_busy or now - self._last_commit < COMMIT_EVERY_S:
            return
        self._last_commit = now
        offsets = {
            partition: offset
            for partition, offset in self._stored_offsets().items()
            if offset != self._committed.get(partition)
        }
        if offsets:
            self._commit_task = asyncio.create_task(self._commit(offsets), name="advisory-commit")

    def _stored_offsets(self) -> dict[TopicPartition, int]:
        readers = self._assignments.readers.items()
        return {p: o for p, reader in readers if (o := reader.owner.stored_next_offset) is not None}

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        if not offsets:
            return  # in a rebalance a worker may own nothing, and aiokafka refuses an empty commit
        try:
            await self._consumer.commit(offsets)
        except KafkaError as error:
            _log.debug("advisory_commit_failed", error=str(error))  # normal during a rebalance
        else:
            self._committed |= offsets

    async def _drain(self) -> None:
        """Take the finals that come within the grace period; sessions are not told to finish."""
        await self._assignments.stop_claiming()
        owners = [reader.owner for reader in self._assignments.readers.values()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.shutdown_grace_s):
                await asyncio.gather(*(owner.results_are_in() for owner in owners))
        written = await asyncio.gather(*(owner.flush(LAST_WRITE_S) for owner in owners))
        if not all(written):
            _log.warning("stopped_before_written", partitions=written.count(False), detail="it is read again")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_WITHIN_S):
                await _end(self._commit_task)
                await self._commit(self._stored_offsets())

    # --- health -----------------------------------------------------------------------------------

    def _check_kafka(self) -> Check:
        if self._watchdog.finding is not None:
            return Check(ok=False, detail=self._watchdog.finding)
        if self._kafka_outage.reason is not None:
            return Check(ok=False, detail=self._kafka_outage.reason)
        if not self._assignments.has_joined:
            return Check(ok=False, detail="has not joined the group yet")
        return Check(ok=True, detail="member of the group")

    def _check_store(self) -> Check:
        failure = self._assignments.write_failure or self._store_outage.reason
        return Check(failure is None, failure or "answers")

    def _check_recogniser(self) -> Check:
        lost = self._sessions.last_loss
        return Check(lost is None, "answers, or is not needed" if lost is None else lost.detail)

    def _check_partitions(self) -> Check:
        assignments = self._assignments
        if assignments.waiting:
            why = assignments.fault or "being claimed"
            return Check(ok=False, detail=f"{assignments.waiting} wait to be read: {why}")
        readers = assignments.readers
        stopped = [f"{p.partition}: {r.stopped}" for p, r in sorted(readers.items()) if r.stopped is not None]
        if stopped:
            return Check(ok=False, detail=f"stopped reading {'; '.join(stopped)}")
        held = Counter(r.held_for for r in readers.values() if r.held_for is not None)
        reasons = "".join(f", {count} held for {reason}" for reason, count in sorted(held.items()))
        return Check(ok=True, detail=f"{len(readers)} owned{reasons}")


async def _end(task: asyncio.Task[_Fetched] | asyncio.Task[None] | None) -> None:
    """Cancel a task, and return when it has ended."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
