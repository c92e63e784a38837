"""Waiting for what another process or task brings about, never for luck."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


async def eventually(condition: Callable[[], object], what: str, *, within_s: float = 15.0) -> None:
    """Return as soon as ``condition`` holds; fail naming ``what`` was waited for."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s for {what}"
        await asyncio.sleep(0.02)
