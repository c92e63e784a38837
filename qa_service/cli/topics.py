"""``qa-service alerts``, ``transcripts`` and ``partials``: what goes out, as it goes out."""

from __future__ import annotations

import json

import click

from qa_service.alerts.following import follow
from qa_service.cli.configuration import kafka_config
from qa_service.cli.running import configure_logging, run
from qa_service.kafka import KafkaConfig
from qa_service.settings import Settings

_FROM_START = click.option("--from-start", is_flag=True, help="Begin with the oldest event still there.")
_UNTIL_END = click.option("--until-end", is_flag=True, help="Stop at the newest event instead of waiting.")


def _print_topic(topic: str, kafka: KafkaConfig, *, from_start: bool, until_end: bool) -> None:
    async def show() -> None:
        async for event in follow(kafka, topic, from_start=from_start, until_end=until_end):
            click.echo(json.dumps(event, ensure_ascii=False))

    run(show())


def _command(name: str, what: str) -> click.Command:
    @click.command(name, help=f"Print {what} as CloudEvents, one JSON object a line, until Ctrl-C.")
    @_FROM_START
    @_UNTIL_END
    def command(*, from_start: bool, until_end: bool) -> None:
        settings = Settings()
        configure_logging(settings)
        topic = getattr(settings, f"{name}_topic")
        _print_topic(topic, kafka_config(settings), from_start=from_start, until_end=until_end)

    return command


alerts = _command("alerts", "incidents as they are opened, updated and closed,")
transcripts = _command("transcripts", "finished utterances")
partials = _command("partials", "partial results")
