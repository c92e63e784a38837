"""What a machine holds, by a short run of the path bench."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from qa_service.bench.path.recogniser import UTTERANCES_A_SECOND
from qa_service.bench.path.report import PathReport

SHARE_OF_CORE: Final = 0.6
"""Of a core that legs may use: beyond, waiting grows faster than work, and nothing is left to catch up."""


class CapacityReport(Struct, frozen=True, kw_only=True):
    """What was measured, and what follows from it."""

    version: int = 1
    broker: str
    measured_legs: int
    cores: int
    load: float
    legs_per_core: int
    """Extrapolated from the cost at ``measured_legs``: an upper bound of that many per worker process."""
    added_p99_ms: float | None
    """Frame → append beyond the batch, at ``measured_legs``."""
    alert_p99_ms: float | None
    memory_per_leg_kb: float
    worker_base_mb: float
    utterances_per_second: float
    legs_by_writes: int
    """How many legs the write path would carry, at an utterance every four seconds each."""
    limit: str
    """What gives out first, in a sentence."""

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Name, figure and how it was come by, for each."""
        added, alert = (_ms(value) for value in (self.added_p99_ms, self.alert_p99_ms))
        yield (
            "legs a core",
            f"{self.legs_per_core}",
            (f"extrapolated from {self.measured_legs}, at {SHARE_OF_CORE:.0%} of a core"),
        )
        yield "frame → recogniser", f"+{added}", f"p99 beyond the 100-ms batch, at {self.measured_legs} legs"
        yield "final → alert", alert, f"p99, at {self.measured_legs} legs"
        yield "memory", f"{self.memory_per_leg_kb:.0f} KB a leg", f"and {self.worker_base_mb:.0f} MB a worker"
        yield (
            "write path",
            f"{self.utterances_per_second:,.0f} utterances/s",
            (f"enough for {self.legs_by_writes:,} legs"),
        )
        yield "machine", f"{self.cores} cores, load {self.load}", f"broker: {self.broker}"


def judge_capacity(report: PathReport) -> CapacityReport:
    """What a report of the path bench, its write path included, says about the machine."""
    legs = int(SHARE_OF_CORE * 1000 / report.worker_cpu_ms_per_leg_second)
    written = report.utterances_per_second or 0.0
    by_writes = int(written / UTTERANCES_A_SECOND)
    all_cores = legs * report.cores
    if by_writes < all_cores:
        limit = f"The database limits first: it takes the utterances of {by_writes:,} legs."
    else:
        limit = (
            f"The workers' processor limits first: {legs} legs a core, where everything else has others; "
            f"the database would carry {by_writes:,}."
        )
    return CapacityReport(
        broker=report.broker,
        measured_legs=report.legs,
        cores=report.cores,
        load=report.load,
        legs_per_core=legs,
        added_p99_ms=report.latency_ms.frame_to_append.p99,
        alert_p99_ms=report.latency_ms.final_to_alert.p99,
        memory_per_leg_kb=report.memory_per_leg_kb,
        worker_base_mb=report.rss_idle_mb,
        utterances_per_second=written,
        legs_by_writes=by_writes,
        limit=limit,
    )


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0f} ms"
