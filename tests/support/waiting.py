"""Waiting for a condition with a deadline, and saying what was waited for."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

# Far beyond what anything here takes; only a fault waits so long.
WITHIN_S = 45.0


async def eventually(
    probe: Callable[[], T | Awaitable[T]], waiting_for: str, *, within_s: float = WITHIN_S
) -> T:
    """Return the first true result of ``probe``; fail naming what was waited for and the last result."""
    deadline = time.monotonic() + within_s
    while True:
        result = probe()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s:g} s for {waiting_for}; last seen: {result!r}")
        await asyncio.sleep(0.02)
