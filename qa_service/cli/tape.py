"""``qa-service tape``: a call's records as a file, played again offline."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import sqlalchemy as sa
from rich.console import Console
from rich.progress import Progress

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr_server.server import serve
from qa_service.cli.configuration import (
    kafka_config,
    read_rule_set,
    recogniser_endpoint,
    rule_set,
    server_config,
    worker_options,
)
from qa_service.cli.running import configure_logging, run
from qa_service.settings import Settings
from qa_service.storage import tables
from qa_service.storage.database import Database
from qa_service.storage.store import PostgresStore
from qa_service.tape.comparing import describe_entry, describe_incident, find_differences
from qa_service.tape.playing import Outcome, play_tape
from qa_service.tape.recording import CallNotFound, Wanted, record_call
from qa_service.tape.tapes import Tape, read_tape, write_tape

_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


@click.group(
    epilog="""\b
Examples:
  qa-service tape record call-4711 -o call.tape
  qa-service tape play call.tape --engine whisper
A tape holds the call's raw audio, card numbers included: keep it as you would keep the recording."""
)
def tape() -> None:
    """Keep a call's records in a file, and play it offline through the whole chain."""


@tape.command(
    epilog="""\b
Examples:
  qa-service tape record call-4711 -o call.tape
  qa-service tape record call-4711 --since 2h -o call.tape      looks at two hours only
The file holds raw audio, card numbers included, and only its owner may read it."""
)
@click.argument("call")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The tape to make."
)
@click.option("--topic", help="Where the call is (QA_AUDIO_TOPIC).")
@click.option("--partition", type=click.IntRange(0), help="Look at this partition only.")
@click.option("--since", metavar="TIME", help="How far back to look: 30m, 2h, 1d. [default: all there is]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def record(
    *, call: str, output: Path, topic: str | None, partition: int | None, since: str | None, as_json: bool
) -> None:
    """Read a call's records from the audio topic into a file; no consumer group is touched."""
    settings = _settings()
    wanted = Wanted(
        topic=topic or settings.audio_topic,
        call_id=call,
        partition=partition,
        since_ms=None if since is None else _parse_since(since),
    )
    with _progress("records looked at") as tell:
        recorded = run(record_call(kafka_config(settings), wanted, tell))
    write_tape(output, recorded.label, recorded.records)
    click.echo(_describe(recorded, output, as_json=as_json))


@tape.command(
    epilog="""\b
Examples:
  qa-service tape play call.tape --engine whisper > before.jsonl
  qa-service tape play call.tape --engine whisper --expect before.jsonl
  QA_ASR_URL=ws://asr:8000 qa-service tape play call.tape --stored
Left out of comparisons: how quiet was cut into steps, and what depends on when results came in."""
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--engine",
    help="Recognise in this process: whisper, scripted, or a package's. [default: the recogniser of "
    "QA_ASR_URL, else QA_SERVER_ENGINE here]",
)
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Rule file (QA_RULES_FILE).",
)
@click.option(
    "--expect",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Output of an earlier play: exit with 1 if this one differs.",
)
@click.option("--stored", is_flag=True, help="Compare with what is stored in QA_DATABASE_URL instead.")
def play(
    *, file: Path, engine: str | None, rules_file: Path | None, expect: Path | None, stored: bool
) -> None:
    """Play a tape through core, recogniser, rules and a store in memory.

    Log entries and incidents come out as JSON lines. With --expect or --stored the differences come out
    instead, and there being any is exit code 1.
    """
    settings = _settings()
    if expect is not None and stored:
        raise click.UsageError("--expect and --stored both say what to compare with: give one of them")
    recording = read_tape(file)
    rules = rule_set(settings) if rules_file is None else read_rule_set(rules_file)
    policy = worker_options(settings).calls

    async def play_with_recogniser() -> Outcome:
        async with _recogniser(settings, engine) as endpoint:
            with _progress("records played") as tell:
                return await play_tape(recording, endpoint, rules, policy, tell=tell)

    found = _lines(run(play_with_recogniser()))
    if expect is not None:
        _compare(_read_lines(expect), found)
    elif stored:
        _compare(_lines(run(_read_stored(settings, recording.label.call_id))), found)
    else:
        for line in found:
            click.echo(json.dumps(line, ensure_ascii=False))


def _settings() -> Settings:
    """The settings; what goes as it should is not told beside the results."""
    settings = Settings()
    is_usual = settings.log_level == "info"
    configure_logging(settings.model_copy(update={"log_level": "warning"}) if is_usual else settings)
    return settings


@contextlib.asynccontextmanager
async def _recogniser(settings: Settings, engine: str | None) -> AsyncIterator[RecogniserEndpoint]:
    """The recogniser that is configured, or one in this process; never the cloud unless it is named."""
    if engine is None and settings.asr_url is not None:
        yield recogniser_endpoint(settings)
        return
    config = server_config(settings, host="127.0.0.1", port=0, no_auth=True, engine=engine)
    # Nobody else is served, and what is learnt of one call is not to be kept.
    alone = replace(config, api_keys=(), api_keys_file=None, tls=None, state_dir=None, max_final_delay_s=None)
    async with await serve(alone) as server:
        await server.wait_ready()
        yield RecogniserEndpoint(server.url)


async def _read_stored(settings: Settings, call_id: str) -> Outcome:
    database = Database(settings.database_url.get_secret_value())
    try:
        call = await PostgresStore(database).load_call(call_id)
        chosen = sa.select(tables.incident).where(tables.incident.c.call_id == call_id)
        async with database.transaction() as connection:
            incidents = [dict(row) for row in (await connection.execute(chosen)).mappings()]
    finally:
        await database.close()
    if call is None:
        raise CallNotFound(f"call {call_id!r} is not stored in {database.where}; check QA_DATABASE_URL")
    return Outcome(call.entries, tuple(incidents))


def _lines(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        *({"entry": describe_entry(entry)} for entry in outcome.entries),
        *({"incident": describe_incident(row)} for row in outcome.incidents),
    ]


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (UnicodeDecodeError, ValueError) as error:
        raise click.ClickException(
            f"{path} does not hold JSON lines: {error}; give the output of `qa-service tape play`"
        ) from error


def _compare(expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> None:
    differences = list(find_differences(expected, found))
    for difference in differences:
        click.echo(difference)
    if differences:
        sys.exit(1)
    click.echo("no difference", err=True)


def _describe(recorded: Tape, output: Path, *, as_json: bool) -> str:
    label, records = recorded.label, recorded.records
    if as_json:
        report = {
            "file": str(output),
            "call_id": label.call_id,
            "topic": label.topic,
            "partition": label.partition,
            "first_offset": records[0].offset,
            "last_offset": records[-1].offset,
            "records": len(records),
        }
        return json.dumps(report, indent=2)
    return (
        f"{len(records)} records of {label.call_id} (partition {label.partition}, offsets "
        f"{records[0].offset} to {records[-1].offset}) are in {output}; it holds raw audio"
    )


def _parse_since(text: str) -> int:
    """Unix ms of so long ago."""
    number, unit = text[:-1], text[-1:]
    if unit not in _SECONDS or not number.isdigit():
        raise click.BadParameter(f"{text!r} is not like 30m, 2h or 1d", param_hint="--since")
    return int((time.time() - int(number) * _SECONDS[unit]) * 1000)


@contextlib.contextmanager
def _progress(what: str) -> Iterator[Any]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)
