"""``qa-service model``: the model files of the asr-server."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from qa_service.cli.configuration import cache_dir
from qa_service.models import (
    CATALOGUE,
    Result,
    State,
    ensure_named,
    model_names,
    verify_named,
)
from qa_service.settings import Settings

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")


@click.group()
def model() -> None:
    """Fetch and verify model files (speech recognition, voice activity, emotion)."""


@model.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json
def fetch(names: tuple[str, ...], *, as_json: bool) -> None:
    """Fetch what is missing and check all digests; safe to run twice, and twice at once.

    NAME is a model that `verify` lists, a size of Whisper (small, large-v3, ...) or a faster-whisper model of
    the Hugging Face hub, as owner/name or owner/name@revision. Without a name, all that the server needs.
    """
    folder = cache_dir(Settings())
    for name in names or CATALOGUE:
        ensure_named(name, folder, lambda line: click.echo(line, err=True))
    results = [verify_named(name, folder) for name in names or CATALOGUE]
    _show(results, as_json=as_json)


@model.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_json
def verify(names: tuple[str, ...], *, as_json: bool) -> None:
    """Check the files on this machine against their digests; exit 1 if any is missing or damaged.

    Without a NAME, those of all that the server needs, and all others that were fetched.
    """
    folder = cache_dir(Settings())
    results = [verify_named(name, folder) for name in names or model_names(folder)]
    _show(results, as_json=as_json)
    if bad := [result.name for result in results if result.state is not State.OK]:
        remedy = " ".join(["qa-service model fetch", *(name for name in bad if name not in CATALOGUE)])
        raise click.ClickException(f"some model files are missing or damaged: run `{remedy}`")


def _show(results: Sequence[Result], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": r.name, "state": r.state.value, "path": str(r.path), "detail": r.detail} for r in results
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for result in results:
        click.echo(f"{result.state.value:8} {result.name:22} {result.detail}")
