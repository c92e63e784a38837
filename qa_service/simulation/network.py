"""What lies between a process and everything else: delays, outages, and the moments at which faults strike.

Decided here: every exchange of a process with the outside passes a *point*, before and after it took effect.
Points are counted, and a fault may be set to strike at the n-th passage of one; so each await of the worker
can be the one at which it is hit.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Final

from qa_service.simulation.loop import Process, current_process

_HARDLY_ANY: Final = 0.5
"""Share of exchanges that take no time, of those that may take some."""
_GIVES_WAY: Final = 0.25
"""Share of exchanges that let others go first, of those that take no time."""

Strike = Callable[[Process], None]


class Network:
    """Delays everything a little, and lets faults strike."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.passed: Counter[str] = Counter()
        """How often each point was passed."""
        self._traps: dict[str, list[tuple[int, Strike]]] = {}

    def set_trap(self, point: str, passage: int, strike: Strike) -> None:
        """Let ``strike`` happen to the process that passes ``point`` for the n-th time from now on."""
        self._traps.setdefault(point, []).append((self.passed[point] + passage, strike))

    async def pass_point(self, point: str, *, longest_s: float = 0.0) -> None:
        """Take up to ``longest_s`` seconds, or hardly any, and whatever was set to strike here.

        What takes no time comes to its end at once as a rule, as writing to a socket does, and lets others
        go first at times, as when its buffer is full.
        """
        self.passed[point] += 1
        is_struck = bool(self._traps) and self._strike(point)
        share = self.random.random()
        if longest_s and share > _HARDLY_ANY:
            await asyncio.sleep((share - _HARDLY_ANY) / (1 - _HARDLY_ANY) * longest_s)
        elif longest_s or is_struck or share < _GIVES_WAY:
            # A process that was just frozen or killed must not go on to its next await.
            await asyncio.sleep(0)

    def _strike(self, point: str) -> bool:
        traps, process = self._traps.get(point), current_process()
        if not traps or process is None:
            return False
        due = [trap for trap in traps if trap[0] <= self.passed[point]]
        for trap in due:
            traps.remove(trap)
            trap[1](process)
        return bool(due)

    def clear_traps(self) -> None:
        """Let nothing strike any more that has not yet."""
        self._traps.clear()
