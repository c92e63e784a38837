"""``qa-service bench alerts``: the chain as the demo runs it, measured from voice to alert."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import click
import msgspec
from aiokafka.errors import for_code
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from qa_service import logs
from qa_service.bench.chain import LEGS_PER_CALL, Chain, ChainProgress, measure_alerts
from qa_service.bench.delays import ChainReport, Delays
from qa_service.bench.listening import BenchError
from qa_service.bench.scoring import Spread
from qa_service.cli.configuration import cache_dir, kafka_config
from qa_service.cli.running import run, stop_event
from qa_service.demo.stack import Stack, running_stack
from qa_service.kafka import started_admin
from qa_service.settings import Settings

_BAR_WIDTH = 24
_TOPICS = ("audio_topic", "dlq_topic", "alerts_topic", "transcripts_topic", "partials_topic")
_STEPS = (
    ("final_ms", "final received"),
    ("durable_ms", "row written"),
    ("published_ms", "taken by the relay"),
    ("arrived_ms", "on the topic"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    legs: int
    seconds: float
    existing_kafka: bool


@click.command(
    epilog="""\b
Examples:
  qa-service bench alerts                          eight legs, three minutes, in real time
  qa-service bench alerts --seconds 600 --json     more alerts, one JSON object
  QA_KAFKA_BOOTSTRAP=… qa-service bench alerts --existing-kafka"""
)
@click.option(
    "--legs", type=click.IntRange(LEGS_PER_CALL), default=8, show_default=True, help="Live legs, two a call."
)
@click.option(
    "--seconds",
    type=click.FloatRange(45),
    default=180.0,
    show_default=True,
    help="How long calls are played.",
)
@click.option(
    "--existing-kafka",
    is_flag=True,
    help="Use the Kafka of the settings, on topics made for the run, instead of the embedded broker.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; see docs/performance-asr.md.")
def alerts(*, legs: int, seconds: float, existing_kafka: bool, as_json: bool) -> None:
    """Measure the whole chain: from the last angry sound to the alert on its topic.

    Starts all parts as the demo does, plays the sample calls in real time, side by side and one after
    another, and tells how long after the silence that ends an utterance its alert came, and where that time
    went. Exits 1 if an expected alert did not come, or another one came.
    """
    settings = Settings()
    if settings.rules_file is not None:
        raise click.ClickException(
            "QA_RULES_FILE is set, and which alerts are due is known for the default rules alone: unset it"
        )
    logs.configure("console", "warning")
    plan = _Plan(legs=legs // LEGS_PER_CALL * LEGS_PER_CALL, seconds=seconds, existing_kafka=existing_kafka)
    report = run(_measure(settings, plan))
    if report is None:
        sys.exit(130)  # interrupted
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        _show(report, Console())
    if report.missed or report.unexpected:
        sys.exit(1)


async def _measure(settings: Settings, plan: _Plan) -> ChainReport | None:
    """Measure until it is done or we are interrupted (None); progress goes to standard error."""
    stop = stop_event()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        work = asyncio.create_task(_start_and_measure(settings, plan, progress))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            progress.console.print("stopping …")
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await work
    return None


async def _start_and_measure(settings: Settings, plan: _Plan, progress: Progress) -> ChainReport:
    task = progress.add_task("starting", total=plan.seconds)

    def tell(so_far: ChainProgress) -> None:
        text = f"{plan.legs} legs, {so_far.anger} alerts on anger, {so_far.others} on other things"
        progress.update(task, description=text, completed=so_far.seconds)

    async with _running_chain(
        settings, plan, lambda what: progress.console.print(f"· {what}", soft_wrap=True)
    ) as chain:
        progress.console.print("· calls")
        try:
            return await measure_alerts(chain, legs=plan.legs, seconds=plan.seconds, tell=tell)
        except BenchError as error:
            raise click.ClickException(str(error)) from error


@contextlib.asynccontextmanager
async def _running_chain(settings: Settings, plan: _Plan, say: Callable[[str], None]) -> AsyncIterator[Chain]:
    """The whole service; on an existing Kafka with a group and topics of its own, removed afterwards."""
    if not plan.existing_kafka:
        async with running_stack(settings, cache_dir(settings), say) as stack:
            yield _chain(stack, settings)
        return
    run_id = f"qa-bench-{uuid.uuid4().hex[:8]}"
    topics = {field: f"{run_id}.{field.removesuffix('_topic')}" for field in _TOPICS}
    settings = settings.model_copy(update=topics | {"consumer_group": run_id})
    kafka = kafka_config(settings)
    try:
        async with running_stack(settings, cache_dir(settings), say, existing_kafka=kafka) as stack:
            yield _chain(stack, settings)
    finally:
        async with started_admin(kafka) as admin:
            response: Any = await admin.delete_topics(list(topics.values()))
            for name, code in response.topic_error_codes:
                if code:
                    say(f"topic {name} was not removed: {for_code(code).__name__}; remove it yourself")


def _chain(stack: Stack, settings: Settings) -> Chain:
    return Chain(
        kafka=stack.kafka,
        database_url=stack.database_url,
        audio_topic=settings.audio_topic,
        alerts_topic=settings.alerts_topic,
        silence_ms=settings.asr_silence_ms,
    )


def _show(report: ChainReport, console: Console) -> None:
    console.print(
        f"{report.calls} calls on {report.legs} legs, {report.seconds:g} s in real time; "
        f"utterances end after {report.silence_ms} ms of silence; load {report.load}",
        highlight=False,
    )
    table = Table("ms from the end of that silence", "", box=None, header_style="bold", pad_edge=False)
    for column in ("median", "p95", "max"):
        table.add_column(column, justify="right")
    for delays, name in ((report.anger, "alert on anger"), (report.words, "alert on words")):
        _add_rows(table, delays, name)
    console.print(table)
    _show_bar(console, "bar", report.bar_ms, meets=report.meets_bar)
    _show_bar(console, "reach for", report.reach_ms, meets=report.meets_reach)
    if unplaced := report.anger.unplaced + report.words.unplaced:
        console.print(
            f"not measured, as their utterances end near no end of speech: {unplaced}", highlight=False
        )
    for alert in report.missed:
        console.print(f"[red]expected and not raised: {alert}[/]", highlight=False)
    for alert in report.unexpected:
        console.print(f"[red]raised and not expected: {alert}[/]", highlight=False)
    if not report.missed and not report.unexpected:
        console.print("[green]exactly the expected alerts were raised[/]")


def _add_rows(table: Table, delays: Delays, name: str) -> None:
    whole: Spread = delays.excess_ms
    table.add_row(f"[bold]{name}[/] ({whole.count})", *_cells(whole, whole))
    for key, step in _STEPS:
        table.add_row(f"  {step}", *_cells(getattr(delays, key), whole))


def _cells(step: Spread, whole: Spread) -> tuple[str, str, str, str]:
    """A bar as long as the step's share of the whole, and the step's figures."""
    if step.median is None or step.p95 is None or step.max is None or not whole.median:
        return "", "-", "-", "-"
    share = min(1.0, max(0.0, step.median / whole.median))
    return "█" * math.ceil(share * _BAR_WIDTH), f"{step.median:.0f}", f"{step.p95:.0f}", f"{step.max:.0f}"


def _show_bar(console: Console, name: str, bounds: tuple[float, float], *, meets: bool | None) -> None:
    verdict = {True: "[green]kept[/]", False: "[red]not kept[/]", None: "nothing measured"}[meets]
    console.print(
        f"{name}, alerts on anger: {bounds[0]:.0f} ms median, {bounds[1]:.0f} p95: {verdict}", highlight=False
    )
