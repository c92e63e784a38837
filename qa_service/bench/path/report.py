"""What a run of the path bench found, and the bars that it is held to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from qa_service.bench.bars import Bar
from qa_service.bench.scoring import Spread

VERSION: Final = 1
"""Of the JSON; a key keeps its meaning within one."""

RATIO_BAR: Final = 1.6
WORKER_CPU_BAR_MS: Final = 1.2
ADDED_BAR_MS: Final = 60.0
ALERT_BAR_MS: Final = (30.0, 150.0)
"""Final to alert on its topic: median, 99th percentile."""
MEMORY_BAR_KB: Final = 150.0
CATCH_UP_BAR: Final = 5.0
WRITES_BAR: Final = 5000.0


class Latency(Struct, frozen=True, kw_only=True):
    """Delays in milliseconds."""

    frame_to_append: Spread
    """Newest frame of an append given to Kafka → the append at the recogniser: what is added to the batch."""
    frame_to_append_floor: Spread
    """The same of the floor."""
    final_to_durable: Spread
    """Final at the worker → its transaction begins (the database's clock)."""
    final_to_published: Spread
    """Final at the worker → taken by the relay."""
    final_to_alert: Spread
    """Final sent by the recogniser → the alert read from its topic."""


class Growth(Struct, frozen=True, kw_only=True):
    """What a leg costs at another number of legs."""

    legs: int
    worker_cpu_ms_per_leg_second: float
    rss_mb: float


class PathReport(Struct, frozen=True, kw_only=True):
    """One run."""

    version: int = VERSION
    legs: int
    seconds: float
    partitions: int
    broker: str
    tls: bool
    extensions: bool
    """Whether the recogniser tells progress as our own does."""
    cores: int
    load: float
    """Load average of the machine at the end."""
    worker_cpu_ms_per_leg_second: float
    floor_cpu_ms_per_leg_second: float
    ratio_to_floor: float
    relay_cpu_ms_per_leg_second: float
    worker_core_share: float
    """Processor time of the worker over wall time."""
    latency_ms: Latency
    rss_mb: float
    rss_idle_mb: float
    memory_per_leg_kb: float
    loop_lag_ms: dict[str, float | None]
    """Of the worker's event loop, estimated from its own histogram: p50, p95, p99."""
    frames: int
    audio_missing_s: float
    """Audio published and not appended once all was over; nothing else is right."""
    finals: int
    alerts: int
    generator_late_ms: float
    catch_up: float | None = None
    """Seconds of audio a second while a stall was made up for, per leg: 1 is real time."""
    utterances_per_second: float | None = None
    """Through the real write path."""
    growth: tuple[Growth, ...] = ()


def bars(report: PathReport) -> list[Bar]:
    """The figures that something is wanted of."""
    return list(_bars(report))


def _bars(report: PathReport) -> Iterator[Bar]:
    latency = report.latency_ms
    yield _at_most("ratio to the floor", report.ratio_to_floor, RATIO_BAR, "", 2)
    yield _at_most(
        "worker CPU per leg-second", report.worker_cpu_ms_per_leg_second, WORKER_CPU_BAR_MS, "ms", 2
    )
    yield _at_most("added, frame to append, p99", latency.frame_to_append.p99, ADDED_BAR_MS, "ms")
    yield _at_most("final to alert, p50", latency.final_to_alert.median, ALERT_BAR_MS[0], "ms")
    yield _at_most("final to alert, p99", latency.final_to_alert.p99, ALERT_BAR_MS[1], "ms")
    yield _at_most("memory per leg", report.memory_per_leg_kb, MEMORY_BAR_KB, "KB")
    if report.growth:
        few, many = report.growth[0], report.growth[-1]
        yield _at_most(
            f"CPU per leg-second, {many.legs} legs over {few.legs}",
            many.worker_cpu_ms_per_leg_second / few.worker_cpu_ms_per_leg_second,
            1.0,
            "",
            2,
        )
    if report.catch_up is not None:
        yield _at_least("catch-up, times real time", report.catch_up, CATCH_UP_BAR)
    if report.utterances_per_second is not None:
        yield _at_least("utterances a second written", report.utterances_per_second, WRITES_BAR)


def _at_most(measure: str, figure: float | None, limit: float, unit: str, digits: int = 0) -> Bar:
    bar = f"<= {limit:g} {unit}".rstrip()
    if figure is None:
        return Bar(measure, "", bar, None)
    return Bar(measure, f"{figure:.{digits}f} {unit}".rstrip(), bar, figure <= limit)


def _at_least(measure: str, figure: float, limit: float) -> Bar:
    return Bar(measure, f"{figure:,.0f}", f">= {limit:,.0f}", figure >= limit)
