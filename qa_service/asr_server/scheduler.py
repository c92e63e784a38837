"""The threads that recognise: a thin shell around the agenda, which decides what they do.

Decided here: N threads, one recognition each. Everything that is decided about order, load and what gives way
is in `agenda` and `load`; here are the lock, the clock and the threads.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import structlog

from qa_service import metrics
from qa_service.asr_server.agenda import Agenda, Task
from qa_service.asr_server.load import Priority, Steady

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_SUSPENDED_S: Final = 2.0  # until an utterance asks again for looks, if there was no time for them
_METRIC_KIND: Final = {Priority.FINAL: "final", Priority.SPECULATIVE: "final", Priority.PARTIAL: "partial"}


@dataclass(slots=True, eq=False)
class Job(Task, Generic[T]):
    """One recognition that waits, runs or is done; await `result` for what it came to."""

    work: Callable[[], T]
    submitted: float
    future: Future[T] = field(default_factory=Future)

    async def result(self) -> T:
        """What the work returned.

        Raises:
            asyncio.CancelledError: the job was given up.
        """
        return await asyncio.wrap_future(self.future)

    @property
    def done(self) -> bool:
        """Whether it has run, failed or been given up."""
        return self.future.done()

    @property
    def running(self) -> bool:
        """Whether a thread has begun with it."""
        return self.future.running()


class Scheduler:
    """The threads that recognise, and what waits for them.

    ``max_waiting_partials`` bounds the partials of all sessions that wait. Sessions are refused while finals
    are late by more than ``max_final_delay_s``; None: never.
    """

    def __init__(
        self, *, threads: int, max_waiting_partials: int, max_final_delay_s: float | None = None
    ) -> None:
        self._agenda: Agenda[Job[object]] = Agenda(
            threads=threads, max_waiting_partials=max_waiting_partials, max_final_delay_s=max_final_delay_s
        )
        self._changed = threading.Condition()
        self._closed = False
        # What was last told of the load, so that changes are logged once.
        self._suspended = Steady()
        self._told_refusing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"recognise-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, priority: Priority, key: Hashable, work: Callable[[], T], *, due_in_s: float = 0.0
    ) -> Job[T]:
        """Have ``work`` done; ``key`` names the utterance, of which only the newest partial waits.

        ``due_in_s`` is when the result is wanted, from now. A partial may be given up at once.
        """
        now = time.monotonic()
        job: Job[T] = Job(priority, key, now + due_in_s, work, now)
        with self._changed:
            if self._closed:
                job.future.cancel()
                return job
            given_up = self._agenda.add(job, now)  # type: ignore[arg-type] # the agenda does not look at results
            if given_up is not None:
                given_up.future.cancel()
                metrics.SERVER_PARTIALS_DROPPED.inc()
            self._tell_load(now)
            self._changed.notify()
        return job

    def promote(self, job: Job[T]) -> None:
        """What was decoded ahead has become the final."""
        with self._changed:
            self._agenda.promote(job, time.monotonic())  # type: ignore[arg-type] # as above
            self._changed.notify()

    def give_up(self, job: Job[T]) -> None:
        """Forget a job that waits; one that runs comes to its end and nobody looks at it."""
        with self._changed:
            if self._agenda.remove(job):  # type: ignore[arg-type] # as above
                job.future.cancel()

    def expect_final(self, key: Hashable, due_in_s: float) -> None:
        """The utterance ``key`` pauses: if it is over, its final is due then."""
        with self._changed:
            now = time.monotonic()
            self._agenda.expect_final(key, now + due_in_s, now)

    def close(self) -> None:
        """Give up everything that waits and let the threads end after what they are doing."""
        with self._changed:
            self._closed = True
            for job in self._agenda.clear():
                job.future.cancel()
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return self._agenda.waiting

    @property
    def has_idle_thread(self) -> bool:
        """Whether a job would be begun at once: then it is worth while to guess."""
        with self._changed:
            return not self._closed and self._agenda.is_idle

    @property
    def partial_interval_s(self) -> float:
        """How long to wait after a look at an utterance before the next is asked for."""
        with self._changed:
            interval_s = self._agenda.partial_interval_s(time.monotonic())
        return _SUSPENDED_S if interval_s is None else interval_s

    def admit_session(self) -> float | None:
        """Take one more session if finals are in time, in so many seconds; None: it does not fit."""
        with self._changed:
            now = time.monotonic()
            wait_s = self._agenda.admit_session(now)
            self._tell_load(now)
            return wait_s

    @property
    def refuses_sessions(self) -> bool:
        """Whether no session more fits, as of late."""
        with self._changed:
            return self._agenda.refuses_sessions

    def _work(self) -> None:
        while (job := self._next()) is not None:
            _run(job)
            with self._changed:
                now = time.monotonic()
                self._agenda.finish(job, now)
                self._tell_load(now)
                self._changed.notify()

    def _next(self) -> Job[object] | None:
        """The next job, already marked as running; waits for one; None when closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                if (job := self._agenda.begin_next(now)) is not None:
                    job.future.set_running_or_notify_cancel()
                    return job
                recheck_at = self._agenda.recheck_at()
                self._changed.wait(None if recheck_at is None else max(0.0, recheck_at - now))
        return None

    def _tell_load(self, now: float) -> None:
        """Show the load to operators, and log when something begins or ceases to give way."""
        agenda = self._agenda
        interval_s, delay_s = agenda.partial_interval_s(now), agenda.final_delay_s(now)
        metrics.SERVER_QUEUE_LENGTH.set(agenda.waiting)
        metrics.SERVER_FINAL_DELAY.set(delay_s)
        metrics.SERVER_PARTIAL_INTERVAL.set(interval_s or 0.0)
        was_suspended, was_refusing = self._suspended.value, self._told_refusing
        self._suspended.observe(now, contrary=(interval_s is None) != was_suspended)
        self._told_refusing = agenda.refuses_sessions
        if self._suspended.value and not was_suspended:
            _log.warning("partials_suspended", waiting=agenda.waiting)
        elif was_suspended and not self._suspended.value:
            _log.info("partials_resumed", waiting=agenda.waiting)
        if self._told_refusing and not was_refusing:
            _log.warning("sessions_refused_by_load", final_delay_s=round(delay_s, 2), waiting=agenda.waiting)
        elif was_refusing and not self._told_refusing:
            _log.info("sessions_admitted_again", final_delay_s=round(delay_s, 2), waiting=agenda.waiting)


def _run(job: Job[object]) -> None:
    kind = _METRIC_KIND[job.priority]
    begun = time.monotonic()
    metrics.SERVER_RECOGNITION_WAIT[kind].observe(begun - job.submitted)
    try:
        result = job.work()
    except BaseException as error:  # noqa: BLE001 - whoever awaits the job must learn of it
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
        metrics.SERVER_RECOGNITIONS[kind].inc()
        metrics.SERVER_RECOGNITION[kind].observe(time.monotonic() - begun)
