"""``qa-service rules``: rule files before they are deployed."""

from __future__ import annotations

import json
from pathlib import Path

import click

from qa_service.cli.configuration import read_rule_set, rule_set
from qa_service.settings import Settings


@click.group()
def rules() -> None:
    """Check rule files."""


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
