"""How far what is released lags behind what was said, all the time; and how long a fault shows in it."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass

import asyncpg

from tests.chaos.calls import LEGS, Switchboard
from tests.chaos.parts import Site
from tests.chaos.words import FRAME_SAMPLES
from tests.support.waiting import eventually

LIVE_S = 5.0
"""A leg whose coverage is so close behind is live."""
_LOOK_EVERY_S = 0.25
_CALM_S = 2.0
"""Live for so long: recovered."""
_WITHIN_S = 900.0
"""On a machine that is busy otherwise, a backlog goes down slowly: only a fault of ours waits so long."""
_COVERED = "select call_id, leg_id, covered_until from qa.leg"


@dataclass(frozen=True, slots=True)
class Look:
    """The lag of the leg that is furthest behind (s); infinite while the database does not tell."""

    at: float
    lag_s: float


class Watch:
    """Looks at coverage a few times a second, past all links."""

    def __init__(self, site: Site, switchboard: Switchboard) -> None:
        self._site = site
        self._switchboard = switchboard
        self.looks: list[Look] = []
        self._watching = asyncio.create_task(self._watch(), name="watch")

    async def close(self) -> None:
        self._watching.cancel()
        await asyncio.wait([self._watching])

    async def recovery_s(self, since: float, *, not_before_s: float = 0.0) -> float:
        """Seconds from ``since`` (monotonic) until all legs were live again; 0.0 if they never ceased to be.

        ``not_before_s`` is by when a fault has shown at the latest.
        """
        await eventually(
            lambda: self._is_calm(since + not_before_s),
            waiting_for="coverage to be live again",
            within_s=_WITHIN_S,
        )
        behind = [look.at for look in self.looks if look.at >= since and look.lag_s > LIVE_S]
        return max(behind, default=since) - since

    def _is_calm(self, since: float) -> bool:
        now = time.monotonic()
        recent = [look for look in self.looks[-100:] if look.at >= max(since, now - _CALM_S)]
        return now - since > _CALM_S and len(recent) >= 2 and all(look.lag_s <= LIVE_S for look in recent)

    async def _watch(self) -> None:
        while True:
            self.looks.append(Look(time.monotonic(), await self._lag_s()))
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _lag_s(self) -> float:
        sent = {(call.call_id, leg): call.ticks for call in self._switchboard.live for leg in LEGS}
        try:
            connection = await asyncpg.connect(self._site.database.url.replace("+asyncpg", ""), timeout=2)
            try:
                covered = {(row[0], row[1]): row[2] for row in await connection.fetch(_COVERED, timeout=2)}
            finally:
                await connection.close(timeout=1)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return math.inf
        behind = (ticks * FRAME_SAMPLES - covered.get(leg, 0) for leg, ticks in sent.items())
        return max(behind, default=0) / 8000
