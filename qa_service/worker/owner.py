"""A partition that this worker owns: its core, its sessions, and the one task that writes for it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import structlog

from qa_service import metrics
from qa_service.backoff import Backoff
from qa_service.domain.announcements import PartialData
from qa_service.domain.entries import CallEnded, CallStarted, Gap, LogEntry, Utterance
from qa_service.domain.leg import OpenSession
from qa_service.domain.partition import LegKey, Partition
from qa_service.domain.writes import WriteBatch
from qa_service.protocol.events import ServerEvent
from qa_service.storage.errors import Fenced, StorageError
from qa_service.storage.store import Store
from qa_service.worker.clock import Clock
from qa_service.worker.sessions import SessionListener, SessionPool

_log = structlog.get_logger(__name__)

IDLE_WRITE_S = 1.0
"""How long an advanced ``next_offset`` may wait for a transaction when no entry asks for one."""


class PartitionOwner:
    """Carries out what the core of one partition decides; all its methods belong to the event loop."""

    def __init__(
        self,
        core: Partition,
        *,
        store: Store,
        sessions: SessionPool,
        clock: Clock,
        offer_partial: Callable[[PartialData], object],
        on_fenced: Callable[[PartitionOwner], None],
    ) -> None:
        self.core = core
        self.stored_next_offset: int | None = None
        """``next_offset`` of the newest durable transaction: what may be committed to Kafka."""
        self.write_failure: StorageError | None = None
        """Why writing does not succeed at present."""
        self._store = store
        self._sessions = sessions
        self._clock = clock
        self._offer_partial = offer_partial
        self._on_fenced = on_fenced
        self._listener = SessionListener(self._receive, self._lose_session)
        self._due = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._legs_with_sessions: set[LegKey] = set()
        self._is_active = True
        self._backoff = Backoff(first_s=0.2, ceiling_s=5.0)
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
                self._legs_with_sessions.add(key)
                self._sessions.open(key, action, core.session_config(key), self._listener)
            else:
                self._sessions.apply(key, action)
        for partial in core.take_partials():
            self._offer_partial(partial)
        if core.has_entries:
            self._due.set()

    def tick(self, *, caught_up: bool) -> None:
        """Let the core's time-outs act."""
        self.core.tick(now=self._clock.monotonic(), caught_up=caught_up)
        self.step()

    async def flush(self, within_s: float) -> bool:
        """Write what is due; False if that did not succeed in time."""
        self._due.set()
        try:
            async with asyncio.timeout(within_s):
                while self._is_active and (self._due.is_set() or not self._idle.is_set()):
                    await asyncio.sleep(0)
                    await self._idle.wait()
        except TimeoutError:
            return False
        return self._is_active

    async def drop(self) -> None:
        """Let the partition go at once: what is not written is another worker's to read again."""
        self._is_active = False
        self.abandon_sessions()
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer

    def abandon_sessions(self) -> None:
        """Close the sessions of this partition's legs; what they would still say is void."""
        self._sessions.abandon_all(list(self._legs_with_sessions))

    # --- sessions ---------------------------------------------------------------------------------

    def _receive(self, key: LegKey, number: int, event: ServerEvent) -> None:
        if self._is_active:
            clock = self._clock
            self.core.receive(key, number, event, now=clock.monotonic(), at_ms=clock.unix_ms())
            self.step()

    def _lose_session(self, key: LegKey, number: int) -> None:
        if self._is_active:
            self.core.session_lost(key, number, now=self._clock.monotonic())
            self.step()

    # --- writing ----------------------------------------------------------------------------------

    async def _write_on(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_WRITE_S):
                    await self._due.wait()
            self._idle.clear()
            self._due.clear()
            batch = self.core.take_batch()
            if batch is not None and not await self._write(batch):
                return
            self._idle.set()

    async def _write(self, batch: WriteBatch) -> bool:
        """Write a batch, however long the database takes to come back; False if we are fenced off."""
        attempt = 0
        while True:
            try:
                with metrics.BATCH_WRITE.time():
                    await self._store.write(batch)
            except Fenced as error:
                self._is_active = False
                metrics.EPOCH_FENCINGS.inc()
                _log.warning(
                    "partition_fenced", partition=batch.partition, epoch=batch.epoch, error=str(error)
                )
                self._on_fenced(self)
                return False
            except StorageError as error:
                attempt += 1
                self.write_failure = error
                metrics.WRITE_FAILURES[type(error).__name__].inc()
                if attempt == 1:
                    _log.error("write_failed", partition=batch.partition, error=str(error))
                await asyncio.sleep(self._backoff.delay_s(attempt, random.random()))  # noqa: S311 - jitter
            else:
                break
        if self.write_failure is not None:
            _log.info("write_recovered", partition=batch.partition, attempts=attempt)
            self.write_failure = None
        self.stored_next_offset = batch.next_offset
        _report(batch)
        return True


def _report(batch: WriteBatch) -> None:
    """Count and log what has become durable."""
    metrics.BATCHES_WRITTEN.inc()
    metrics.ENTRIES_WRITTEN.inc(len(batch.entries))
    for entry in batch.entries:
        _report_entry(entry)
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


def _report_entry(entry: LogEntry) -> None:
    match entry.body:
        case Utterance(redactions=redactions):
            metrics.UTTERANCES.inc()
            for redaction in redactions:
                metrics.REDACTIONS[redaction.kind].inc()
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
