"""Calls whose next event cannot be published: left out for a while, so that they hold up nobody else.

Without it the rows of such calls, the oldest there are, would come to fill every take. Each waits longer from
failure to failure. Only so many are left out: when more fail than that, it is not theirs but the broker's
trouble, and there is nobody left to be held up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qa_service.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that could not be published; its call stops there."""

    call_id: str
    error: str
    """In one line, for people."""
    waits_since: float
    """When the event was written (Unix seconds)."""


@dataclass(frozen=True, slots=True)
class _Stuck:
    failure: Failure
    attempts: int
    due: float
    """When to try again (monotonic seconds)."""


class StuckCalls:
    """Which calls to leave out, by their failures so far; no more than ``most`` are."""

    def __init__(self, backoff: Backoff, *, most: int) -> None:
        self._backoff = backoff
        self._most = most
        self._calls: dict[str, _Stuck] = {}

    def left_out(self, now: float) -> frozenset[str]:
        """Calls that are not to be tried yet."""
        return frozenset(call_id for call_id, stuck in self._calls.items() if stuck.due > now)

    def settle(self, failures: Iterable[Failure], *, left_out: frozenset[str], now: float) -> None:
        """Note what a round without ``left_out`` has shown: who does not fail in it is free again."""
        before = self._calls
        self._calls = {call_id: stuck for call_id, stuck in before.items() if call_id in left_out}
        for failure in failures:
            if len(self._calls) < self._most:
                last = before.get(failure.call_id)
                attempts = 1 if last is None else last.attempts + 1
                due = now + self._backoff.bound_s(attempts - 1)
                self._calls[failure.call_id] = _Stuck(failure, attempts, due)

    @property
    def is_full(self) -> bool:
        """Whether no further call would be left out."""
        return len(self._calls) >= self._most

    @property
    def first(self) -> Failure | None:
        """Why the call that has waited longest cannot be published; None if none is stuck."""
        failures = (stuck.failure for stuck in self._calls.values())
        return min(failures, key=lambda failure: failure.waits_since, default=None)

    def next_due_s(self, now: float) -> float | None:
        """Seconds until the first of them is to be tried again; None if none is stuck."""
        return min((max(stuck.due - now, 0.0) for stuck in self._calls.values()), default=None)

    def __len__(self) -> int:
        return len(self._calls)
