"""A long run under load with a fault every now and then: ``python -m tests.chaos.soak --minutes 60``.

Calls of one to two minutes follow each other on a number of lines. After each fault coverage has to come back
and the lag in Kafka to go; memory of what is never struck has to stay flat; and in the end every word of
every call is accounted for. Exits with 1 if anything was lost or doubled. The figures go to standard output,
as a table or (--json) as one object.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from qa_service.fetching import default_cache_dir
from tests.chaos.calls import LiveCall, Switchboard
from tests.chaos.faults import FAULTS
from tests.chaos.parts import LOCAL, Program
from tests.chaos.trial import Trial, trial
from tests.support.waiting import eventually

_CALL_S = (60.0, 120.0)
_MEMORY_EVERY_S = 5.0
_LAG_WITHIN_S = 120.0


@dataclass
class Figures:
    """What a soak measured."""

    minutes: float
    lines: int
    load_before: float
    load_after: float = 0.0
    calls: int = 0
    words: int = 0
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    """From the end of a fault (its beginning, where a worker is what is struck) to live coverage."""
    lag_gone_s: dict[str, list[float]] = field(default_factory=dict)
    """From then on to no record waiting in Kafka but what is under way."""
    memory_mib: dict[str, list[float]] = field(default_factory=dict)
    """Resident memory of parts that no fault strikes: the median of each tenth of the run."""
    wrong: list[str] = field(default_factory=list)


async def soak(*, minutes: float, lines: int, fault_every_s: float, seed: int) -> Figures:
    """Run it; whatever is wrong in the end stands in the figures."""
    figures = Figures(minutes, lines, os.getloadavg()[0])
    with tempfile.TemporaryDirectory(prefix="qa-soak-", ignore_cleanup_errors=True) as home:
        async with trial(Path(home), default_cache_dir(), calls=0, workers=3, seed=seed) as running:
            running.spared = running.site.workers[:1]
            memory = _Memory(list(running.spared))
            helpers = [
                asyncio.create_task(_play_on(running.switchboard, running, line)) for line in range(lines)
            ]
            helpers.append(asyncio.create_task(memory.watch()))
            try:
                await _strike_on(running, figures, minutes * 60, fault_every_s)
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
            figures.memory_mib = memory.by_tenths()
        figures.wrong = running.faults
        figures.calls = len(running.switchboard.calls)
        figures.words = sum(len(said) for call in running.switchboard.calls for said in call.said.values())
    figures.load_after = os.getloadavg()[0]
    return figures


async def _strike_on(running: Trial, figures: Figures, seconds: float, every_s: float) -> None:
    until = time.monotonic() + seconds
    names = list(FAULTS)
    running.random.shuffle(names)
    for name in itertools.cycle(names):
        began = time.monotonic()
        if began > until:
            return
        struck = await FAULTS[name](running)
        recovery = await running.watch.recovery_s(struck.since, not_before_s=struck.shows_after_s)
        live_again = time.monotonic()
        await eventually(
            lambda: _no_lag(running.site.workers),
            waiting_for=f"the lag to go after: {name}",
            within_s=_LAG_WITHIN_S,
        )
        figures.recovery_s.setdefault(name, []).append(round(recovery, 1))
        figures.lag_gone_s.setdefault(name, []).append(round(time.monotonic() - live_again, 1))
        print(f"{name}: live after {recovery:.1f} s", file=sys.stderr)
        await asyncio.sleep(began + every_s - time.monotonic())


async def _play_on(switchboard: Switchboard, running: Trial, line: int) -> None:
    """One call after another."""
    for number in itertools.count():
        call = LiveCall(f"line-{line}-{number}", seed=line)
        switchboard.begin([call])
        await asyncio.sleep(running.random.uniform(*_CALL_S))
        await switchboard.hang_up([call])


async def _no_lag(workers: list[Program]) -> bool:
    """Whether no partition waits with more than the records of a second."""
    lags: list[float] = []
    async with aiohttp.ClientSession() as http:
        for worker in workers:
            async with http.get(f"http://{LOCAL}:{worker.health}/metrics") as answer:
                lags += _values(await answer.text(), "qa_partition_lag_records{")
    return bool(lags) and max(lags) <= _RECORDS_A_SECOND


_RECORDS_A_SECOND = 200
"""Of a partition, generously: 20 calls of two legs send as many frames."""


def _values(text: str, prefix: str) -> Iterator[float]:
    return (float(line.split()[1]) for line in text.splitlines() if line.startswith(prefix))


class _Memory:
    """Resident memory of some programs over time."""

    def __init__(self, programs: list[Program]) -> None:
        self._programs = programs
        self._looks: dict[str, list[float]] = {program.name: [] for program in programs}

    async def watch(self) -> None:
        while True:
            for program in self._programs:
                self._looks[program.name].append(_resident_mib(program.pid))
            await asyncio.sleep(_MEMORY_EVERY_S)

    def by_tenths(self) -> dict[str, list[float]]:
        return {
            name: [round(median(tenth), 1) for tenth in _tenths(looks)] for name, looks in self._looks.items()
        }


def _tenths(looks: list[float]) -> Iterator[list[float]]:
    size = max(len(looks) // 10, 1)
    return (looks[begin : begin + size] for begin in range(0, size * 10, size) if looks[begin : begin + size])


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def describe(figures: Figures) -> str:
    """The figures for people."""
    lines = [
        f"{figures.minutes:g} minutes, {figures.lines} lines of two legs, {figures.calls} calls",
        f"{figures.words} words; load {figures.load_before:.1f} before, {figures.load_after:.1f} after",
        *(
            f"{name:26} live again after {', '.join(f'{s:.1f}' for s in times)} s"
            for name, times in figures.recovery_s.items()
        ),
        *(f"{name}: {mib} MiB by tenths of the run" for name, mib in figures.memory_mib.items()),
        *(figures.wrong or ["nothing lost, nothing doubled"]),
    ]
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description="Soak the service under faults.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--lines", type=int, default=20, help="calls at a time, of two legs each")
    parser.add_argument("--fault-every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its broker goes away on purpose
    run: Any = soak(
        minutes=options.minutes,
        lines=options.lines,
        fault_every_s=options.fault_every,
        seed=options.seed,
    )
    figures = asyncio.run(run)
    print(json.dumps(asdict(figures), indent=2) if options.json else describe(figures))
    sys.exit(1 if figures.wrong else 0)


if __name__ == "__main__":
    main()
