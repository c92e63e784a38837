"""What probes are told while a part is still being put together, and how a start ends early.

A part listens for probes before anything else: while it waits for Kafka or PostgreSQL it is alive and not
ready, and says for what it waits. A signal during that time ends it like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeAlias, TypeVar

from qa_service.settings import Settings
from qa_service.web.health import Check, HealthServer, Heartbeat

T = TypeVar("T")
_Answer: TypeAlias = Check | Awaitable[Check]


class Probes(Heartbeat):
    """The health of a part: of its start first, of its own once it is there (:meth:`hand_over`)."""

    def __init__(self, *names: str) -> None:
        """``names``: the checks that the part will have."""
        super().__init__(max_age_s=0)
        self.waiting_for = "its settings"
        """What the start waits for, for people."""
        self._names = names
        self._checks: Mapping[str, Callable[[], _Answer]] = {}
        self._heartbeat: Heartbeat | None = None

    def served(self, settings: Settings) -> HealthServer:
        """The health routes, to be entered."""
        checks = {name: self._asking(name) for name in self._names}
        return HealthServer(settings.health_host, settings.health_port, checks, heartbeat=self)

    async def await_start(self, start: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
        """What ``start`` returns; None if ``stop`` is set before it does."""
        starting = asyncio.create_task(start, name="start")
        stopped = asyncio.create_task(stop.wait(), name="stop-during-start")
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            return starting.result() if starting.done() else None
        finally:
            for task in (starting, stopped):
                task.cancel()
            await asyncio.wait([starting, stopped])

    def hand_over(self, checks: Mapping[str, Callable[[], _Answer]], heartbeat: Heartbeat) -> None:
        """From here on the part speaks for itself."""
        self._checks, self._heartbeat = checks, heartbeat

    def check(self) -> Check:
        """Whether the part lives: while it starts, an answer is all the evidence there is."""
        if self._heartbeat is None:
            return Check(ok=True, detail=self._starting)
        return self._heartbeat.check()

    @property
    def _starting(self) -> str:
        return f"starting: waiting for {self.waiting_for}"

    def _asking(self, name: str) -> Callable[[], _Answer]:
        def ask() -> _Answer:
            return self._checks[name]() if self._checks else Check(ok=False, detail=self._starting)

        return ask
