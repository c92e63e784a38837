"""``qa-service rules``: rule files before they are deployed, and those that were."""

from __future__ import annotations

import json
from pathlib import Path

import click
import msgspec

from qa_service.cli.backtest import backtest
from qa_service.cli.configuration import read_rule_set, rule_set
from qa_service.cli.reaching import AS_JSON, ask, by_option, to_json
from qa_service.cli.rule_library import library
from qa_service.rules.errors import RuleFileError
from qa_service.rules.scenarios import Alert, Verdict, judge, read_scenarios
from qa_service.settings import Settings
from qa_service.storage.rule_versions import publish, read_history, read_source


@click.group()
def rules() -> None:
    """Begin with the library's rules, check and test files of your own, try them on calls, publish them."""


rules.add_command(backtest)
rules.add_command(library)


@rules.command(
    epilog="""\b
Examples:
  qa-service rules check my-rules.yaml
  qa-service rules check              the rule set that the settings name"""
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def check(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Validate rule files; the first error ends with its line, column and what was expected."""
    found = [(str(path), read_rule_set(path)) for path in files] or [("settings", rule_set(Settings()))]
    if as_json:
        rows = [
            {"file": name, "hash": loaded.hash, "rules": [rule.id for rule in loaded.rules]}
            for name, loaded in found
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for name, loaded in found:
        click.echo(f"{name}: {len(loaded.rules)} rules, hash {loaded.hash[:12]}")
        for rule in loaded.rules:
            click.echo(f"  {rule.id} v{rule.version} ({rule.severity}): {rule.description}")


@rules.command(
    epilog="""\b
Examples:
  qa-service rules test my-rules.yaml          runs my-rules.tests.yaml, which stands beside it
  qa-service rules test *.yaml --json          one JSON list, for other programs"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def test(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Run dialogues written beside rule files; exits with 1 if any raises other alerts than it should."""
    chosen = [path for path in files if not path.name.endswith(_TESTS)]
    verdicts = [(path, verdict) for path in chosen for verdict in _run_tests(path)]
    if as_json:
        rows = [{"file": str(path), **msgspec.to_builtins(verdict)} for path, verdict in verdicts]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        for path, verdict in verdicts:
            _print(path, verdict)
    failed = sum(not verdict.passed for _, verdict in verdicts)
    if failed:
        raise click.ClickException(f"{failed} of {len(verdicts)} tests failed")
    if not as_json:
        click.echo(f"{len(verdicts)} tests passed")


_TESTS = ".tests.yaml"


def _run_tests(path: Path) -> list[Verdict]:
    loaded = read_rule_set(path)
    tests = path.with_name(path.stem + _TESTS)
    try:
        source = tests.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read {tests}, the tests of {path.name}: {error}") from error
    try:
        return [judge(scenario, loaded) for scenario in read_scenarios(source, str(tests), loaded)]
    except RuleFileError as error:
        raise click.ClickException(str(error)) from error


def _print(path: Path, verdict: Verdict) -> None:
    click.echo(f"{'ok    ' if verdict.passed else 'FAILED'} {path.name}: {verdict.name}")
    for alert in verdict.missing:
        click.echo(f"       - expected {_describe(alert)}")
    for alert in verdict.unexpected:
        click.echo(f"       + raised   {_describe(alert)}")
    for rule, (wanted, found) in verdict.wrong_outcomes.items():
        click.echo(f"       - expected {rule} to be {wanted}; it is {found}")


def _describe(alert: Alert) -> str:
    told = msgspec.to_builtins(alert)
    rule = told.pop("rule")
    return " ".join([rule, *(f"{name}={value}" for name, value in told.items())])


@rules.command(
    "publish",
    epilog="""\b
Examples:
  qa-service rules publish my-rules.yaml
  qa-service rules publish my-rules.yaml --name "with retention offers" --by kim
Workers with QA_RULES_FROM=database take it up for new calls; calls in flight keep the rules they began with.
To go back, publish the earlier file again: `rules show HASH` prints it.""",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", help="What to call it. [default: the file's name]")
@by_option("publishes")
@AS_JSON
def publish_command(file: Path, *, name: str | None, by: str, as_json: bool) -> None:
    """Store a rule file as the newest version in the database, whole or not at all."""
    loaded = read_rule_set(file)
    version = ask(
        lambda database: publish(
            database, rule_set_hash=loaded.hash, source=loaded.source, name=name or file.name, by=by
        )
    )
    if as_json:
        click.echo(to_json(msgspec.structs.asdict(version)))
    else:
        click.echo(
            f"version {version.version}: {version.name}, hash {version.hash[:12]}, by {version.published_by}"
        )


@rules.command(
    "history",
    epilog="""\b
Examples:
  qa-service rules history
  qa-service rules history --json --limit 1""",
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@AS_JSON
def history_command(*, limit: int, as_json: bool) -> None:
    """List published rule sets, newest first: who, when, under which hash."""
    versions = ask(lambda database: read_history(database, limit))
    if as_json:
        click.echo(to_json([msgspec.structs.asdict(version) for version in versions]))
        return
    if not versions:
        click.echo("nothing was published yet")
    for version in versions:
        click.echo(
            f"{version.version:>4}  {version.activated_at:%Y-%m-%d %H:%M:%S} UTC  {version.hash[:12]}  "
            f"{version.published_by}  {version.name}"
        )


@rules.command(
    "show",
    epilog="""\b
Example:
  qa-service rules show c7c998b9f6eb > rules-of-last-week.yaml""",
)
@click.argument("rule_set_hash", metavar="HASH")
def show_command(rule_set_hash: str) -> None:
    """Print a stored rule set as it was written; HASH is its hash or the beginning of it."""
    _, source = ask(lambda database: read_source(database, rule_set_hash))
    click.echo(source, nl=not source.endswith("\n"))
