"""The long-running parts: worker, relay, asr-server; and the probe that containers ask."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import structlog
from aiokafka import AIOKafkaProducer

from qa_service.alerts.partials import PartialsPublisher
from qa_service.alerts.relay import Relay, RelayTopics
from qa_service.asr.rate import SessionGate
from qa_service.asr.session import make_http_session
from qa_service.asr_server.config import ServerConfig
from qa_service.asr_server.network import Network
from qa_service.asr_server.server import serve
from qa_service.cli.configuration import (
    kafka_config,
    recogniser_endpoint,
    rule_set,
    scorecard,
    server_config,
    worker_options,
)
from qa_service.cli.keys import keys
from qa_service.cli.running import configure_logging, run, stop_event
from qa_service.cli.starting import Probes
from qa_service.domain.announcements import PartialData
from qa_service.kafka import (
    CONNECT_WITHIN_S,
    KafkaConfig,
    check_topic,
    gathering,
    leaders_answer,
    make_consumer,
    make_producer,
    start_with_retry,
    stop_within,
)
from qa_service.settings import Settings
from qa_service.storage.database import Database
from qa_service.storage.errors import StoreUnavailable
from qa_service.storage.figures import FigureKeeper
from qa_service.storage.outbox import SHARDS, PostgresOutbox
from qa_service.storage.rule_versions import read_newest
from qa_service.storage.scorecards import save_scorecard
from qa_service.storage.store import PostgresStore
from qa_service.testing.fault_file import read_fault_file
from qa_service.testing.faulty_network import FaultyNetwork
from qa_service.worker.consumer import Worker
from qa_service.worker.dead_letters import DeadLetters
from qa_service.worker.rule_book import RuleSets
from qa_service.worker.sessions import SessionPool

_log = structlog.get_logger(__name__)

_STORE_PAUSE_S = 1.0
"""Between two attempts at a database that is not there yet; each of them is patient itself."""


@click.command(
    epilog="""\b
Example:
  QA_KAFKA_BOOTSTRAP=kafka:9092 QA_DATABASE_URL=postgresql://qa@db/qa \\
  QA_ASR_URL=ws://asr:8000 qa-service worker"""
)
def worker() -> None:
    """Transcribe live calls and evaluate rules, as one member of the consumer group."""
    settings = Settings()
    configure_logging(settings)
    run(_until_stopped(run_worker, settings))


@click.command(
    epilog="""\b
Example:
  QA_KAFKA_BOOTSTRAP=kafka:9092 QA_DATABASE_URL=postgresql://qa@db/qa qa-service relay"""
)
def relay() -> None:
    """Publish alerts and transcripts from the outbox to their topics."""
    settings = Settings()
    configure_logging(settings)
    run(_until_stopped(run_relay, settings))


@click.group(
    "asr-server",
    invoke_without_command=True,
    epilog="""\b
Examples:
  qa-service asr-server --no-auth
  qa-service asr-server keys new
  QA_SERVER_API_KEYS='["sha256:…"]' qa-service asr-server --host 0.0.0.0 --port 8000
  qa-service asr-server --no-auth --engine scripted --faults faults.yaml""",
)
@click.option("--host", help="Address to listen on (QA_SERVER_HOST).")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on; 0: any free one (QA_SERVER_PORT)."
)
@click.option("--no-auth", is_flag=True, help="Take clients without an API key.")
@click.option("--engine", help="What recognises: whisper, scripted, or a package's (QA_SERVER_ENGINE).")
@click.option(
    "--faults",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Misbehave on purpose as this YAML file says, to try clients out (docs/faults.md).",
)
def asr_server(
    *, host: str | None, port: int | None, no_auth: bool, engine: str | None, faults: Path | None
) -> None:
    """Serve realtime recognition with the Qwen protocol on this machine's CPU."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    settings = Settings()
    configure_logging(settings)
    config = server_config(settings, host=host, port=port, no_auth=no_auth, engine=engine)
    network = FaultyNetwork(read_fault_file(faults)) if faults else None
    run(_run_asr_server(config, network))


asr_server.add_command(keys)


@click.command(
    epilog="""\b
Example:
  qa-service health --url http://127.0.0.1:9090/readyz"""
)
@click.option("--url", default=None, help="What to ask; default: /livez of this machine's QA_HEALTH_PORT.")
def health(*, url: str | None) -> None:
    """Ask a part for its health: exit 0 and its answer, or exit 1 and why not."""
    target = url or f"http://127.0.0.1:{Settings().health_port}/livez"
    if not target.startswith(("http://", "https://")):
        raise click.UsageError(f"--url {target}: must begin with http:// or https://")
    try:
        with urllib.request.urlopen(target, timeout=5) as answer:  # noqa: S310 - the scheme is checked above
            click.echo(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise click.ClickException(f"{target}: {error.code} {error.read().decode()}") from error
    except (urllib.error.URLError, OSError) as error:
        raise click.ClickException(f"{target}: {error}") from error


async def _until_stopped(
    part: Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]], settings: Settings
) -> None:
    await part(settings, stop_event())


async def _run_part(
    build: Callable[[Settings, contextlib.AsyncExitStack, Probes], Coroutine[Any, Any, Worker | Relay]],
    settings: Settings,
    stop: asyncio.Event,
    *checks: str,
) -> None:
    """Put a part together and run it until ``stop``; ``checks`` are the names of those it will have."""
    probes = Probes(*checks)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(probes.served(settings))
        part = await probes.await_start(build(settings, stack, probes), stop)
        if part is not None:
            probes.hand_over(part.checks(), part.heartbeat)
            await part.run(stop)


