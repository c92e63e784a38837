"""``qa-service rules library``: rules to begin with, to be listed and copied."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from itertools import groupby
from operator import itemgetter
from typing import Any

import click

from qa_service.rules.library import THEMES, LibraryRule, choose, excerpt, excerpt_tests, read_library


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  qa-service rules library
  qa-service rules library list retention --json
  qa-service rules library show cancellation-request dead-air > my-rules.yaml""",
)
@click.pass_context
def library(context: click.Context) -> None:
    """Rules to begin with: list them, and copy those you want into a file of your own."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@library.command(
    "list",
    epilog="""\b
Examples:
  qa-service rules library list
  qa-service rules library list retention conduct --json""",
)
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def list_(names: tuple[str, ...], *, as_json: bool) -> None:
    """List the library's rules, or those of the given NAMES: rules or themes."""
    rows = [_describe(each) for each in _choose(names)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for theme, group in groupby(rows, key=itemgetter("theme")):
        click.echo(theme)
        for row in group:
            languages = " ".join(row["languages"]) or "any"
            click.echo(f"  {row['id']:36}{row['severity']:10}{languages:13}{row['description']}")


@library.command(
    epilog="""\b
Examples:
  qa-service rules library show dead-air
  qa-service rules library show retention supervisor-asked-for > my-rules.yaml
  qa-service rules library show retention supervisor-asked-for --tests > my-rules.tests.yaml
  qa-service rules library show > all-rules.yaml"""
)
@click.argument("names", nargs=-1)
@click.option("--tests", is_flag=True, help="Print the tests of these rules in place of the rules.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, each rule as files of its own.")
def show(names: tuple[str, ...], *, tests: bool, as_json: bool) -> None:
    """Print a complete rule file of the NAMES, rules or themes, or of all, with the lists they use."""
    chosen = _choose(names)
    if as_json:
        rows = [
            {**_describe(each), "source": excerpt((each.rule.id,)), "tests": excerpt_tests((each.rule.id,))}
            for each in chosen
        ]
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        click.echo((excerpt_tests if tests else excerpt)(names or THEMES), nl=False)


def _choose(names: Collection[str]) -> tuple[LibraryRule, ...]:
    try:
        return choose(names or THEMES)
    except KeyError as error:
        name = str(error.args[0])
    known = [*THEMES, *(each.rule.id for each in read_library())]
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "see: qa-service rules library"
    raise click.UsageError(f"{name!r} is neither a rule of the library nor a theme; {hint}")


def _describe(each: LibraryRule) -> dict[str, Any]:
    rule = each.rule
    return {
        "theme": each.theme,
        "id": rule.id,
        "version": rule.version,
        "severity": rule.severity,
        "audience": rule.audience,
        "languages": list(each.languages),
        "description": rule.description,
    }
