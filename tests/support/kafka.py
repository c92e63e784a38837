"""The tests' broker: Apache Kafka itself, one KRaft node of our own for the length of a test run.

In this order: the broker named by QA_TEST_KAFKA; the jars that Maven resolves once into the cache, run by
Java; the project's official container image, if a Docker engine answers. Otherwise the tests that need a
broker *fail*, with one line that says what to install: a suite that skips its main subject in silence is
worth nothing.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaClient
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from qa_service.embedded.child import Child, await_ready, broker_answers, free_port, start_child
from qa_service.fetching import exclusive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

POM = Path(__file__).parent / "kafka" / "pom.xml"
KAFKA_VERSION = re.search(r"<kafka\.version>(.+)</kafka\.version>", POM.read_text(encoding="utf-8"))[1]

# The oldest Java that Kafka 4 brokers run on.
_JAVA = 17
_MAVEN_WITHIN_S = 600.0
_START_WITHIN_S = 90.0
# A container's image may have to be pulled first.
_PULL_AND_START_WITHIN_S = 600.0
_STOP_WITHIN_S = 15.0

_HEAP = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")

_REMEDY = (
    "no Kafka broker for the tests: install Java 17 and Maven "
    "(Debian: apt-get install openjdk-17-jre-headless maven), or start Docker, or set QA_TEST_KAFKA=host:port"
)


class BrokerUnavailableError(Exception):
    """No broker can be had; one line with the remedy."""


@asynccontextmanager
async def running_kafka(cache_dir: Path) -> AsyncIterator[str]:
    """A broker's bootstrap address, for the length of the block."""
    if given := os.environ.get("QA_TEST_KAFKA"):
        await _check_reachable(given)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="qa-kafka-", ignore_cleanup_errors=True) as home:
        node = KafkaNode(home=Path(home), port=free_port(), controller_port=free_port())
        broker = _start_jars(node, cache_dir) if _has_java(cache_dir) else _start_container(node)
        try:
            patience = _START_WITHIN_S if broker.name == "Kafka" else _PULL_AND_START_WITHIN_S
            await await_ready(
                broker,
                lambda: broker_answers(node.port),
                within_s=patience,
                waiting_for="to describe its cluster",
            )
            yield node.bootstrap
        finally:
            await asyncio.to_thread(broker.stop, _STOP_WITHIN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaNode:
    """Where one node listens and keeps its log."""

    home: Path
    port: int
    controller_port: int
    through: tuple[int, int] | None = None
    """A second port to listen on, and the port of the link that leads there, which its clients are told."""

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def properties(self, *, listen_on: str, log_dir: str) -> dict[str, str]:
        """The node's configuration: a cluster of one that wastes no time on waiting for others."""
        internal_topics = {
            f"{topic}.{setting}": "1"
            for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
            for setting in ("replication.factor", "num.partitions", "min.isr")
            if (topic, setting) != ("offsets.topic", "min.isr")
        }
        return (
            internal_topics
            | self._listeners(listen_on)
            | {
                "process.roles": "broker,controller",
                "node.id": "1",
                # A quorum that is written down needs nothing but a plain format, which the image does too.
                "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
                "controller.listener.names": "CONTROLLER",
                "log.dirs": log_dir,
                "group.initial.rebalance.delay.ms": "0",
                # Tests write records whose time stamps are years old: no topic drops any unless it asks to.
                "log.retention.ms": "-1",
                # Retention and compaction within seconds, so that tests can see what they do.
                "log.initial.task.delay.ms": "500",
                "log.retention.check.interval.ms": "500",
                "log.cleaner.backoff.ms": "500",
            }
        )

    def _listeners(self, listen_on: str) -> dict[str, str]:
        listeners = {"PLAINTEXT": f"{listen_on}:{self.port}"}
        told = {"PLAINTEXT": self.bootstrap}
        if self.through is not None:
            port, link_port = self.through
            listeners["LINKED"] = f"127.0.0.1:{port}"
            told["LINKED"] = f"127.0.0.1:{link_port}"
        return {
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in ("CONTROLLER", *listeners)
            ),
            "listeners": _join(listeners | {"CONTROLLER": f"127.0.0.1:{self.controller_port}"}),
            "advertised.listeners": _join(told),
        }


