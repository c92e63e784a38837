"""Everything around the worker: broker, database, recogniser, load, relay; and workers, started when wanted.

The worker is the command that a deployment runs, on the first core this process may use; all else is on the
others, if there are any.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import asyncpg
import sqlalchemy as sa

from qa_service.bench.listening import BenchError
from qa_service.bench.path.accounting import pin
from qa_service.bench.path.floor import FloorPlan, run_floor
from qa_service.bench.path.helper import Helper, running_helper
from qa_service.bench.path.load import generate
from qa_service.bench.path.recogniser import ALERT_PHRASE, RecogniserPlan, recognise
from qa_service.embedded import EmbeddedBroker, EmbeddedKafka, EmbeddedPostgres
from qa_service.embedded.child import Child, await_ready, free_port, start_child
from qa_service.embedded.kafka import KAFKA_VERSION, has_java
from qa_service.kafka import KafkaConfig, ensure_topics, started_admin
from qa_service.rules.ruleset import default_rule_set
from qa_service.settings import Settings
from qa_service.storage.migrate import upgrade

PARTITIONS: Final = 8
"""Of the audio topic: some per worker, as in a cluster that is to grow."""
_READY_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 20.0
_EMBEDDED_FETCH_WAIT_MS: Final = 100  # Tansu answers late, see demo.stack
_RULE: Final = f"""
  - id: bench-alert
    version: 1
    severity: low
    description: The recogniser of the bench asked for an alert.
    when:
      said: {{leg: any, any_of: ["{ALERT_PHRASE}"]}}
    incident: {{close_after: 1s, cooldown: 0s}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RigPlan:
    """What is set up."""

    cache_dir: Path
    partitions: int = PARTITIONS
    tls: bool = False
    extensions: bool = True
    existing_kafka: KafkaConfig | None = None


@dataclass(slots=True, kw_only=True)
class RunningWorker:
    """A worker under measurement."""

    child: Child
    port: int

    @property
    def pid(self) -> int:
        """Of the process itself: what starts it becomes it."""
        return self.child.process.pid


class Rig:
    """The parts, running."""

    def __init__(
        self,
        plan: RigPlan,
        *,
        kafka: KafkaConfig,
        broker: str,
        database_url: str,
        environment: Mapping[str, str],
        folder: Path,
        load: Helper,
        recogniser: Helper,
        floor: Helper,
        relay: Child,
    ) -> None:
        self.plan = plan
        self.kafka = kafka
        self.broker = broker
        self._database_url = database_url
        self.load = load
        self.recogniser = recogniser
        self.floor = floor
        self.relay = relay
        self.alerts_topic = environment["QA_ALERTS_TOPIC"]
        self._environment = environment
        self._folder = folder
        self._topics: list[str] = []

    async def make_topic(self) -> str:
        """An audio topic that nothing was ever sent to."""
        topic = f"{self._environment['QA_CONSUMER_GROUP']}.audio{len(self._topics)}"
        await ensure_topics(self.kafka, [topic], self.plan.partitions)
        self._topics.append(topic)
        return topic

    async def make_database(self) -> str:
        """The URL of another database on the same server, migrated, empty: the relay does not read there."""
        url = sa.make_url(self._database_url)
        connection = await asyncpg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False)
        )
        try:
            await connection.execute(f'CREATE DATABASE "{_WRITES_DATABASE}"')
        finally:
            await connection.close()
        made = url.set(database=_WRITES_DATABASE).render_as_string(hide_password=False)
        await upgrade(made)
        return made

    @contextlib.asynccontextmanager
    async def running_worker(self, topic: str, profile: Path | None = None) -> AsyncIterator[RunningWorker]:
        """A worker that reads ``topic`` from its beginning, once it is ready."""
        port = free_port()
        module = ["qa_service"] if profile is None else ["qa_service.bench.path.sampling", str(profile)]
        child = start_child(
            [sys.executable, "-m", *module, "worker"],
            name="worker",
            log_file=self._folder / f"worker-{topic}.log",
            stop_signal=signal.SIGTERM,
            environment={**self._environment, "QA_AUDIO_TOPIC": topic, "QA_HEALTH_PORT": str(port)},
        )
        try:
            pin(child.process.pid, worker_cores())
            await _await_ready(child, port)
            yield RunningWorker(child=child, port=port)
        finally:
            await asyncio.to_thread(child.stop, _STOP_WITHIN_S)

    async def remove_topics(self, say: Callable[[str], None]) -> None:
        """Remove what was made on a broker that is not ours."""
        topics = [*self._topics, *(self._environment[name] for name in _TOPICS)]
        async with started_admin(self.kafka) as admin:
            response: Any = await admin.delete_topics(topics)
        for name, code in response.topic_error_codes:
            if code:
                say(f"topic {name} was not removed (error {code}); remove it yourself")


