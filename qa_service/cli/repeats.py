"""A library that says the same over and over is heard once a minute.

aiokafka tells each failed attempt on an error level, and makes some ten attempts a second while a broker is
away. What that means is said by our own events; its lines are kept for the details, one of each kind.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0


class RepeatFilter(logging.Filter):
    """Lets a message of the loggers below ``name`` pass once in so many seconds, whatever its arguments."""

    def __init__(
        self, name: str, every_s: float = EVERY_S, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._prefix = name
        self._every_s = every_s
        self._clock = clock
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be shown."""
        if record.name.split(".")[0] != self._prefix or record.levelno < logging.WARNING:
            return True
        kind, now = (record.name, str(record.msg)), self._clock()
        passed = self._passed.get(kind)
        if passed is not None and now - passed < self._every_s:
            return False
        self._passed[kind] = now
        return True


def hear_kafka_once() -> None:
    """Filter what aiokafka repeats; to be called once logging is set up."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatFilter("aiokafka"))
