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

from qa_service.simulation.loop import Process, current_process

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
        """Take up to ``longest_s`` seconds, and whatever was set to strike here."""
        self.passed[point] += 1
        process = current_process()
        traps = self._traps.get(point)
        if traps and process is not None:
            due = [trap for trap in traps if trap[0] <= self.passed[point]]
            for trap in due:
                traps.remove(trap)
                trap[1](process)
        # Always give way, or a process that was just frozen or killed would go on to its next await.
        await asyncio.sleep(self.random.random() * longest_s)

    def clear_traps(self) -> None:
        """Let nothing strike any more that has not yet."""
        self._traps.clear()
