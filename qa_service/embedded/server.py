"""What the servers of this package have in common: how one is entered, asked for its address, and left."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from qa_service.fetching import Report


class OwnServer(abc.ABC):
    """A server for the length of an ``async with``."""

    def __init__(self, cache_dir: Path, *, report: Report | None = None) -> None:
        self._cache_dir = cache_dir
        self._report = report
        self._cleanup = contextlib.ExitStack()
        self._running_at: str | None = None

    @property
    def _address(self) -> str:
        if self._running_at is None:
            name = type(self).__name__
            raise RuntimeError(f"{name} is not running: enter it with `async with` first")
        return self._running_at

    async def __aenter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._running_at = await self._start(stack)
            self._cleanup = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running_at = None
        await asyncio.to_thread(self._cleanup.close)

    @abc.abstractmethod
    async def _start(self, stack: contextlib.ExitStack) -> str:
        """Start it, with its end on the stack; return its address."""


class OwnBroker(OwnServer):
    """A broker; its log is gone at the end."""

    @property
    def bootstrap(self) -> str:
        """The address for clients, as ``host:port``."""
        return self._address
