"""The worker's two clocks, in one seam so that tests and simulations can bring their own."""

from __future__ import annotations

import time


class Clock:
    """Real time."""

    def monotonic(self) -> float:
        """Seconds since some moment, never running backwards."""
        return time.monotonic()

    def unix_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000
