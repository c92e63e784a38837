"""A partition that this worker owns: its core, its sessions, and the one task that writes for it.

Trouble with the database is waited out: a batch is tried again until it is stored. Anything else ends the
ownership: being fenced off, a batch out of order, and any fault of our own, since a core that failed half way
cannot be trusted. What is then not written is read again by whoever loads the partition next.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator

import structlog

from qa_service import metrics
from qa_service.backoff import Backoff
from qa_service.domain.actions import OpenSession
from qa_service.domain.announcements import PartialData
from qa_service.domain.entries import CallEnded, CallStarted, Gap, LogEntry, Utterance
from qa_service.domain.partition import LegKey, Partition
from qa_service.domain.writes import WriteBatch
from qa_service.protocol.events import ServerEvent
from qa_service.storage.errors import CallsElsewhere, Fenced, StorageError, StoreUnavailable, WriteOutOfOrder
from qa_service.storage.store import Store
from qa_service.worker.clock import Clock
from qa_service.worker.outage import Outage
from qa_service.worker.sessions import SessionListener, SessionPool

_log = structlog.get_logger(__name__)

IDLE_WRITE_S = 1.0
"""How long an advanced ``next_offset``, or a step through quiet, may wait for a transaction."""
PROVE_EVERY_S = 15.0
"""A partition on which nothing happens writes an empty batch as often: only a write tells that it was fenced
off, or that the database was set back to an older state and has to be fed again."""
REMIND_AFTER_ATTEMPTS = 30
"""A batch that the database refuses is told of again after so many attempts: a minute or two."""


class PartitionOwner:
    """Carries out what the core of one partition decides; all its methods belong to the event loop.

    ``on_end`` is called once, with the reason, if the ownership ends other than by :meth:`drop`.
    """

    def __init__(
        self,
        core: Partition,
        *,
        store: Store,
        sessions: SessionPool,
        clock: Clock,
        offer_partial: Callable[[PartialData], object],
        store_outage: Outage,
        on_end: Callable[[PartitionOwner, Exception], None],
    ) -> None:
        self.core = core
        self.stored_next_offset: int | None = None
        """``next_offset`` of the newest durable transaction: what may be committed to Kafka."""
        self.write_failure: str | None = None
        """Why writing does not succeed at present."""
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._offer_partial = offer_partial
        self._store_outage = store_outage
        self._on_end = on_end
        self._listener = SessionListener(self._receive, self._lose_session)
        self._is_active = True
        self._written_at = clock.monotonic()
        self._due = asyncio.Event()
        self._settled = asyncio.Event()
        self._stepped = asyncio.Event()
        self._one_batch = asyncio.Lock()
        self._backoff = Backoff(first_s=0.2, ceiling_s=5.0)
        self._due.set()  # where reading begins is stored at once: a successor must not choose another place
        self._writer = asyncio.create_task(self._write_on(), name=f"writer-{core.partition}")

    @property
    def is_active(self) -> bool:
        """Whether the partition is still ours, as far as we know."""
        return self._is_active

    def step(self) -> None:
        """Carry out what the core decided; call it after each input to the core."""
        core = self.core
        for key, action in core.take_actions():
            if isinstance(action, OpenSession):
                self._sessions.open(key, action, core.session_config(key), self._listener)
            else:
                self._sessions.apply(key, action)
        for partial in core.take_partials():
            self._offer_partial(partial)
        for key, damaged in core.take_damaged():
            metrics.PACKETS_DAMAGED.inc(damaged.packets)
            if damaged.is_first:
                _log.warning("packets_damaged", call_id=key.call_id, leg_id=key.leg_id)
        if core.has_news:
            self._due.set()
            self._settled.clear()
        self._stepped.set()

    def tick(self, *, read_until: float) -> None:
        """Let the core's time-outs act; ``read_until``: see :class:`~qa_service.worker.log_end.LogEnd`."""
        if self._is_active:
            with self.or_ended():
                self.core.tick(now=self._clock.monotonic(), read_until=read_until)
                self.step()

    @contextlib.contextmanager
    def or_ended(self) -> Iterator[None]:
        """A block that changes the core; a fault in it ends the ownership, and nothing more."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a fault is kept to its partition, and told by on_end
            self._end(error)

    async def flush(self, within_s: float) -> bool:
        """Write what is due; False if that did not succeed in time."""
        if self._is_active:
            self._settled.clear()
            self._due.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._settled.wait()
        return self._is_active and self._settled.is_set()

    async def results_are_in(self) -> None:
        """Return when the recogniser owes no result for speech that has ended."""
        while self._is_active and self.core.awaits_results:
            self._stepped.clear()
            await self._stepped.wait()

    @contextlib.asynccontextmanager
    async def between_batches(self) -> AsyncIterator[None]:
        """A block during which no batch is under way, whatever its outcome was."""
        async with self._one_batch:
            yield

    async def drop(self) -> None:
        """Let the partition go at once: what is not written is another worker's to read again."""
        self._retire()
        self._writer.cancel()
        await asyncio.wait([self._writer])

    # --- sessions ---------------------------------------------------------------------------------

    def _receive(self, key: LegKey, number: int, event: ServerEvent) -> None:
        with self.or_ended():
            clock = self._clock
            self.core.receive(key, number, event, now=clock.monotonic(), at_ms=clock.unix_ms())
            self.step()

    def _lose_session(self, key: LegKey, number: int) -> None:
        with self.or_ended():
            self.core.session_lost(key, number, now=self._clock.monotonic())
            self.step()

    # --- the end ----------------------------------------------------------------------------------

    def _end(self, error: Exception) -> None:
        if self._is_active:
            self._retire()
            self._on_end(self, error)

    def _retire(self) -> None:
        """Close the sessions of this partition's legs, and let nobody wait for us any more."""
        self._is_active = False
        self._sessions.abandon(self._listener)
        self._settled.set()
        self._stepped.set()

    # --- writing ----------------------------------------------------------------------------------

    async def _write_on(self) -> None:
        try:
            while self._is_active:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(IDLE_WRITE_S):
                        await self._due.wait()
                async with self._one_batch:
                    self._due.clear()
                    is_due = self._clock.monotonic() - self._written_at > PROVE_EVERY_S
                    batch = self.core.take_batch(even_if_empty=is_due)
                    if batch is not None:
                        await self._write(batch)
                        self._written_at = self._clock.monotonic()
                if not self._due.is_set():
                    self._settled.set()
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody writes from here on: told by on_end
            self._end(error)

    async def _write(self, batch: WriteBatch) -> None:
        """Write a batch, however long the database takes to come back.

        Calls that another partition has stored meanwhile are left out of it, and left to that one.
        """
        attempt = 0
        while True:
            try:
                with metrics.BATCH_WRITE.time():
                    await self._store.write(batch)
            except (Fenced, WriteOutOfOrder):
                raise
            except CallsElsewhere as error:
                batch = self.core.leave(batch, error.call_ids, now=self._clock.monotonic())
                for call_id in error.call_ids:
                    log_stray_call(call_id, self.core.partition)
                self.step()
            except StorageError as error:
                attempt += 1
                self._note_failure(error, attempt)
                await asyncio.sleep(self._backoff.delay_s(attempt, random.random()))  # noqa: S311 - jitter
            else:
                break
        self.write_failure = None
        self._store_outage.end()
        self.stored_next_offset = batch.next_offset
        _report(batch)

    def _note_failure(self, error: StorageError, attempt: int) -> None:
        metrics.WRITE_FAILURES[type(error).__name__].inc()
        self.write_failure = str(error)
        if isinstance(error, StoreUnavailable):
            self._store_outage.note(str(error))
        elif attempt % REMIND_AFTER_ATTEMPTS == 1:
            _log.error("write_refused", partition=self.core.partition, error=str(error), attempt=attempt)


