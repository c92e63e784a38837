"""When undecodable records are too many to be accidents.

One bad record is a producer's slip: it goes to the dead-letter topic and its neighbours go on. A run of them,
or a large share, is a producer or a configuration that speaks another language; draining the topic into
the dead-letter topic would then only hide it.
"""

from __future__ import annotations

from collections import deque

WINDOW = 1000
"""Records over which the share is taken."""
LEAST = 100
"""Records before a share means anything."""


class PoisonGuard:
    """Counts good and bad records of one partition; :meth:`note_bad` says when to stop reading."""

    def __init__(self, *, max_run: int, max_ratio: float) -> None:
        self._max_run = max_run
        self._max_ratio = max_ratio
        self._run = 0
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._bad = 0

    def note_good(self, count: int = 1) -> None:
        """Note records that were decoded."""
        self._run = 0
        if self._bad:  # nothing to weigh otherwise, and this is the frame path
            for _ in range(count):
                self._push(bad=False)

    def note_bad(self) -> str | None:
        """Note an undecodable record; return why to stop reading, if so."""
        self._run += 1
        self._push(bad=True)
        if self._run >= self._max_run:
            return f"{self._run} undecodable records in a row"
        if len(self._recent) >= LEAST and self._bad / len(self._recent) > self._max_ratio:
            return f"{self._bad} of the last {len(self._recent)} records are undecodable"
        return None

    def _push(self, *, bad: bool) -> None:
        if len(self._recent) == WINDOW:
            self._bad -= self._recent[0]
        self._recent.append(bad)
        self._bad += bad