_WRITES_DATABASE: Final = "qa_bench_writes"
_TOPICS: Final = ("QA_DLQ_TOPIC", "QA_ALERTS_TOPIC", "QA_TRANSCRIPTS_TOPIC", "QA_PARTIALS_TOPIC")


@contextlib.asynccontextmanager
async def running_rig(plan: RigPlan, say: Callable[[str], None]) -> AsyncIterator[Rig]:
    """Bring everything up but the worker; raises the parts' own errors."""
    async with contextlib.AsyncExitStack() as parts:
        pin(0, other_cores())
        parts.callback(pin, 0, set(_cores()))
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="qa-bench-path-")))
        say("PostgreSQL and Kafka")
        postgres = await parts.enter_async_context(EmbeddedPostgres(plan.cache_dir, report=say))
        kafka, broker = await _start_broker(parts, plan, say)
        await upgrade(postgres.url)
        run = f"qa-bench-{uuid.uuid4().hex[:8]}"
        asr = RecogniserPlan(free_port(), plan.extensions)
        environment = _environment(run, kafka, postgres.dsn, f"ws://127.0.0.1:{asr.port}", folder)
        if plan.tls:
            cert, key = make_certificate(folder)
            asr = RecogniserPlan(asr.port, plan.extensions, cert, key)
            environment |= {"QA_ASR_URL": f"wss://127.0.0.1:{asr.port}", "SSL_CERT_FILE": str(cert)}
        await ensure_topics(kafka, [environment[name] for name in _TOPICS], 1)
        say("recogniser, load and relay")
        floor_plan = FloorPlan(kafka, environment["QA_ASR_URL"], environment.get("SSL_CERT_FILE"))
        recogniser = await parts.enter_async_context(running_helper("recogniser", recognise, asr))
        load = await parts.enter_async_context(running_helper("load generator", generate, kafka))
        floor = await parts.enter_async_context(running_helper("floor", run_floor, floor_plan))
        pin(floor.pid, worker_cores())
        port = free_port()
        relay = start_child(
            [sys.executable, "-m", "qa_service", "relay"],
            name="relay",
            log_file=folder / "relay.log",
            stop_signal=signal.SIGTERM,
            environment=environment | {"QA_HEALTH_PORT": str(port)},
        )
        parts.callback(relay.stop, _STOP_WITHIN_S)
        await _await_ready(relay, port)
        rig = Rig(
            plan,
            kafka=kafka,
            broker=broker,
            database_url=postgres.url,
            environment=environment,
            folder=folder,
            load=load,
            recogniser=recogniser,
            floor=floor,
            relay=relay,
        )
        try:
            yield rig
        finally:
            if plan.existing_kafka is not None:
                await rig.remove_topics(say)


def worker_cores() -> set[int]:
    """Where worker and floor run: one core."""
    return set(_cores()[:1])


@contextlib.contextmanager
def on_the_workers_core() -> Iterator[None]:
    """A block in which this process runs where a worker does, beside the database and not in its way."""
    pin(0, worker_cores())
    try:
        yield
    finally:
        pin(0, other_cores())


def other_cores() -> set[int]:
    """Where everything else runs: the other cores, or the same one if there is no other."""
    return set(_cores()[1:] or _cores())