def _open_database(stack: contextlib.AsyncExitStack, settings: Settings) -> Database:
    database = Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool_size)
    stack.push_async_callback(database.close)
    return database


async def _start_producer(stack: contextlib.AsyncExitStack, kafka: KafkaConfig) -> AIOKafkaProducer:
    producer = await start_with_retry(lambda: make_producer(kafka), kafka)
    stack.push_async_callback(stop_within, producer)
    return producer


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Put a worker together and run it until ``stop``."""
    await _run_part(_build_worker, settings, stop, "kafka", "postgres", "recogniser", "partitions")
    _log.info("worker_stopped")


async def _build_worker(settings: Settings, stack: contextlib.AsyncExitStack, probes: Probes) -> Worker:
    current = rule_set(settings)
    endpoint = recogniser_endpoint(settings)
    kafka = kafka_config(settings)
    database = _open_database(stack, settings)
    figures = FigureKeeper(database)
    figures.start()
    stack.push_async_callback(figures.close)
    store = PostgresStore(database, figures=figures)
    card = scorecard(settings)
    rule_sets = RuleSets(current, store, card)
    probes.waiting_for = f"PostgreSQL at {database.where}"
    await _publish_patiently(rule_sets)
    if card is not None:
        await save_scorecard(database, card)
    if settings.rules_from == "database":
        await _follow_published(stack, rule_sets, database, settings.rules_poll_s)
    probes.waiting_for = f"Kafka at {kafka.bootstrap}"
    await check_topic(kafka, settings.audio_topic)
    producer = await _start_producer(stack, kafka)
    consumer = await start_with_retry(
        lambda: make_consumer(
            kafka,
            group=settings.consumer_group,
            group_instance_id=settings.group_instance_id,
            session_timeout_s=settings.session_timeout_s,
            **gathering(kafka),
        ),
        kafka,
    )
    stack.push_async_callback(stop_within, consumer)
    http = await stack.enter_async_context(make_http_session())
    sessions = SessionPool(http, endpoint, SessionGate(settings.asr_sessions_per_second))
    stack.push_async_callback(sessions.close)
    offer_partial = await _start_partials(stack, settings, kafka)
    _log.info("worker_started", rule_set=current.hash, recogniser=endpoint.address)
    return Worker(
        consumer,
        store=store,
        sessions=sessions,
        dead_letters=DeadLetters(producer, settings.dlq_topic),
        rule_sets=rule_sets,
        options=worker_options(settings),
        offer_partial=offer_partial,
        ask_brokers=lambda: leaders_answer(kafka, settings.audio_topic),
    )


async def _publish_patiently(rule_sets: RuleSets) -> None:
    """Store the rule set; a database that starts with us gets as long as a broker does."""
    deadline = time.monotonic() + CONNECT_WITHIN_S
    for attempt in itertools.count():
        try:
            await rule_sets.publish()
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise
            if attempt == 0:
                _log.warning("store_unavailable", error=str(error), trying_for_s=CONNECT_WITHIN_S)
            await asyncio.sleep(_STORE_PAUSE_S)
        else:
            return


async def _follow_published(
    stack: contextlib.AsyncExitStack, rule_sets: RuleSets, database: Database, every_s: float
) -> None:
    """Begin with the newest published rule set, and take up newer ones as they come."""

    async def newest() -> tuple[int, str, str] | None:
        found = await read_newest(database)
        return None if found is None else (found[0].version, found[0].hash, found[1])

    await rule_sets.renew(newest)
    following = asyncio.create_task(rule_sets.follow(newest, every_s), name="rule-sets")
    stack.callback(following.cancel)


async def _start_partials(
    stack: contextlib.AsyncExitStack, settings: Settings, kafka: KafkaConfig
) -> Callable[[PartialData], None]:
    """Where partials go: to their topic over a producer of their own, or nowhere."""
    if not settings.publish_partials:
        return lambda _partial: None
    producer = await _start_producer(stack, kafka)
    publisher = PartialsPublisher(producer, settings.partials_topic)
    running = asyncio.create_task(publisher.run(), name="partials")
    stack.callback(running.cancel)
    return publisher.offer


async def run_relay(settings: Settings, stop: asyncio.Event) -> None:
    """Put a relay together and run it until ``stop``."""
    await _run_part(_build_relay, settings, stop, "outbox", "kafka")
    _log.info("relay_stopped")


async def _build_relay(settings: Settings, stack: contextlib.AsyncExitStack, probes: Probes) -> Relay:
    kafka = kafka_config(settings)
    database = _open_database(stack, settings)
    outbox = PostgresOutbox(database)
    stack.push_async_callback(outbox.close)
    probes.waiting_for = f"Kafka at {kafka.bootstrap}"
    producer = await _start_producer(stack, kafka)
    topics = RelayTopics(alerts=settings.alerts_topic, transcripts=settings.transcripts_topic)
    _log.info("relay_started")
    return Relay(outbox, producer, topics, shards=range(SHARDS))


async def _run_asr_server(config: ServerConfig, network: Network | None) -> None:
    stop = stop_event()
    async with await serve(config, network=network) as server:
        stopped = asyncio.create_task(stop.wait())
        ready = asyncio.create_task(server.wait_ready())
        await asyncio.wait([stopped, ready], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()  # a model that cannot be had is the end, with its message
            await stopped
        ready.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ready
