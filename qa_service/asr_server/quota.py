"""How many sessions a key may open: so many within any one second (section 6.4)."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from typing import Final

_WINDOW_S: Final = 1.0


class SessionQuota:
    """Counts new sessions per key; ``per_second`` of them are granted, whatever the second."""

    def __init__(self, per_second: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        # When each key opened its newest sessions, oldest first.
        self._opened: defaultdict[bytes, deque[float]] = defaultdict(partial(deque[float], maxlen=per_second))

    def take(self, key: bytes) -> bool:
        """Grant one more session to a key, or say that it has had its share of this second."""
        now = self._clock()
        opened = self._opened[key]
        if len(opened) == self._per_second and now - opened[0] < _WINDOW_S:
            return False
        opened.append(now)
        return True
