"""A stretch of trouble with something outside: one log line when it begins, one when it is over.

Many run into the same trouble at once (each partition's writer, each claim, each look-up), and each of them
tries again; what an operator needs to read is when it began, why, and how long it lasted.
"""

from __future__ import annotations

import structlog

from qa_service.worker.clock import Clock

_log = structlog.get_logger(__name__)

REMIND_EVERY_S = 60.0
"""Trouble that goes on is told again, so that it stands in any hour's log."""


class Outage:
    """Trouble with ``what``: log events ``<what>_unavailable`` and ``<what>_recovered``."""

    def __init__(self, what: str, clock: Clock) -> None:
        self.reason: str | None = None
        """Why it does not work at present; None while it does."""
        self._what = what
        self._clock = clock
        self._began = 0.0
        self._told = 0.0

    def note(self, reason: str) -> None:
        """Note a failure and why."""
        now = self._clock.monotonic()
        self.reason, is_first = reason, self.reason is None
        if is_first:
            self._began = now
        if is_first or now - self._told >= REMIND_EVERY_S:
            self._told = now
            _log.warning(f"{self._what}_unavailable", error=self.reason, for_s=round(now - self._began, 1))

    def end(self) -> None:
        """Note a success."""
        if self.reason is not None:
            self.reason = None
            _log.info(f"{self._what}_recovered", after_s=round(self._clock.monotonic() - self._began, 1))
