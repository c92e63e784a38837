"""Every part of the service, started here: database, broker, recogniser, worker, relay.

Database and broker are embedded, unless a broker is given; the other three are the very commands that a
deployment runs, as processes of their own, so that what is shown is what would be deployed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from qa_service.embedded import EmbeddedBroker, EmbeddedPostgres
from qa_service.embedded.child import Child, await_ready, free_port, start_child
from qa_service.kafka import KafkaConfig, ensure_topics
from qa_service.models import fetch_all
from qa_service.settings import Settings
from qa_service.storage.migrate import upgrade

PARTITIONS = 2
EMBEDDED_FETCH_WAIT_MS = 100
"""The embedded broker answers a fetch late: it looks for new records now and then while the wait passes. With
the usual 500 ms, live frames came 150 ms late in the median (314 at p95), with this 36 ms (65). Each look
costs it more the longer its log is, so a shorter wait is bought with processor time: after a minute of eight
legs, 5 % of a core with 500 ms, 10 % with 100, 21 % with 20."""
READY_WITHIN_S = 120.0
"""For a part to report itself ready; the model loads in a few seconds even on a laden machine."""
STOP_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where the running parts are."""

    kafka: KafkaConfig
    database_url: str
    asr_url: str
    environment: Mapping[str, str]
    """The settings by which any command of this package finds them."""
    log_dir: Path


@contextlib.asynccontextmanager
async def running_stack(
    settings: Settings,
    cache_dir: Path,
    report: Callable[[str], None],
    *,
    existing_kafka: KafkaConfig | None = None,
) -> AsyncIterator[Stack]:
    """Bring everything up, and down again in the right order; raises the parts' own errors.

    ``existing_kafka``, the one of the settings, takes the place of the embedded broker; topics that it lacks
    are created.
    """
    report("model files, checked by digest")
    await asyncio.to_thread(fetch_all, cache_dir, report)
    async with contextlib.AsyncExitStack() as parts:
        report("PostgreSQL" if existing_kafka else "PostgreSQL and Kafka-protocol broker")
        log_dir = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="qa-demo-")))
        postgres = await parts.enter_async_context(EmbeddedPostgres(cache_dir, report=report))
        if existing_kafka is None:
            kafka = await parts.enter_async_context(_embedded_kafka(cache_dir, report))
        else:
            kafka = existing_kafka
        await upgrade(postgres.url)
        await ensure_topics(kafka, [settings.audio_topic], PARTITIONS)
        await ensure_topics(
            kafka,
            [settings.dlq_topic, settings.alerts_topic, settings.transcripts_topic, settings.partials_topic],
            1,
        )
        report("asr-server, worker and relay")
        asr_port = free_port()
        asr_url = f"ws://127.0.0.1:{asr_port}"
        environment = _addresses(settings, postgres.dsn, kafka, asr_url)
        launcher = _Launcher(log_dir, os.environ | environment | _conduct(settings, cache_dir))
        starting = [
            launcher.start(
                "asr-server", asr_port, "--host", "127.0.0.1", "--port", str(asr_port), "--no-auth"
            ),
            launcher.start("worker", free_port()),
            launcher.start("relay", free_port()),
        ]
        for child, _ in starting:
            parts.callback(child.stop, STOP_WITHIN_S)
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(_await_readyz(http, child, port) for child, port in starting))
        yield Stack(
            kafka=kafka,
            database_url=postgres.url,
            asr_url=asr_url,
            environment=environment,
            log_dir=log_dir,
        )


@contextlib.asynccontextmanager
async def _embedded_kafka(cache_dir: Path, report: Callable[[str], None]) -> AsyncIterator[KafkaConfig]:
    async with EmbeddedBroker(cache_dir, report=report) as broker:
        yield KafkaConfig(
            bootstrap=broker.bootstrap,
            idempotence=False,  # which it cannot
            fetch_wait_ms=EMBEDDED_FETCH_WAIT_MS,
        )


def _addresses(settings: Settings, dsn: str, kafka: KafkaConfig, asr_url: str) -> dict[str, str]:
    return {
        "QA_DATABASE_URL": dsn,
        "QA_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "QA_KAFKA_SECURITY_PROTOCOL": kafka.security_protocol,
        "QA_KAFKA_IDEMPOTENCE": str(kafka.idempotence).lower(),
        "QA_KAFKA_FETCH_WAIT_MS": str(kafka.fetch_wait_ms),
        "QA_KAFKA_GATHER_MS": str(kafka.gather_ms),
        "QA_AUDIO_TOPIC": settings.audio_topic,
        "QA_DLQ_TOPIC": settings.dlq_topic,
        "QA_ALERTS_TOPIC": settings.alerts_topic,
        "QA_TRANSCRIPTS_TOPIC": settings.transcripts_topic,
        "QA_PARTIALS_TOPIC": settings.partials_topic,
        "QA_ASR_URL": asr_url,
    }


def _conduct(settings: Settings, cache_dir: Path) -> dict[str, str]:
    return {
        "QA_CONSUMER_GROUP": settings.consumer_group,
        "QA_START_FROM": "earliest",
        "QA_CACHE_DIR": str(cache_dir),
        "QA_HEALTH_HOST": "127.0.0.1",
        "QA_SERVER_STATE_DIR": "off",
        # There is no other server that a refused leg could go to: on a slow machine it had better wait.
        "QA_SERVER_MAX_FINAL_DELAY_S": "0",
        "QA_LOG_FORMAT": "json",
    }


class _Launcher:
    """Starts this package's commands with the demo's settings."""

    def __init__(self, log_dir: Path, environment: dict[str, str]) -> None:
        self._log_dir = log_dir
        self._environment = environment

    def start(self, command: str, port: int, *options: str) -> tuple[Child, int]:
        """Start a part whose health is served on ``port``."""
        child = start_child(
            [sys.executable, "-m", "qa_service", command, *options],
            name=command,
            log_file=self._log_dir / f"{command}.log",
            stop_signal=signal.SIGTERM,
            environment=self._environment | {"QA_HEALTH_PORT": str(port)},
        )
        return child, port


async def _await_readyz(http: aiohttp.ClientSession, child: Child, port: int) -> None:
    async def is_ready() -> bool:
        try:
            async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status == 200  # noqa: PLR2004 - an HTTP status names itself
        except aiohttp.ClientError:
            return False

    await await_ready(child, is_ready, within_s=READY_WITHIN_S, waiting_for="to be ready")
