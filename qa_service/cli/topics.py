"""``qa-service alerts follow``, ``transcripts`` and ``partials``: what goes out, as it goes out."""

from __future__ import annotations

import json

import click

from qa_service.alerts.following import follow
from qa_service.cli.configuration import kafka_config
from qa_service.cli.running import configure_logging, run
from qa_service.settings import Settings

FROM_START = click.option("--from-start", is_flag=True, help="Begin with the oldest event still there.")
UNTIL_END = click.option("--until-end", is_flag=True, help="Stop at the newest event instead of waiting.")


def print_topic(name: str, *, from_start: bool, until_end: bool) -> None:
    """Print the events of a topic of the settings, one JSON object a line."""
    settings = Settings()
    configure_logging(settings)
    kafka, topic = kafka_config(settings), getattr(settings, f"{name}_topic")

    async def show() -> None:
        async for event in follow(kafka, topic, from_start=from_start, until_end=until_end):
            click.echo(json.dumps(event, ensure_ascii=False))

    run(show())


def _command(name: str, what: str) -> click.Command:
    @click.command(name, help=f"Print {what} as CloudEvents, one JSON object a line, until Ctrl-C.")
    @FROM_START
    @UNTIL_END
    def command(*, from_start: bool, until_end: bool) -> None:
        print_topic(name, from_start=from_start, until_end=until_end)

    return command


transcripts = _command("transcripts", "finished utterances")
partials = _command("partials", "partial results")