def log_stray_call(call_id: str, partition: int) -> None:
    """Tell, once a call, that its records arrive on two partitions."""
    _log.error(
        "call_on_other_partition",
        call_id=call_id,
        partition=partition,
        remedy="let all producers of the topic partition by murmur2 of the key (librdkafka: "
        "partitioner=murmur2_random); what came here of the call is on the dead-letter topic",
    )


def _report(batch: WriteBatch) -> None:
    """Count and log what has become durable."""
    metrics.BATCHES_WRITTEN.inc()
    metrics.ENTRIES_WRITTEN.inc(len(batch.entries))
    origins = {call.call_id: call.origin_ts for call in batch.calls}
    for entry in batch.entries:
        _report_entry(entry, origins.get(entry.call_id))
    for change in batch.incidents:
        metrics.ALERTS[change.rule_id, change.state].inc()
        _log.info(
            f"incident_{change.state}",
            call_id=change.call_id,
            rule_id=change.rule_id,
            severity=change.severity,
            incident_id=str(change.incident_id),
            at_ms=change.at_ms,
        )


def _report_entry(entry: LogEntry, origin_ts: int | None) -> None:
    match entry.body:
        case Utterance(redactions=redactions, final_at=final_at):
            metrics.UTTERANCES.inc()
            for redaction in redactions:
                metrics.REDACTIONS[redaction.kind].inc()
            if final_at and origin_ts is not None:
                metrics.FINAL_LATENCY.observe(max(final_at - origin_ts - entry.end_ms, 0) / 1000)
        case Gap(reason=reason):
            metrics.GAPS[reason].inc()
            metrics.GAP_SECONDS[reason].inc((entry.end_ms - entry.start_ms) / 1000)
            if reason not in ("not_sent", "paused"):
                _log.warning(
                    "gap_written",
                    call_id=entry.call_id,
                    leg_id=entry.leg_id,
                    reason=reason,
                    start_ms=entry.start_ms,
                    end_ms=entry.end_ms,
                )
        case CallStarted():
            _log.info("call_started", call_id=entry.call_id)
        case CallEnded():
            _log.info("call_ended", call_id=entry.call_id)
        case _:
            pass
