"""``qa-service bench path`` and ``qa-service capacity``: what a worker costs and holds on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from qa_service import logs
from qa_service.bench.bars import Bar
from qa_service.bench.listening import BenchError
from qa_service.bench.path.capacity import CapacityReport, judge_capacity
from qa_service.bench.path.flame import parse_folded, render
from qa_service.bench.path.measure import PathBench, Timing
from qa_service.bench.path.report import Growth, PathReport, bars
from qa_service.bench.path.rig import PARTITIONS, RigPlan, on_the_workers_core, running_rig
from qa_service.bench.path.writes import measure_writes
from qa_service.bench.scoring import Spread
from qa_service.cli.configuration import cache_dir, kafka_config
from qa_service.cli.running import run, stop_event
from qa_service.settings import Settings

T = TypeVar("T")
Also = Literal["catch-up", "growth", "writes"]

_INTERRUPTED: Final = 130
_WRITES_S: Final = 5.0
_GROWTH: Final = (0.5, 2.0)
"""Numbers of legs at which growth is measured, as shares of the number asked for."""
_CAPACITY_LEGS: Final = 100
_CAPACITY_S: Final = 10.0


@click.command(
    epilog="""\b
Examples:
  qa-service bench path                              200 legs, a minute of the worker, a minute of the floor
  qa-service bench path --legs 400 --seconds 30 --json
  qa-service bench path --also growth --also catch-up --also writes
  qa-service bench path --profile path.svg           and where the worker's time went
  QA_KAFKA_BOOTSTRAP=… qa-service bench path --existing-kafka"""
)
@click.option("--legs", type=click.IntRange(2), default=200, show_default=True, help="Live legs, two a call.")
@click.option(
    "--seconds",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    help="How long the worker is measured, and the floor as long.",
)
@click.option(
    "--partitions",
    type=click.IntRange(1),
    default=PARTITIONS,
    show_default=True,
    help="Of the audio topic.",
)
@click.option("--tls", is_flag=True, help="Recogniser sessions over TLS.")
@click.option("--plain", is_flag=True, help="A recogniser that tells no progress, as the cloud.")
@click.option(
    "--also",
    type=click.Choice(["catch-up", "growth", "writes"]),
    multiple=True,
    help="Measure this as well: catching up after a stall of 30 s, the cost of a leg at half and twice the "
    "legs, utterances a second through the write path. Repeatable.",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a flame graph of the worker here (SVG); sampling costs it a few per cent.",
)
@click.option(
    "--existing-kafka",
    is_flag=True,
    help="Use the Kafka of the settings, on topics made for the run, instead of one started here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; see docs/performance.md.")
def path(
    *,
    legs: int,
    seconds: float,
    partitions: int,
    tls: bool,
    plain: bool,
    also: tuple[Also, ...],
    profile: Path | None,
    existing_kafka: bool,
    as_json: bool,
) -> None:
    """Measure the worker between a real Kafka and a scripted recogniser: cost, latency, memory.

    One worker process on one core, calls of two legs in real time, PostgreSQL and Kafka started for the run.
    Beside it, under the same load, a bare loop that polls, decodes and appends and does nothing else: the
    floor. Linux only.
    """
    settings = Settings()
    logs.configure("console", "error")
    plan = RigPlan(
        cache_dir=cache_dir(settings),
        partitions=partitions,
        tls=tls,
        extensions=not plain,
        existing_kafka=kafka_config(settings) if existing_kafka else None,
    )
    wanted = _Wanted(legs // 2 * 2, seconds, also, profile)
    report = _run(lambda progress: _measure(plan, wanted, progress))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        show(report, Console())


@click.command(
    epilog="""\b
Examples:
  qa-service capacity
  qa-service capacity --json"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def capacity(*, as_json: bool) -> None:
    """Say what this machine holds: legs a core at a stated latency, memory, writes, and what limits first.

    A short run of `bench path` and of its write path; what it extrapolates, it says.
    """
    settings = Settings()
    logs.configure("console", "error")
    plan = RigPlan(cache_dir=cache_dir(settings))
    wanted = _Wanted(_CAPACITY_LEGS, _CAPACITY_S, ("writes",), None)
    report = judge_capacity(_run(lambda progress: _measure(plan, wanted, progress)))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        show_capacity(report, Console())


@dataclass(frozen=True, slots=True)
class _Wanted:
    legs: int
    seconds: float
    also: tuple[Also, ...]
    profile: Path | None


def _run(work: Callable[[Progress], Awaitable[T]]) -> T:
    """Do the work with progress on standard error; Ctrl-C ends everything in order, with exit code 130."""
    try:
        report = run(_until_interrupted(work))
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if report is None:
        sys.exit(_INTERRUPTED)
    return report


async def _until_interrupted(work: Callable[[Progress], Awaitable[T]]) -> T | None:
    stop = stop_event()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        working = asyncio.ensure_future(work(progress))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            progress.console.print("stopping …")
            working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await working
    return None


