"""Many runs, on all cores, and what they came to together.

Decided here: what is kept of each run. That is whether it came out right, and which fault met which state of
the world, counted over all of them: a pair that never came about has not been tried.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final

import structlog

from qa_service.processes import spread
from qa_service.simulation.faults import FAULTS
from qa_service.simulation.states import STATE_NAMES
from qa_service.simulation.world import Outcome, simulate

_RUNS_AT_ONCE: Final = 10


@dataclass(slots=True)
class Campaign:
    """The sum of some runs."""

    schedules: int = 0
    failed: list[Outcome] = field(default_factory=list)
    meetings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a fault met a state; a fault that met none of them counts with an empty one."""
    gaps: Counter[str] = field(default_factory=Counter)
    utterances: int = 0
    virtual_s: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.schedules += 1
        self.utterances += outcome.utterances
        self.virtual_s += outcome.virtual_s
        self.gaps.update(dict(outcome.gaps))
        if outcome.faults:
            self.failed.append(outcome)
        for meeting in outcome.meetings:
            self.meetings.update((meeting.fault, state) for state in meeting.states or ("",))

    def holes(self, faults: Sequence[str]) -> list[tuple[str, str]]:
        """Pairs of a fault and a state that never met."""
        return [
            (fault, state) for fault in faults for state in STATE_NAMES if not self.meetings[fault, state]
        ]


def fault_names() -> tuple[str, ...]:
    """All kinds of faults there are."""
    return tuple(fault.name for fault in FAULTS)


def run_all(seeds: range, *, kinds: tuple[str, ...] | None = None, jobs: int) -> Generator[Outcome]:
    """Run a schedule for each seed, in ``jobs`` processes; results come as they are ready.

    To be closed if it is not wanted to its end: that ends the processes.
    """
    run = partial(_run_batch, kinds=kinds)
    with contextlib.closing(spread(run, _split(seeds), processes=jobs, begin=_prepare)) as batches:
        for batch in batches:
            yield from batch


def _split(seeds: range) -> Iterator[tuple[int, ...]]:
    left = iter(seeds)
    while part := tuple(islice(left, _RUNS_AT_ONCE)):
        yield part


def _prepare() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.disable()
    gc.freeze()


def _run_batch(seeds: tuple[int, ...], kinds: tuple[str, ...] | None) -> list[Outcome]:
    outcomes = [simulate(seed, kinds=kinds) for seed in seeds]
    gc.collect()  # once for all of them: most objects of a run live until its end, and go in rings
    return outcomes
