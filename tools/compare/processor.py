"""How much of the processor a server had, and how much other work took from both."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """Processor time used until now, in seconds: by the server, by this process, by all of the machine."""

    at_s: float
    server_s: float
    client_s: float
    machine_s: float

    @classmethod
    def read(cls, server_s: float) -> Self:
        """The times of now; the server's own is told."""
        return cls(time.monotonic(), server_s, time.process_time(), _machine_s())

    def server_cores(self, before: Self) -> float:
        """Cores that the server had on average since ``before``."""
        return (self.server_s - before.server_s) / (self.at_s - before.at_s)

    def other_cores(self, before: Self) -> float:
        """Cores that neither the server nor its client had."""
        all_s, ours_s = self.machine_s - before.machine_s, self.server_s + self.client_s
        return max(0.0, all_s - ours_s + before.server_s + before.client_s) / (self.at_s - before.at_s)


def _machine_s() -> float:
    """All but idle time: user, nice, system, idle, waiting for a disk, interrupts (``man 5 proc_stat``)."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=8)
    user, nice, system, _idle, _waiting, hard, soft = (int(field) for field in fields[1:8])
    return (user + nice + system + hard + soft) / os.sysconf("SC_CLK_TCK")
