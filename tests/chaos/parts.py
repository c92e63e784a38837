"""The parts of a deployment, each a process that may be killed, frozen and started again.

Broker and database are our own, and keep their ports and their data over restarts. Workers, relay and
recogniser reach each other only through links that can be cut, stalled and slowed down; what plays the calls
and judges the outcome has ways of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from qa_service.embedded import EmbeddedPostgres
from qa_service.embedded.child import Child, await_ready, free_port, start_child
from qa_service.embedded.kafka import KafkaNode, await_node
from qa_service.kafka import KafkaConfig, ensure_topics
from qa_service.storage.migrate import upgrade
from tests.support.kafka import start_node
from tests.support.links import Link, linked, place_of, through

ROOT = Path(__file__).parents[2]
LOCAL = "127.0.0.1"
READY_WITHIN_S = 90.0
STOP_WITHIN_S = 20.0
SESSION_TIMEOUT_S = 10.0
"""QA_SESSION_TIMEOUT_S, as it is by default: so long the group waits for a member that is gone."""


@dataclass
class Program:
    """One of our commands; ``health`` is the port of its probes."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    home: Path
    health: int
    child: Child | None = None
    starts: int = 0
    is_frozen: bool = False

    def start(self) -> None:
        self.starts += 1
        self.is_frozen = False
        self.child = start_child(
            [sys.executable, "-m", *self.command],
            name=self.name,
            log_file=self.home / f"{self.name}-{self.starts}.log",
            stop_signal=signal.SIGTERM,
            environment=os.environ | self.environment | {"QA_HEALTH_PORT": str(self.health)},
        )

    @property
    def is_running(self) -> bool:
        return self.child is not None and self.child.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.process.pid

    def kill(self) -> None:
        """End it without a farewell."""
        assert self.child is not None
        self.child.process.kill()
        self.child.process.wait()
        self.is_frozen = False

    async def stop(self) -> None:
        """Ask it to end, and see that it does."""
        assert self.child is not None
        await asyncio.to_thread(self.child.stop, STOP_WITHIN_S)

    def freeze(self) -> None:
        assert self.child is not None
        self.child.process.send_signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        assert self.child is not None
        self.child.process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    async def await_ready(self) -> None:
        assert self.child is not None
        async with aiohttp.ClientSession() as http:

            async def is_ready() -> bool:
                try:
                    async with http.get(f"http://{LOCAL}:{self.health}/readyz") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await await_ready(self.child, is_ready, within_s=READY_WITHIN_S, waiting_for="to be ready")

    def close(self) -> None:
        if self.is_running:
            self.thaw()
            self.kill()


class Broker:
    """Apache Kafka; its log outlives it."""

    def __init__(self, node: KafkaNode, cache_dir: Path) -> None:
        self.node = node
        self._cache_dir = cache_dir
        self._child: Child | None = None

    async def start(self) -> None:
        self._child = start_node(self.node, self._cache_dir)
        await await_node(self.node, self._child)

    async def stop(self) -> None:
        assert self._child is not None
        await asyncio.to_thread(self._child.stop, STOP_WITHIN_S)


