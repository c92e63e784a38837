"""What waits to be recognised, and what is begun next: the decisions of the scheduler, without its threads.

Decided here: the task comes first that can wait least. A final is due at once; one decoded ahead, when the
silence ends. A partial may wait 0.6 s and is still shown within two seconds of the one before, so it goes
behind what is due by then, and before a final that is decoded ahead of time.
Of an utterance only the newest partial waits, in the place of the one before it; partials are given up when
there is no time for them or too many wait, finals never are. The last free thread is refused to a partial
while an utterance pauses whose final would be late by it, unless that partial has waited for half a second.

Times are seconds of any one clock and come in as arguments.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from qa_service.asr_server.load import MIN_INTERVAL_S, Admission, Costs, PartialPace, Priority

_PARTIAL_WAIT_S: Final = 0.6  # two seconds less the interval and what a look takes on busy cores
_PATIENCE_S: Final = 0.5  # that a partial lets a thread be free for finals that may come
_EXPECT_S: Final = 0.25  # that an utterance pauses until its final is asked for, or it goes on


@dataclass(slots=True, eq=False)
class Task:
    """One recognition; ``key`` names its utterance, ``due`` is when its result is wanted."""

    priority: Priority
    key: Hashable
    due: float
    begun: float | None = field(default=None, init=False)
    took_s: float | None = field(default=None, init=False)


TaskT = TypeVar("TaskT", bound=Task)


class Agenda(Generic[TaskT]):
    """The recognitions of all sessions that wait or run.

    ``max_waiting_partials`` may wait at a time; ``max_final_delay_s`` is how late a final may be expected to
    be before new sessions are refused, None: they never are.
    """

    def __init__(
        self, *, threads: int, max_waiting_partials: int, max_final_delay_s: float | None = None
    ) -> None:
        self._threads = threads
        self._max_waiting_partials = max_waiting_partials
        self._finals: list[TaskT] = []
        self._partials: dict[Hashable, TaskT] = {}
        self._running: list[TaskT] = []
        # When the final of each utterance that pauses would be due, and until when it is expected.
        self._expected: dict[Hashable, tuple[float, float]] = {}
        self._costs = Costs()
        self._pace = PartialPace(threads=threads, costs=self._costs)
        self._admission = Admission(max_final_delay_s)

    # What comes in.

    def add(self, task: TaskT, now: float) -> TaskT | None:
        """Let ``task`` wait; give the partial that has to go for it, which may be itself."""
        self._expected.pop(task.key, None)
        self._observe(now)
        if task.priority is Priority.PARTIAL:
            return self._add_partial(task, now)
        self._finals.append(task)
        if task.priority is Priority.FINAL:
            self._pace.end(task.key)
        return None

    def promote(self, task: TaskT, now: float) -> None:
        """What was decoded ahead, is being decoded or waits for it is the final, due now if not before."""
        task.priority = Priority.FINAL
        task.due = min(task.due, now)
        self._pace.end(task.key)
        if task.took_s is not None:
            self._pace.spend(task.took_s, now)

    def remove(self, task: TaskT) -> bool:
        """Forget a task that waits; False if it does not."""
        if task in self._finals:
            self._finals.remove(task)
            return True
        if self._partials.get(task.key) is task:
            del self._partials[task.key]
            return True
        return False

    def clear(self) -> list[TaskT]:
        """Forget everything that waits; gives it."""
        forgotten = [*self._finals, *self._partials.values()]
        self._finals.clear()
        self._partials.clear()
        return forgotten

    def expect_final(self, key: Hashable, due: float, now: float) -> None:
        """The utterance ``key`` pauses; if it is over, its final is due at ``due``."""
        self._expected = {other: (d, until) for other, (d, until) in self._expected.items() if now < until}
        self._expected[key] = (due, now + _EXPECT_S)

    # What is done.

    def begin_next(self, now: float) -> TaskT | None:
        """The task that a free thread is to do now; None: there is none, or none that may be begun."""
        if len(self._running) >= self._threads:
            return None
        task = self._first(now)
        if task is not None:
            self.remove(task)
            task.begun = now
            self._running.append(task)
        return task

    def finish(self, task: TaskT, now: float) -> None:
        """A task that was begun is done."""
        self._running.remove(task)
        assert task.begun is not None  # noqa: S101 - begin_next has set it
        task.took_s = now - task.begun
        self._costs.learn(task.priority, task.took_s)
        # One decoded ahead counts when it turns out to be the final; else it has taken the place of a look.
        if task.priority is Priority.FINAL:
            self._pace.spend(task.took_s, now)
        self._observe(now)

    def recheck_at(self) -> float | None:
        """When a partial that was refused a thread may have it, if nothing else happens; None: never."""
        if not self._partials or len(self._running) >= self._threads:
            return None
        patience_ends = min(task.due for task in self._partials.values()) + _PATIENCE_S
        return min([patience_ends, *(until for _, until in self._expected.values())])

    # What is told.

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._finals) + len(self._partials)

    @property
    def is_idle(self) -> bool:
        """Whether a task would be begun at once: then it is worth while to guess."""
        return not self.waiting and len(self._running) < self._threads

    def partial_interval_s(self, now: float) -> float | None:
        """How far apart looks at an utterance have to be; None: there is no time for any."""
        return self._pace.interval_s(now, len(self._finals) * self._costs.expected_s(Priority.FINAL))

    def final_delay_s(self, now: float) -> float:
        """How late a final that is due now will be begun; or how late one that waits is, if that is more."""
        late_s = max((now - task.due for task in self._finals), default=0.0)
        if len(self._running) < self._threads:
            return max(0.0, late_s)
        before = [t for t in (*self._finals, *self._partials.values()) if _latest_begin(t)[0] <= now]
        ahead_s = sum(self._costs.expected_s(task.priority) for task in before)
        ahead_s += sum(self._left_s(task, now) for task in self._running)
        return max(late_s, ahead_s / self._threads)

    @property
    def refuses_sessions(self) -> bool:
        """Whether no session more fits."""
        return self._admission.refusing

    def admit_session(self, now: float) -> float | None:
        """Take one more session, in so many seconds; None: it does not fit."""
        self._observe(now)
        interval_s = self.partial_interval_s(now)
        return self._admission.admit(now, busy=interval_s is None or interval_s > MIN_INTERVAL_S)

    # How it is decided.

    def _observe(self, now: float) -> None:
        self._admission.observe(self.final_delay_s(now), self._pace.finals_share(now), now)

    def _add_partial(self, task: TaskT, now: float) -> TaskT | None:
        self._pace.ask(task.key, now)
        if self.partial_interval_s(now) is None:
            return task
        given_up = self._partials.get(task.key)
        if given_up is not None:
            # A look that is asked for again and again would never come first.
            task.due = min(task.due, given_up.due)
        elif len(self._partials) >= self._max_waiting_partials:
            given_up = min(self._partials.values(), key=_latest_begin)
            del self._partials[given_up.key]
        self._partials[task.key] = task
        return given_up

    def _first(self, now: float) -> TaskT | None:
        candidates = list(self._finals)
        if self._partials:
            partial = min(self._partials.values(), key=_latest_begin)
            if candidates or self._may_begin(partial, now):
                candidates.append(partial)
        return min(candidates, key=_latest_begin, default=None)

    def _may_begin(self, partial: TaskT, now: float) -> bool:
        if self._threads - len(self._running) > 1 or now - partial.due >= _PATIENCE_S:
            return True
        both_s = self._costs.expected_s(Priority.PARTIAL) + self._costs.expected_s(Priority.FINAL)
        return all(now + both_s <= due or until <= now for due, until in self._expected.values())

    def _left_s(self, task: TaskT, now: float) -> float:
        assert task.begun is not None  # noqa: S101 - it runs
        return max(0.0, self._costs.expected_s(task.priority) - (now - task.begun))


def _latest_begin(task: Task) -> tuple[float, Priority]:
    """When a task is to be begun at the latest; of equals, finals come first."""
    return task.due + _PARTIAL_WAIT_S * (task.priority is Priority.PARTIAL), task.priority
