"""``qa-service bench``: how well and how fast the service works on this machine."""

from __future__ import annotations

import importlib
from pathlib import Path

import click
import msgspec

from qa_service.bench.asr import AsrPlan, AsrReport, measure_asr
from qa_service.bench.bars import bars, table
from qa_service.bench.legs import Legs
from qa_service.bench.listening import BenchError
from qa_service.bench.recordings import CorpusError
from qa_service.bench.rules import measure_rules
from qa_service.bench.scoring import Spread
from qa_service.cli.running import configure_logging, run
from qa_service.settings import Settings

_ELSEWHERE = {"alerts": "qa_service.demo.bench_alerts", "path": "qa_service.cli.bench_path"}
_INTERRUPTED = 130  # what shells expect of a command that SIGINT ended


class _Bench(click.Group):
    """The group, and commands that are imported when they are wanted: for one, what runs it stands above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module(_ELSEWHERE[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - it is ours
        return command


@click.group(cls=_Bench)
def bench() -> None:
    """Measure this machine: accuracy, latency, load."""


@bench.command(
    epilog="""\b
Examples:
  qa-service bench asr                                  the project's samples, some minutes
  qa-service bench asr --speech-data DIR --json         and a corpus: DIR/manifest.jsonl
  qa-service bench asr --legs 12 --seconds 600          live legs side by side
  qa-service bench asr --legs 12 --overload             36 of them for a while"""
)
@click.option(
    "--speech-data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with recordings and manifest.jsonl (file, language, text).",
)
@click.option("--group", "groups", multiple=True, help="Keep to this group of recordings; repeatable.")
@click.option(
    "--silence",
    "silences",
    type=click.IntRange(200, 6000),
    multiple=True,
    default=(800, 400),
    show_default=True,
    help="silence_duration_ms to measure; after the first, English only.",
)
@click.option("--legs", type=click.IntRange(0), default=0, help="Measure this many live legs instead.")
@click.option(
    "--seconds", type=click.FloatRange(1), default=600.0, show_default=True, help="Length of the legs."
)
@click.option("--overload", is_flag=True, help="Three times the legs in the second third of the time.")
@click.option(
    "--unspoken",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    help="Seconds of each noise; 0: leave out.",
)
@click.option("--no-emotion", is_flag=True, help="Without the emotion model.")
@click.option("--no-direct", is_flag=True, help="Do not compare with the engine on whole recordings.")
@click.option("--no-language", is_flag=True, help="Do not measure language detection.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--verbose", is_flag=True, help="Tell of each recording on standard error.")
def asr(
    *,
    speech_data: Path | None,
    groups: tuple[str, ...],
    silences: tuple[int, ...],
    legs: int,
    seconds: float,
    overload: bool,
    unspoken: float,
    no_emotion: bool,
    no_direct: bool,
    no_language: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Measure the asr-server: word errors, delay of finals and partials, languages, noise, live legs."""
    configure_logging(Settings())
    plan = AsrPlan(
        corpus=speech_data,
        groups=groups,
        silences_ms=silences,
        unspoken_s=unspoken,
        language=not no_language,
        direct=not no_direct,
        legs=legs,
        legs_s=seconds,
        overload=overload,
        emotion=not no_emotion,
    )
    if overload and not legs:
        raise click.UsageError("--overload needs --legs: three times as many are played.")
    try:
        report = run(measure_asr(plan, _tell if verbose else lambda _line: None, _tell))
    except KeyboardInterrupt:
        _tell("interrupted; nothing is reported")
        raise SystemExit(_INTERRUPTED) from None
    except (BenchError, CorpusError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        click.echo("\n".join(_lines(report)))


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _lines(report: AsrReport) -> list[str]:
    lines = [
        f"{a.group}: word error rate {a.wer:.1%} ({a.errors} of {a.words})"
        + ("" if a.direct_wer is None else f", direct {a.direct_wer:.1%}")
        for a in report.accuracy
    ]
    for latency in report.latency:
        lines.append(
            f"silence {latency.silence_ms} ms: excess {_spread(latency.excess_ms)}, load {latency.load}"
        )
        lines.append(f"  first partial {_spread(latency.first_partial_ms)}; {latency.missed} without a final")
    if report.language:
        lines.append(f"language right in {report.language.right} of {report.language.recordings}")
    lines += [
        f"{u.sound}, {u.seconds:g} s: {u.utterances} utterances, {len(u.texts)} with text"
        for u in report.unspoken
    ]
    if legs := report.legs:
        lines.append(f"{legs.legs} legs, {legs.seconds:g} s: {legs.finals} finals, {legs.errors} errors")
        lines += _legs_lines(legs)
        lines.append(f"  excess {_spread(legs.excess_ms)}; between partials {_spread(legs.partial_gap_ms)}")
        lines.append(f"  event loop late {_spread(legs.loop_lag_ms)}; {legs.server_cores:.2f} cores")
    if report.loop_lag_ms:
        lines.append(f"event loop late {_spread(report.loop_lag_ms)}")
    lines.append(f"confirmed text taken back {report.revisions} times; memory {report.memory_mb or 0:.0f} MB")
    return [*lines, "", *table(bars(report))]


def _legs_lines(legs: Legs) -> list[str]:
    slope = legs.memory.slope_mb_per_h
    trend = "no trend" if slope is None else f"{slope:+.0f} MB an hour since then"
    memory = legs.memory
    lines = [
        f"  memory {memory.start_mb:.0f} MB at the start, {memory.warm_mb:.0f} warm",
        f"    {memory.end_mb:.0f} at the end, {memory.max_mb:.0f} at most; {trend}",
    ]
    if over := legs.overload:
        lines += [
            f"  of {over.legs} legs {over.refused} were refused",
            f"  {legs.finals_received} of {legs.finals_expected} utterances got their final",
            f"  between partials before: {_spread(over.partial_gap_before_ms)}",
            f"    during: {_spread(over.partial_gap_during_ms)}",
            f"    after: {_spread(over.partial_gap_after_ms)}",
            f"  excess during: {_spread(over.excess_during_ms)}",
        ]
    return lines


def _spread(spread: Spread) -> str:
    if spread.median is None:
        return "not measured"
    return (
        f"{spread.median:.0f} ms median, {spread.p95:.0f} p95, {spread.p99:.0f} p99, {spread.max:.0f} at most"
    )


@bench.command(
    epilog="""\b
Examples:
  qa-service bench rules                     half a minute
  qa-service bench rules --calls 300 --json  more calls, one JSON object"""
)
@click.option("--calls", type=click.IntRange(3), default=60, show_default=True, help="Calls to judge.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rules(*, calls: int, as_json: bool) -> None:
    """Measure the rules: log entries a second on one core, in three languages, and state per call."""
    try:
        report = measure_rules(calls=calls)
    except KeyboardInterrupt:
        _tell("interrupted; nothing is reported")
        raise SystemExit(_INTERRUPTED) from None
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
        return
    click.echo(
        f"{report.events_per_second:,.0f} log entries a second, {report.utterances_per_second:,.0f} of them "
        f"utterances; bar {report.bar:,}: {'reached' if report.is_reached else 'MISSED'}\n"
        f"{report.rules} rules with {report.phrases} phrases; {report.calls} calls in "
        f"{', '.join(report.languages)}; {report.matching_share:.0%} of the utterances brought alerts about\n"
        f"{report.state_bytes:,} bytes of state in the call that held most"
    )
