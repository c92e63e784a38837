"""``qa-service model``: the model files of the asr-server."""

from __future__ import annotations

import json

import click

from qa_service.cli.configuration import cache_dir
from qa_service.models import State, fetch_all, verify_all
from qa_service.settings import Settings


@click.group()
def model() -> None:
    """Fetch and verify model files (speech recognition, voice activity, emotion)."""


@model.command()
def fetch() -> None:
    """Fetch what is missing and check all digests; safe to run twice, and twice at once."""
    fetch_all(cache_dir(Settings()), lambda line: click.echo(line, err=True))


@model.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def verify(*, as_json: bool) -> None:
    """Check the files on this machine against their digests; exit 1 if any is missing or damaged."""
    results = verify_all(cache_dir(Settings()))
    if as_json:
        rows = [
            {"name": r.name, "state": r.state.value, "path": str(r.path), "detail": r.detail} for r in results
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        for result in results:
            click.echo(f"{result.state.value:8} {result.name:22} {result.detail}")
    if any(result.state is not State.OK for result in results):
        raise click.ClickException("some model files are missing or damaged: run `qa-service model fetch`")
