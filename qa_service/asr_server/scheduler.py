"""Which recognition runs next, on which thread.

Decided here: N threads, one recognition each. Finals go first, then speculative finals, then partials, each
in order of arrival. A waiting partial is replaced by a newer one of the same utterance and is given up when
too many wait, and one thread of several is kept free of partials, so that a final need not wait for the end
of one: partials are what gives way under load, finals never are. A speculative final that turns out
to be the final is promoted while it waits.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from qa_service import metrics

T = TypeVar("T")


class Priority(enum.IntEnum):
    """What a recognition is for; lower values run first."""

    FINAL = 0
    SPECULATIVE = 1
    PARTIAL = 2


_METRIC_KIND = {Priority.FINAL: "final", Priority.SPECULATIVE: "final", Priority.PARTIAL: "partial"}


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One recognition that waits, runs or is done; await `result` for what it came to."""

    priority: Priority
    work: Callable[[], T]
    key: Hashable
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

    ``max_waiting_partials`` bounds the partials of all sessions that wait; the oldest is given up for a new
    one.
    """

    def __init__(self, *, threads: int, max_waiting_partials: int) -> None:
        self._max_waiting_partials = max_waiting_partials
        self._order = itertools.count()
        self._changed = threading.Condition()
        # What waits, as a heap. A job that was promoted or given up leaves a dead entry behind.
        self._waiting: list[tuple[Priority, int, Job[object]]] = []
        # The waiting partial of each key, oldest first.
        self._partials: dict[Hashable, Job[object]] = {}
        # How many partials may run at a time, and how many do.
        self._max_running_partials = max(1, threads - 1)
        self._running_partials = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"recognise-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, priority: Priority, key: Hashable, work: Callable[[], T]) -> Job[T]:
        """Have ``work`` done; ``key`` names the utterance, of which only the newest partial waits."""
        job: Job[T] = Job(priority, work, key, time.monotonic())
        with self._changed:
            if self._closed:
                job.future.cancel()
                return job
            if priority is Priority.PARTIAL:
                self._make_room_for_partial(key)
                self._partials[key] = job  # type: ignore[assignment] # the queue does not look at results
            self._push(job)
            self._changed.notify()
        return job

    def promote(self, job: Job[T], priority: Priority) -> None:
        """Let a waiting job run earlier; one that runs or is done is left alone."""
        with self._changed:
            if priority < job.priority and not job.running and not job.done:
                job.priority = priority
                self._push(job)
                self._changed.notify()

    def give_up(self, job: Job[T]) -> None:
        """Forget a job that waits; one that runs comes to its end and nobody looks at it."""
        with self._changed:
            self._cancel(job)

    def close(self) -> None:
        """Give up everything that waits and let the threads end after what they are doing."""
        with self._changed:
            self._closed = True
            for _, _, job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._partials.clear()
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return sum(not job.done and not job.running for _, _, job in self._waiting)

    def _make_room_for_partial(self, key: Hashable) -> None:
        if (older := self._partials.get(key)) is not None:
            self._drop_partial(older)
        elif len(self._partials) >= self._max_waiting_partials:
            self._drop_partial(next(iter(self._partials.values())))

    def _drop_partial(self, job: Job[object]) -> None:
        self._cancel(job)
        metrics.SERVER_PARTIALS_DROPPED.inc()

    def _cancel(self, job: Job[T]) -> None:
        job.future.cancel()
        if self._partials.get(job.key) is job:
            del self._partials[job.key]

    def _push(self, job: Job[T]) -> None:
        heapq.heappush(self._waiting, (job.priority, next(self._order), job))  # type: ignore[misc] # as above
        metrics.SERVER_QUEUE_LENGTH.set(len(self._waiting))

    def _work(self) -> None:
        while (job := self._next()) is not None:
            _run(job)
            self._finish(job)

    def _next(self) -> Job[object] | None:
        """The next job, already marked as running; waits for one; None when closed."""
        with self._changed:
            while not self._closed:
                if (job := self._pop()) is not None:
                    return job
                self._changed.wait()
        return None

    def _pop(self) -> Job[object] | None:
        """The first job that may run now, if there is one."""
        while self._waiting:
            priority, _, job = self._waiting[0]
            # Partials come last: if one is first, nothing else waits.
            if priority is Priority.PARTIAL and self._running_partials >= self._max_running_partials:
                return None
            heapq.heappop(self._waiting)
            metrics.SERVER_QUEUE_LENGTH.set(len(self._waiting))
            if job.running or job.done or not job.future.set_running_or_notify_cancel():
                continue  # promoted and begun already, or given up
            if self._partials.get(job.key) is job:
                del self._partials[job.key]
            self._running_partials += job.priority is Priority.PARTIAL
            return job
        return None

    def _finish(self, job: Job[object]) -> None:
        with self._changed:
            self._running_partials -= job.priority is Priority.PARTIAL
            self._changed.notify()


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
