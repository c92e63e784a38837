"""Which recognition runs next, on which thread.

Decided here: N threads, one recognition each. Finals go first, then speculative finals, then partials, each
in order of arrival. A waiting partial is replaced by a newer one of the same utterance, which takes its place
in the order, and is given up when too many wait. One thread of several is kept free of partials, so that a
final need not wait for the end of one: partials are what gives way under load, finals never are. A
speculative final that turns out to be the final is promoted while it waits.
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
        # What waits, as a heap by priority, place and age. A job that was promoted or given up leaves a dead
        # entry behind, and one that replaced another has its place.
        self._waiting: list[tuple[Priority, int, int, Job[object]]] = []
        # The waiting partial of each key with its place in the order, oldest first.
        self._partials: dict[Hashable, tuple[int, Job[object]]] = {}
        # How many partials may run at a time, and how many do.
        self._max_running_partials = max(1, threads - 1)
        self._running_partials = 0
        self._running = 0
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
            place = next(self._order)
            if priority is Priority.PARTIAL:
                place = self._replace_partial(key, place)
                self._partials[key] = (place, job)  # type: ignore[assignment] # the queue does not look at results
            self._push(job, place)
            self._changed.notify()
        return job

    def promote(self, job: Job[T], priority: Priority) -> None:
        """Let a waiting job run earlier; one that runs or is done is left alone."""
        with self._changed:
            if priority < job.priority and not job.running and not job.done:
                job.priority = priority
                self._push(job, next(self._order))
                self._changed.notify()

    def give_up(self, job: Job[T]) -> None:
        """Forget a job that waits; one that runs comes to its end and nobody looks at it."""
        with self._changed:
            self._cancel(job)

    def close(self) -> None:
        """Give up everything that waits and let the threads end after what they are doing."""
        with self._changed:
            self._closed = True
            for *_, job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._partials.clear()
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        with self._changed:
            return sum(not job.done and not job.running for *_, job in self._waiting)

    @property
    def has_idle_thread(self) -> bool:
        """Whether a job would be begun at once: then it is worth while to guess."""
        with self._changed:
            return not self._closed and self._running < len(self._threads) and self._is_drained()

    def _is_drained(self) -> bool:
        return all(job.done or job.running for *_, job in self._waiting)

    def _replace_partial(self, key: Hashable, place: int) -> int:
        """Make room for a partial of ``key``; give the place that it takes."""
        if (older := self._partials.get(key)) is not None:
            # A look that is asked for again and again would never come first.
            place = older[0]
            self._drop_partial(older[1])
        elif len(self._partials) >= self._max_waiting_partials:
            _, oldest = min(self._partials.values(), key=lambda waiting: waiting[0])
            self._drop_partial(oldest)
        return place

    def _drop_partial(self, job: Job[object]) -> None:
        self._cancel(job)
        metrics.SERVER_PARTIALS_DROPPED.inc()

    def _cancel(self, job: Job[T]) -> None:
        job.future.cancel()
        self._forget_partial(job)

    def _forget_partial(self, job: Job[T]) -> None:
        if (waiting := self._partials.get(job.key)) is not None and waiting[1] is job:
            del self._partials[job.key]

    def _push(self, job: Job[T], place: int) -> None:
        heapq.heappush(self._waiting, (job.priority, place, next(self._order), job))  # type: ignore[misc] # as above
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
            priority, *_, job = self._waiting[0]
            # Partials come last: if one is first, nothing else waits.
            if priority is Priority.PARTIAL and self._running_partials >= self._max_running_partials:
                return None
            heapq.heappop(self._waiting)
            metrics.SERVER_QUEUE_LENGTH.set(len(self._waiting))
            if job.running or job.done or not job.future.set_running_or_notify_cancel():
                continue  # promoted and begun already, or given up
            self._forget_partial(job)
            self._running_partials += job.priority is Priority.PARTIAL
            self._running += 1
            return job
        return None

    def _finish(self, job: Job[object]) -> None:
        with self._changed:
            self._running_partials -= job.priority is Priority.PARTIAL
            self._running -= 1
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
