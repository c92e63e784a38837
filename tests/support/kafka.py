"""The tests' broker: Apache Kafka itself, one KRaft node of our own for the length of a test run.

In this order: the broker named by QA_TEST_KAFKA; the jars that Maven resolves once into the cache, run by
Java; the project's official container image, if a Docker engine answers. Otherwise the tests that need a
broker *fail*, with one line that says what to install: a suite that skips its main subject in silence is
worth nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaClient
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from qa_service.embedded.child import Child, await_ready, broker_answers, free_port, start_child
from qa_service.embedded.kafka import (
    KAFKA_VERSION,
    EmbeddedKafka,
    KafkaNode,
    cluster_id,
    has_java,
    launch_node,
    resolve_jars,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

# A container's image may have to be pulled first.
_PULL_AND_START_WITHIN_S = 600.0
_STOP_WITHIN_S = 15.0

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
    if has_java(cache_dir):
        async with EmbeddedKafka(cache_dir, quick=True) as kafka:
            yield kafka.bootstrap
        return
    with tempfile.TemporaryDirectory(prefix="qa-kafka-", ignore_cleanup_errors=True) as home:
        node = KafkaNode(home=Path(home), port=free_port(), controller_port=free_port())
        broker = _start_container(node)
        try:
            await await_ready(
                broker,
                lambda: broker_answers(node.port),
                within_s=_PULL_AND_START_WITHIN_S,
                waiting_for="to describe its cluster",
            )
            yield node.bootstrap
        finally:
            await asyncio.to_thread(broker.stop, _STOP_WITHIN_S)


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
    if "QA_TEST_KAFKA" not in os.environ and has_java(cache_dir):
        resolve_jars(cache_dir)


def start_node(node: KafkaNode, cache_dir: Path) -> Child:
    """Start a node with Java, on the log of its last run if there was one; it is not ready yet.

    Raises BrokerUnavailableError where there is no Java, or no jars and no Maven.
    """
    if not has_java(cache_dir):
        raise BrokerUnavailableError(_REMEDY)
    return launch_node(node, resolve_jars(cache_dir), quick=True)


def _start_container(node: KafkaNode) -> Child:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "info"], check=False, capture_output=True).returncode:
        raise BrokerUnavailableError(_REMEDY)
    settings = node.properties(listen_on="0.0.0.0", log_dir="/tmp/kafka-log")  # noqa: S104, S108 - its own
    variables = [f"--env=KAFKA_{key.upper().replace('.', '_')}={value}" for key, value in settings.items()]
    return start_child(
        [
            *(docker, "run", "--rm", f"--publish=127.0.0.1:{node.port}:{node.port}"),
            *(f"--env=CLUSTER_ID={cluster_id()}", *variables, f"apache/kafka:{KAFKA_VERSION}"),
        ],
        name="the Kafka container",
        log_file=node.home / "docker.log",
        stop_signal=signal.SIGTERM,  # the docker client passes it on
    )