_ALL_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def _cores() -> list[int]:
    return _ALL_CORES


async def _start_broker(
    parts: contextlib.AsyncExitStack, plan: RigPlan, say: Callable[[str], None]
) -> tuple[KafkaConfig, str]:
    if plan.existing_kafka is not None:
        return plan.existing_kafka, f"Kafka at {plan.existing_kafka.bootstrap}"
    if await asyncio.to_thread(has_java, plan.cache_dir):
        kafka = await parts.enter_async_context(EmbeddedKafka(plan.cache_dir, report=say))
        return KafkaConfig(
            bootstrap=kafka.bootstrap, gather_ms=Settings().kafka_gather_ms
        ), f"Apache Kafka {KAFKA_VERSION}"
    say("no Java 17 with Maven here: Tansu stands in for Kafka, whose fetches are slower and dearer")
    broker = await parts.enter_async_context(EmbeddedBroker(plan.cache_dir, report=say))
    return (
        KafkaConfig(bootstrap=broker.bootstrap, idempotence=False, fetch_wait_ms=_EMBEDDED_FETCH_WAIT_MS),
        "Tansu 0.6 (embedded; not Apache Kafka)",
    )


def _environment(run: str, kafka: KafkaConfig, dsn: str, asr_url: str, folder: Path) -> dict[str, str]:
    rules = folder / "rules.yaml"
    rules.write_text(default_rule_set().source.rstrip() + "\n" + _RULE, encoding="utf-8")
    secrets = {
        "QA_KAFKA_USERNAME": kafka.username,
        "QA_KAFKA_PASSWORD": kafka.password,
        "QA_KAFKA_CA_FILE": kafka.ca_file,
        "QA_KAFKA_CERT_FILE": kafka.cert_file,
        "QA_KAFKA_KEY_FILE": kafka.key_file,
    }
    return {
        **os.environ,
        "QA_DATABASE_URL": dsn,
        "QA_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "QA_KAFKA_SECURITY_PROTOCOL": kafka.security_protocol,
        "QA_KAFKA_SASL_MECHANISM": kafka.sasl_mechanism,
        "QA_KAFKA_IDEMPOTENCE": str(kafka.idempotence).lower(),
        "QA_KAFKA_FETCH_WAIT_MS": str(kafka.fetch_wait_ms),
        "QA_KAFKA_GATHER_MS": os.environ.get("QA_KAFKA_GATHER_MS", str(kafka.gather_ms)),
        **{name: str(value) for name, value in secrets.items() if value is not None},
        "QA_CONSUMER_GROUP": run,
        **{name: f"{run}.{name.split('_')[1].lower()}" for name in _TOPICS},
        "QA_ASR_URL": asr_url,
        "QA_ASR_SESSIONS_PER_SECOND": "1000",
        "QA_MAX_LEGS": "100000",
        "QA_START_FROM": "earliest",
        "QA_RULES_FILE": str(rules),
        "QA_SHUTDOWN_GRACE_S": "1",
        "QA_HEALTH_HOST": "127.0.0.1",
        "QA_LOG_LEVEL": "warning",
        "QA_LOG_FORMAT": "json",
    }


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key, by the openssl program."""
    cert, key = folder / "asr.pem", folder / "asr.key"
    openssl = shutil.which("openssl")
    if openssl is None:
        raise BenchError("--tls needs the openssl program, to make a certificate; install it")
    done = subprocess.run(  # noqa: S603 - an argument list of ours
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(cert), "-days", "2", "-subj", "/CN=qa-bench"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BenchError(f"openssl made no certificate: {done.stderr.strip().splitlines()[-1]}")
    return cert, key


async def _await_ready(child: Child, port: int) -> None:
    async with aiohttp.ClientSession() as http:

        async def is_ready() -> bool:
            try:
                async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    return answer.status == 200  # noqa: PLR2004 - an HTTP status names itself
            except aiohttp.ClientError:
                return False

        await await_ready(child, is_ready, within_s=_READY_WITHIN_S, waiting_for="to be ready")
