"""What processes cost: processor time of all their threads and children, and memory, as Linux counts them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from qa_service.bench.listening import BenchError

_TICKS_A_S: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the command's name, proc(5): utime, stime, cutime, cstime.
_CPU_FIELDS: Final = slice(11, 15)


def cpu_s(pid: int) -> float:
    """Processor time of a process in seconds: its threads, its children, and what ended ones used."""
    own = parse_cpu_s(_read(pid, "stat"))
    return own + sum(cpu_s(child) for child in _children(pid))


def resident_mb(pid: int) -> float:
    """Resident memory of a process and its children in MiB."""
    own = next((line for line in _read(pid, "status").splitlines() if line.startswith("VmRSS:")), "0 0")
    return int(own.split()[1]) / 1024 + sum(resident_mb(child) for child in _children(pid))


def parse_cpu_s(stat: str) -> float:
    """Processor time in the text of ``/proc/PID/stat``, whose second field may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[_CPU_FIELDS])) / _TICKS_A_S


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time over a stretch of time, and the audio of all legs that came through in it."""

    cpu_s: float
    seconds: float
    audio_s: float

    @property
    def ms_per_leg_second(self) -> float:
        """Milliseconds of processor time for a second of one leg, by the audio that there really was."""
        return self.cpu_s * 1000 / self.audio_s if self.audio_s else 0.0


def mean_usage(parts: Sequence[Usage]) -> Usage:
    """Several stretches as one: turns before and after something cancel what drifts in between."""
    return Usage(
        sum(part.cpu_s for part in parts),
        sum(part.seconds for part in parts),
        sum(part.audio_s for part in parts),
    )


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float | None:
    """A quantile out of a cumulative histogram, (upper bound, count up to it), as Prometheus estimates it.

    None if nothing was counted; the highest finite bound for what is beyond it.
    """
    total = buckets[-1][1] if buckets else 0
    if not total:
        return None
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= share * total:
            if bound == float("inf") or count == below:
                return lower
            return lower + (bound - lower) * (share * total - below) / (count - below)
        lower, below = bound, count
    return lower


def parse_buckets(exposition: str, metric: str) -> list[tuple[float, float]]:
    """The cumulative buckets of an unlabelled histogram in the text that ``/metrics`` gives."""
    found: list[tuple[float, float]] = []
    for line in exposition.splitlines():
        if line.startswith(f'{metric}_bucket{{le="'):
            bound, _, count = line.removeprefix(f'{metric}_bucket{{le="').partition('"} ')
            found.append((float(bound), float(count)))
    return found


def pin(pid: int, cores: set[int]) -> None:
    """Keep a process and what it starts from now on to these cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, cores)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # a thread that has just ended, or a kernel that does not tell
    return found


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError as error:
        raise BenchError(
            f"process {pid} cannot be watched ({error.strerror}): this bench needs Linux"
        ) from error
