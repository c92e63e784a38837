"""How long to wait before trying again: exponential backoff with full jitter, the one retry helper.

Full jitter (a uniform share of the growing bound) spreads a crowd that failed together best. The
randomness comes in as an argument, so that a test can tell the waits beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

# 2 ** 62 times any first wait is beyond every ceiling, and still a float.
_MAX_DOUBLINGS = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that double from ``first_s`` to ``ceiling_s`` seconds, each cut to a random share."""

    first_s: float = 0.2
    ceiling_s: float = 10.0

    def bound_s(self, attempt: int) -> float:
        """The longest wait after failure number ``attempt`` (0, 1, 2 …), in seconds."""
        return min(self.ceiling_s, self.first_s * 2.0 ** min(attempt, _MAX_DOUBLINGS))

    def delay_s(self, attempt: int, randomness: float) -> float:
        """The wait after failure number ``attempt``, in seconds; ``randomness`` is uniform in 0 … 1."""
        return self.bound_s(attempt) * randomness
