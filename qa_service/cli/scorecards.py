"""``qa-service scorecards``: scorecards before they are deployed, and calls graded by them."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from qa_service.cli.configuration import read_rule_set, read_scorecard, rule_set, scorecard
from qa_service.cli.reaching import AS_JSON, ask, to_json
from qa_service.domain.scores import CallScore
from qa_service.rules.ruleset import load_rule_set
from qa_service.rules.scorecards import Scorecard, ScoredRules
from qa_service.settings import Settings
from qa_service.storage.database import Database
from qa_service.storage.rule_versions import read_source
from qa_service.storage.scorecards import save_score, save_scorecard
from qa_service.storage.stored_calls import PastCall, read_past_calls

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def scorecards() -> None:
    """Check scorecards, and grade stored calls by them.

    Workers grade each call as it ends, by the scorecard that their settings name; report.scorecard shows it.
    """


@scorecards.command(
    epilog="""\b
Examples:
  qa-service scorecards check my-scorecard.yaml
  qa-service scorecards check my-scorecard.yaml --rules my-rules.yaml"""
)
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--rules", "rules_file", type=_FILE, help="Rules it asks. [default: those the settings name]")
@AS_JSON
def check(files: tuple[Path, ...], *, rules_file: Path | None, as_json: bool) -> None:
    """Validate scorecards against the rules that they ask; without a file, the one the settings name."""
    settings = Settings()
    rules = read_rule_set(rules_file) if rules_file else rule_set(settings)
    rule_ids = [rule.id for rule in rules.rules]
    cards = [(str(path), read_scorecard(path, rule_ids=rule_ids)) for path in files]
    if not files:
        card = scorecard(settings)
        cards = [] if card is None else [("settings", card)]
    if as_json:
        told = [{"file": name, "id": c.id, "revision": c.version, "hash": c.hash} for name, c in cards]
        click.echo(to_json(told))
        return
    for name, card in cards:
        click.echo(f"{name}: {card.id} revision {card.version}, hash {card.hash[:12]}")
        for section in card.sections:
            for question in section.questions:
                critical = ", critical" if question.critical else ""
                click.echo(f"  {section.id}/{question.id} ({question.rule}{critical}): {question.ask}")


@scorecards.command(
    epilog="""\b
Examples:
  qa-service scorecards score call-4711
  qa-service scorecards score call-4711 --scorecard stricter.yaml --json
  qa-service scorecards score call-4711 --scorecard stricter.yaml --store"""
)
@click.argument("call_ids", metavar="CALL...", nargs=-1, required=True)
@click.option("--scorecard", "file", type=_FILE, help="Scorecard. [default: the one the settings name]")
@click.option("--store", is_flag=True, help="Keep the scores, for report.scorecard.")
@AS_JSON
def score(call_ids: tuple[str, ...], *, file: Path | None, store: bool, as_json: bool) -> None:
    """Grade stored calls from their log, under the rules that each is pinned to."""
    card = read_scorecard(file) if file else scorecard(Settings())
    if card is None:
        raise click.UsageError("QA_SCORECARD_FILE is off: give --scorecard FILE")
    scores = ask(lambda database: _grade(database, card, call_ids, is_stored=store))
    if as_json:
        click.echo(to_json(msgspec.to_builtins(scores)))
        return
    for each in scores:
        click.echo(_told(each))
    if missing := sorted(set(call_ids) - {each.call_id for each in scores}):
        click.echo(f"not stored, or not over yet: {', '.join(missing)}", err=True)
        sys.exit(1)


async def _grade(
    database: Database, card: Scorecard, call_ids: tuple[str, ...], *, is_stored: bool
) -> list[CallScore]:
    calls = [call for call in await read_past_calls(database, call_ids) if call.is_over]
    pinned = {call.rule_set_hash for call in calls}
    sources = {each: (await read_source(database, each))[1] for each in sorted(pinned)}
    scores = [_score(call, card, sources[call.rule_set_hash]) for call in calls]
    if is_stored:
        await save_scorecard(database, card)
        for each in scores:
            await save_score(database, each)
    return scores


def _score(call: PastCall, card: Scorecard, source: str) -> CallScore:
    rules = load_rule_set(source, f"rule set of call {call.call_id}")
    graded = ScoredRules(rules.start(call.call_id), call_id=call.call_id, card=card)
    for entry in call.entries:
        graded.feed(entry)
    found = graded.score()
    assert found is not None  # noqa: S101 - there is a scorecard
    return found


def _told(score: CallScore) -> str:
    number = "no question could be answered" if score.score is None else f"{score.score:.1f} of 100"
    failed = ", failed by a critical question" if score.auto_failed else ""
    lines = [f"{score.call_id}: {number}{failed} ({score.scorecard_id} revision {score.scorecard_version})"]
    for answer in score.answers:
        lines.append(f"  {answer.verdict:14}  {answer.section}/{answer.question}: {answer.ask}")
        for reason in answer.reasons:
            words = f"  {reason.words!r}" if reason.words else ""
            lines.append(f"{'':18}{answer.rule_id} at {reason.opened_ms / 1000:.1f} s{words}")
    return "\n".join(lines)