async def _measure(plan: RigPlan, wanted: _Wanted, progress: Progress) -> PathReport:
    task = progress.add_task("starting", total=None)

    def tell(what: str, seconds: float) -> None:
        progress.update(task, description=f"{wanted.legs} legs: {what}", advance=seconds)

    def say(line: str) -> None:
        progress.console.print(f"· {line}", soft_wrap=True)

    timing = Timing(wanted.seconds)
    folded = None if wanted.profile is None else wanted.profile.with_suffix(".folded")
    async with running_rig(plan, say) as rig:
        bench = PathBench(rig, tell)
        report = await bench.measure(wanted.legs, timing, folded)
        if "growth" in wanted.also:
            counts = [max(2, int(wanted.legs * share) // 2 * 2) for share in _GROWTH]
            growth = await bench.measure_growth(tuple(counts), timing)
            report = msgspec.structs.replace(report, growth=growth)
        if "catch-up" in wanted.also:
            report = msgspec.structs.replace(report, catch_up=await bench.measure_catch_up(wanted.legs))
        if "writes" in wanted.also:
            tell("the write path", 0)
            database_url = await rig.make_database()
            with on_the_workers_core():
                written = await measure_writes(database_url, _WRITES_S)
            report = msgspec.structs.replace(report, utterances_per_second=written)
    if wanted.profile is not None and folded is not None:
        _draw(wanted.profile, folded, report)
    return report


def _draw(target: Path, folded: Path, report: PathReport) -> None:
    with folded.open(encoding="utf-8") as lines:
        root = parse_folded(lines)
    folded.unlink()
    title = (
        f"qa-service worker, {report.legs} legs, {report.worker_cpu_ms_per_leg_second:g} ms of CPU "
        f"per leg-second, {root.samples} samples"
    )
    target.write_text(render(root, title), encoding="utf-8")


def show(report: PathReport, console: Console) -> None:
    """Print a report for people."""
    console.print(
        f"{report.legs} legs for {report.seconds:g} s on {report.partitions} partitions of {report.broker}, "
        f"TLS {'on' if report.tls else 'off'}; {report.cores} cores, load {report.load}",
        highlight=False,
    )
    console.print(_costs(report))
    console.print(_delays(report))
    console.print(_bars(bars(report)))
    for growth in report.growth:
        console.print(_growth_line(growth), highlight=False)
    if abs(report.audio_missing_s) > 0.01:  # noqa: PLR2004 - half a frame
        console.print(
            f"[red]{report.audio_missing_s:g} s of audio did not come to the recogniser[/]", highlight=False
        )


def show_capacity(report: CapacityReport, console: Console) -> None:
    """Print what a machine holds, on one screen."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, figure, how in report.lines():
        table.add_row(name, f"[bold]{figure}[/]", f"[dim]{how}[/]")
    console.print(table)
    console.print(f"[bold]{report.limit}[/]", highlight=False)


def _costs(report: PathReport) -> Table:
    table = Table("CPU, ms per leg-second", "", "", box=None, header_style="bold", pad_edge=False)
    worker = report.worker_cpu_ms_per_leg_second
    for name, figure in (
        ("worker", worker),
        ("floor", report.floor_cpu_ms_per_leg_second),
        ("relay", report.relay_cpu_ms_per_leg_second),
    ):
        length = round(24 * figure / max(worker, report.floor_cpu_ms_per_leg_second, 0.001))
        table.add_row(name, f"{figure:.2f}", "█" * min(length, 24))
    table.add_row("worker / floor", f"{report.ratio_to_floor:.2f}", "")
    return table


def _delays(report: PathReport) -> Table:
    table = Table("ms", "median", "p95", "p99", "max", box=None, header_style="bold", pad_edge=False)
    latency = report.latency_ms
    for name, spread in (
        ("frame → append, beyond the batch", latency.frame_to_append),
        ("  the same of the floor", latency.frame_to_append_floor),
        ("final → transaction", latency.final_to_durable),
        ("final → taken by the relay", latency.final_to_published),
        ("final → alert on its topic", latency.final_to_alert),
    ):
        table.add_row(name, *_cells(spread))
    lag = report.loop_lag_ms
    table.add_row("event loop late", *(_cell(lag[name]) for name in ("p50", "p95", "p99")), "")
    return table


def _bars(rows: list[Bar]) -> Table:
    table = Table("measure", "figure", "bar", "reached", box=None, header_style="bold", pad_edge=False)
    words = {True: "[green]yes[/]", False: "[red]NO[/]", None: "not measured"}
    for row in rows:
        table.add_row(row.measure, row.figure, row.bar, words[row.reached])
    return table


def _growth_line(growth: Growth) -> str:
    return (
        f"at {growth.legs} legs: {growth.worker_cpu_ms_per_leg_second:.2f} ms of CPU per leg-second, "
        f"{growth.rss_mb:.0f} MB"
    )


def _cells(spread: Spread) -> tuple[str, str, str, str]:
    return _cell(spread.median), _cell(spread.p95), _cell(spread.p99), _cell(spread.max)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