def _join(listeners: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{place}" for name, place in listeners.items())


async def create_topic(bootstrap: str, name: str, *, partitions: int, configs: Mapping[str, str]) -> None:
    """Create a topic, which keeps records of any age unless ``configs`` differ, and await its leaders."""
    configs = {"retention.ms": "-1"} | dict(configs)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    finally:
        await admin.close()
    for topic, code, message in answer.topic_errors:
        if code:
            raise for_code(code)(f"{topic}: {message}")
    await _await_leaders(bootstrap, name, partitions)


async def _await_leaders(bootstrap: str, topic: str, partitions: int) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        async with asyncio.timeout(15):
            while len(client.cluster.available_partitions_for_topic(topic) or ()) < partitions:
                await client.set_topics([topic])
                await client.force_metadata_update()
    except TimeoutError:
        raise AssertionError(f"waited 15 s for leaders of the {partitions} partitions of {topic}") from None
    finally:
        await client.close()


async def _check_reachable(bootstrap: str) -> None:
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
    except Exception as error:
        raise BrokerUnavailableError(f"QA_TEST_KAFKA={bootstrap} does not answer: {error}") from error
    finally:
        await client.close()


def prepare_kafka(cache_dir: Path) -> None:
    """Fetch the jars ahead of the first test, whose time-out is no measure for a download."""
    if "QA_TEST_KAFKA" not in os.environ and _has_java(cache_dir):
        _resolve_jars(cache_dir)


def _has_java(cache_dir: Path) -> bool:
    """Whether Kafka's jars can be run here: Java is there, and Maven or the jars themselves."""
    java = shutil.which("java")
    if not java or not (shutil.which("mvn") or _jars(cache_dir).is_dir()):
        return False
    said = subprocess.run([java, "-version"], check=False, capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', said)
    return version is not None and int(version[1]) >= _JAVA


def _jars(cache_dir: Path) -> Path:
    """The folder of the jars that the present POM asks for."""
    return cache_dir / "kafka" / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]


def _resolve_jars(cache_dir: Path) -> Path:
    jars = _jars(cache_dir)
    with exclusive(cache_dir, f"kafka-{jars.name}"):
        if not jars.is_dir():
            jars.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=jars.parent, prefix="maven-") as scratch:
                _copy_jars(Path(scratch)).replace(jars)
    return jars


def _copy_jars(scratch: Path) -> Path:
    """Have Maven fetch the jars; it keeps house in ``scratch``, since not every user has a home folder."""
    jars = scratch / "jars"
    done = subprocess.run(
        [
            *("mvn", "--batch-mode", "--quiet", "-Dstyle.color=never", f"--file={POM}"),
            *(f"-Dmaven.repo.local={scratch}/repository", "dependency:copy-dependencies"),
            *("-DincludeScope=runtime", f"-DoutputDirectory={jars}"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=_MAVEN_WITHIN_S,
    )
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line] or ["Maven said nothing"]
        raise BrokerUnavailableError(f"Maven cannot resolve Kafka {KAFKA_VERSION}: {errors[0]}")
    return jars


def start_node(node: KafkaNode, cache_dir: Path) -> Child:
    """Start a node with Java, on the log of its last run if there was one; it is not ready yet.

    Raises BrokerUnavailableError where there is no Java, or no jars and no Maven.
    """
    if not _has_java(cache_dir):
        raise BrokerUnavailableError(_REMEDY)
    return _start_jars(node, cache_dir)


async def await_node(node: KafkaNode, broker: Child) -> None:
    """Return once the node describes its cluster."""
    await await_ready(
        broker,
        lambda: broker_answers(node.port),
        within_s=_START_WITHIN_S,
        waiting_for="to describe its cluster",
    )


def _start_jars(node: KafkaNode, cache_dir: Path) -> Child:
    java = ["java", *_HEAP, f"-Djava.io.tmpdir={node.home}", "-cp", f"{_resolve_jars(cache_dir)}/*"]
    config = node.home / "server.properties"
    settings = node.properties(listen_on="127.0.0.1", log_dir=str(node.home / "log"))
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
    if not (node.home / "log").exists():
        tool = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", str(config)]
        formatted = subprocess.run([*java, *tool], check=False, capture_output=True, text=True, timeout=60)
        if formatted.returncode:
            raise BrokerUnavailableError(f"Kafka's log could not be formatted: {formatted.stderr.strip()}")
    return start_child(
        [*java, "kafka.Kafka", config],
        name="Kafka",
        log_file=node.home / "kafka.log",
        stop_signal=signal.SIGTERM,
    )


def _start_container(node: KafkaNode) -> Child:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], check=False, capture_output=True).returncode:
        raise BrokerUnavailableError(_REMEDY)
    settings = node.properties(listen_on="0.0.0.0", log_dir="/tmp/kafka-log")  # noqa: S104, S108 - its own
    variables = [f"--env=KAFKA_{key.upper().replace('.', '_')}={value}" for key, value in settings.items()]
    return start_child(
        [
            *(docker, "run", "--rm", f"--publish=127.0.0.1:{node.port}:{node.port}"),
            *(f"--env=CLUSTER_ID={_cluster_id()}", *variables, f"apache/kafka:{KAFKA_VERSION}"),
        ],
        name="the Kafka container",
        log_file=node.home / "docker.log",
        stop_signal=signal.SIGTERM,  # the docker client passes it on
    )


def _cluster_id() -> str:
    """A random cluster id as Kafka writes them; a leading dash would look like an option."""
    return "q" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
