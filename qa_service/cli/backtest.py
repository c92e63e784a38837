"""``qa-service rules backtest`` and ``qa-service replay``: rules over stored calls."""

from __future__ import annotations

import contextlib
import datetime as dt
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from qa_service.cli.alerts import MOMENT
from qa_service.cli.configuration import read_rule_set
from qa_service.cli.reaching import AS_JSON, ask, to_json
from qa_service.cli.trials import Tried, try_rules
from qa_service.rules.backtest import Fate, Precision, Trial, Verdict, compare, newest_changes
from qa_service.rules.ruleset import RuleSet, load_rule_set
from qa_service.settings import Settings
from qa_service.storage.rule_versions import read_source
from qa_service.storage.stored_calls import find_calls, read_past_calls

_FATES: Final = ("same", "added", "gone")
_INTERRUPTED: Final = 130  # what shells expect of a command that SIGINT ended


@click.command(
    "backtest",
    epilog="""\b
Examples:
  qa-service rules backtest new-rules.yaml --from 2026-01-01 --to 2026-02-01
  qa-service rules backtest new-rules.yaml --from 7d --summary
  qa-service rules backtest new-rules.yaml --from 7d --json | jq .rules
Precision needs judged alerts: see `qa-service alerts --help`.""",
)
@click.argument("file", metavar="RULES", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--from", "since", type=MOMENT, help="Calls that began then or later: 2026-01-31, or 7d ago as `7d`."
)
@click.option("--to", "until", type=MOMENT, help="Calls that began before.")
@click.option("--summary", is_flag=True, help="Leave out the single alerts.")
@click.option("--jobs", type=click.IntRange(1), default=None, help="Processes. [default: one a core]")
@AS_JSON
def backtest(
    file: Path,
    *,
    since: dt.datetime | None,
    until: dt.datetime | None,
    summary: bool,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Try a rule file on stored calls, and compare with what was raised.

    Prints each alert that the rules would have raised, and what is different; counts by rule, day and
    agent; and, where alerts have been judged, the precision of each rule. Calls still going on are left out.
    Nothing is stored and nobody is alerted.
    """
    rules = read_rule_set(file)
    call_ids = ask(lambda database: find_calls(database, since=since, until=until))
    began = time.monotonic()
    try:
        tried = _run(rules, call_ids, jobs)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    report = _report(rules, file, tried, time.monotonic() - began)
    if as_json:
        click.echo(to_json(report))
        return
    if not summary:
        for trial in _trials(tried):
            click.echo(_told(trial))
    _show(report)


def _run(rules: RuleSet, call_ids: Sequence[str], jobs: int | None) -> list[Tried]:
    url = Settings().database_url.get_secret_value()
    columns: tuple[Any, ...] = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    done: list[Tried] = []
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress,
        contextlib.closing(try_rules(rules.source, call_ids, database_url=url, jobs=jobs)) as batches,
    ):
        bar = progress.add_task("calls", total=len(call_ids))
        for batch in batches:
            done.append(batch)
            progress.advance(bar, batch.calls)
    return done


def _trials(tried: Iterable[Tried]) -> list[Trial]:
    """All alerts of the comparison, by day, call and time, however the batches came in."""
    found = [trial for batch in tried for trial in batch.trials]
    return sorted(
        found, key=lambda trial: (trial.day, trial.call_id, trial.alert.start_ms, trial.alert.rule_id)
    )


def _told(trial: Trial) -> str:
    alert = trial.alert
    at = f"{alert.opened_ms // 60_000:02}:{alert.opened_ms / 1000 % 60:04.1f}"
    cells = (f"{trial.fate:5}", trial.day, trial.call_id, at, f"{alert.severity:8}", alert.rule_id)
    judged = (f"[{trial.verdict}]",) if trial.verdict else ()
    words = (repr(alert.words),) if alert.words else ()
    return "  ".join((*cells, *judged, *words))


def _report(rules: RuleSet, file: Path, tried: Sequence[Tried], elapsed_s: float) -> dict[str, Any]:
    trials, calls = _trials(tried), sum(batch.calls for batch in tried)
    return {
        "file": file,
        "rule_set_hash": rules.hash,
        "calls": calls,
        "refused": [line for batch in tried for line in batch.refused],
        "elapsed_s": round(elapsed_s, 2),
        "calls_per_minute": round(60 * calls / elapsed_s) if elapsed_s else None,
        "total": _count(trials),
        "rules": _grouped(trials, lambda trial: [trial.alert.rule_id], with_precision=True),
        "thresholds": _by_threshold(sum((batch.thresholds for batch in tried), Counter())),
        "days": _grouped(trials, lambda trial: [trial.day]),
        "agents": _grouped(trials, lambda trial: trial.agents or ("-",)),
        "alerts": [
            {**msgspec.structs.asdict(trial.alert), "call_id": trial.call_id, "day": trial.day}
            | {"agents": trial.agents, "fate": trial.fate, "verdict": trial.verdict}
            for trial in trials
        ],
    }


def _grouped(
    trials: Sequence[Trial], keys: Callable[[Trial], Iterable[str]], *, with_precision: bool = False
) -> dict[str, dict[str, Any]]:
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        for key in keys(trial):
            groups.setdefault(key, []).append(trial)
    return {
        key: _count(groups[key]) | (_judged(groups[key]) if with_precision else {}) for key in sorted(groups)
    }


def _count(trials: Sequence[Trial]) -> dict[str, int]:
    fates = Counter(trial.fate for trial in trials)
    return {
        "would_raise": fates["same"] + fates["added"],
        "raised": fates["same"] + fates["gone"],
        **{fate: fates[fate] for fate in _FATES},
    }


def _judged(trials: Sequence[Trial]) -> dict[str, Any]:
    verdicts = Counter(trial.verdict for trial in trials if trial.fate == "same")
    precision = Precision(verdicts["acknowledged"], verdicts["dismissed"])
    return {
        "acknowledged": precision.right,
        "dismissed": precision.wrong,
        "precision": precision.value,
        "precision_interval": precision.interval,
        "acknowledged_and_gone": sum(t.fate == "gone" and t.verdict == "acknowledged" for t in trials),
        "dismissed_and_gone": sum(t.fate == "gone" and t.verdict == "dismissed" for t in trials),
    }


def _by_threshold(found: Counter[tuple[str, float, Fate, Verdict]]) -> dict[str, list[dict[str, Any]]]:
    """What becomes of rules that add up evidence at each threshold that they can reach, lowest first."""
    told: dict[str, list[dict[str, Any]]] = {}
    for rule_id, at_least in sorted({key[:2] for key in found}):
        here = {key[2:]: n for key, n in found.items() if key[:2] == (rule_id, at_least)}
        precision = Precision(here.get(("same", "acknowledged"), 0), here.get(("same", "dismissed"), 0))
        told.setdefault(rule_id, []).append(
            {
                "at_least": at_least,
                "would_raise": sum(n for (fate, _), n in here.items() if fate != "gone"),
                "acknowledged": precision.right,
                "dismissed": precision.wrong,
                "precision": precision.value,
                "precision_interval": precision.interval,
            }
        )
    return told


def _show(report: dict[str, Any]) -> None:
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console.width = _WIDTH_OF_FILES
    _show_rules(console, report)
    for title in ("days", "agents"):
        table = Table(title.removesuffix("s"), *_COUNTS, box=None, pad_edge=False)
        for key, counts in report[title].items():
            table.add_row(key, *_counts(counts))
        console.print("", table)
    total = report["total"]
    console.print(
        f"\n{report['calls']} calls in {report['elapsed_s']:.1f} s: {total['would_raise']} alerts, "
        f"{total['raised']} were raised then; {total['added']} added, {total['gone']} gone, "
        f"{total['same']} the same"
    )
    for line in report["refused"]:
        console.print(f"left out: {line}", markup=False)


def _show_rules(console: Console, report: dict[str, Any]) -> None:
    table = Table("rule", *_COUNTS, *_JUDGED, box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for rule_id, counts in report["rules"].items():
        table.add_row(rule_id, *_counts(counts), *_share(counts))
    console.print(table)
    for rule_id, steps in report["thresholds"].items():
        table = Table(f"{rule_id} at", "would raise", *_JUDGED, box=None, pad_edge=False)
        for step in steps:
            table.add_row(f"{step['at_least']:g}", str(step["would_raise"]), *_share(step))
        console.print("", table)


_JUDGED: Final = ("precision", "95 %", "right", "wrong")
_WIDTH_OF_FILES: Final = 140
_COUNTS: Final = ("would raise", "raised", *_FATES)


def _counts(counts: dict[str, Any]) -> list[str]:
    return [str(counts[name.replace(" ", "_")]) for name in _COUNTS]


def _share(counts: dict[str, Any]) -> tuple[str, ...]:
    judged = (str(counts["acknowledged"]), str(counts["dismissed"]))
    if counts["precision"] is None:
        return ("-", "-", *judged)
    low, high = counts["precision_interval"]
    return (f"{counts['precision']:.2f}", f"{low:.2f} to {high:.2f}", *judged)


@click.command(
    epilog="""\b
Examples:
  qa-service replay call-4711
  qa-service replay call-4711 --json | jq .differences"""
)
@click.argument("call_id", metavar="CALL")
@AS_JSON
def replay(call_id: str, *, as_json: bool) -> None:
    """Recompute the incidents of a stored call from its log, and compare with what is stored.

    The rules are those that the call is pinned to. Exits with 1 on any difference. A call that still goes on
    is compared as far as it is stored.
    """
    found = ask(lambda database: read_past_calls(database, [call_id]))
    if not found:
        raise click.ClickException(f"there is no call {call_id}")
    call = found[0]
    if not call.entries:
        raise click.ClickException(f"nothing of the log of call {call_id} is left")
    rule_set_hash, source = ask(lambda database: read_source(database, call.rule_set_hash))
    rules = load_rule_set(source, f"stored rule set {rule_set_hash}")
    if rules.hash != rule_set_hash:
        raise click.ClickException(
            f"call {call_id} is pinned to rule set {rule_set_hash[:12]}, which this release reads as "
            f"{rules.hash[:12]}: replay it with the release that stored it"
        )
    recomputed = list(newest_changes(rules, call.entries).values())
    differences = compare([each.change for each in call.raised], recomputed)
    if as_json:
        told = [msgspec.structs.asdict(difference) for difference in differences]
        click.echo(
            to_json(
                {
                    "call_id": call_id,
                    "rule_set_hash": rule_set_hash,
                    "entries": len(call.entries),
                    "stored": len(call.raised),
                    "recomputed": len(recomputed),
                    "differences": told,
                }
            )
        )
    else:
        for each in differences:
            click.echo(
                f"{each.incident_id} {each.rule_id}: {each.field}: stored {each.stored!r}, "
                f"recomputed {each.recomputed!r}"
            )
        click.echo(
            f"{call_id}: {len(call.entries)} entries, {len(call.raised)} incidents stored, "
            f"{len(recomputed)} recomputed, {len(differences)} differences"
        )
    sys.exit(1 if differences else 0)