class DatabaseServer:
    """PostgreSQL; its data outlives it."""

    def __init__(self, home: Path, cache_dir: Path) -> None:
        self._server = EmbeddedPostgres(cache_dir, home, durable=False, port=free_port())
        self.url = ""
        self.is_up = False

    async def start(self) -> None:
        await self._server.__aenter__()
        self.url, self.is_up = self._server.url, True

    async def stop(self) -> None:
        if self.is_up:
            self.is_up = False
            await self._server.__aexit__(None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The ways between the parts."""

    kafka: Link
    database: Link
    recogniser: Link

    def all(self) -> tuple[Link, Link, Link]:
        return self.kafka, self.database, self.recogniser


@dataclass
class Site:
    """A deployment under way."""

    home: Path
    broker: Broker
    database: DatabaseServer
    links: Links
    recogniser: Program
    relay: Program
    settings: Mapping[str, str]
    """What all workers are told."""
    audio_topic: str
    alerts_topic: str
    workers: list[Program] = field(default_factory=list)

    @property
    def kafka(self) -> KafkaConfig:
        """The way to the broker that no fault touches."""
        return KafkaConfig(bootstrap=self.broker.node.bootstrap)

    def add_worker(self, **settings: str) -> Program:
        """Start one more worker, with settings of its own perhaps."""
        worker = Program(
            f"worker-{len(self.workers) + 1}",
            ("qa_service", "worker"),
            {**self.settings, **settings},
            self.home,
            free_port(),
        )
        worker.start()
        self.workers.append(worker)
        return worker

    async def await_ready(self) -> None:
        """Return once every part says that it is."""
        programs = [self.recogniser, self.relay, *self.workers]
        await asyncio.gather(*(program.await_ready() for program in programs if program.is_running))

    async def heal(self) -> None:
        """Mend what is broken, and start what is down."""
        for link in self.links.all():
            await link.mend()
        for program in (self.recogniser, self.relay, *self.workers):
            if program.is_running:
                program.thaw()
            else:
                program.start()


@contextlib.asynccontextmanager
async def running_site(
    home: Path, cache_dir: Path, *, rules: str, workers: int = 2, partitions: int = 6, **settings: str
) -> AsyncIterator[Site]:
    """All parts, ready; what they logged is in ``home``.

    Raises BrokerUnavailableError, EmbeddedError, FetchError.
    """
    async with contextlib.AsyncExitStack() as stack:
        database = DatabaseServer(home / "postgres", cache_dir)
        kafka_port, recogniser_port = free_port(), free_port()
        kafka_link = await stack.enter_async_context(linked((LOCAL, kafka_port)))
        node = KafkaNode(
            home=home, port=free_port(), controller_port=free_port(), through=(kafka_port, kafka_link.port)
        )
        broker = Broker(node, cache_dir)
        stack.push_async_callback(database.stop)
        await database.start()
        await broker.start()
        stack.push_async_callback(broker.stop)
        links = Links(
            kafka=kafka_link,
            database=await stack.enter_async_context(linked(place_of(database.url))),
            recogniser=await stack.enter_async_context(linked((LOCAL, recogniser_port))),
        )
        await upgrade(database.url)
        topics = ("telephony.audio", "telephony.audio.dlq", "qa.alerts", "qa.transcripts", "qa.partials")
        kafka = KafkaConfig(bootstrap=node.bootstrap)
        await ensure_topics(kafka, topics[:1], partitions)
        await ensure_topics(kafka, topics[1:], 1)
        rule_file = home / "rules.yaml"
        rule_file.write_text(rules, encoding="utf-8")
        common = {
            "PYTHONPATH": str(ROOT),
            "QA_DATABASE_URL": through(links.database, database.url),
            "QA_KAFKA_BOOTSTRAP": f"{LOCAL}:{kafka_link.port}",
            "QA_ASR_URL": f"ws://{LOCAL}:{links.recogniser.port}",
            "QA_ASR_SILENCE_MS": "400",
            "QA_ASR_VAD_THRESHOLD": "0",
            "QA_SESSION_TIMEOUT_S": str(SESSION_TIMEOUT_S),
            "QA_START_FROM": "earliest",
            "QA_RULES_FILE": str(rule_file),
            "QA_PUBLISH_PARTIALS": "false",  # best effort, so there is nothing to judge
            "QA_SHUTDOWN_GRACE_S": "3",
            "QA_HEALTH_HOST": LOCAL,
            "QA_LOG_FORMAT": "json",
            **settings,
        }
        command = ("tests.chaos.recogniser", str(recogniser_port))
        site = Site(
            home,
            broker,
            database,
            links,
            recogniser=Program("recogniser", command, common, home, recogniser_port),
            relay=Program("relay", ("qa_service", "relay"), common, home, free_port()),
            settings=common,
            audio_topic=topics[0],
            alerts_topic=topics[2],
        )
        stack.callback(lambda: [p.close() for p in (site.recogniser, site.relay, *site.workers)])
        site.recogniser.start()
        site.relay.start()
        for _ in range(workers):
            site.add_worker()
        await site.await_ready()
        yield site
