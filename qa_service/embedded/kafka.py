"""Apache Kafka itself, one node out of Maven Central, for benchmarks and tests on the real thing.

Maven resolves the jars once into the cache; Java runs them. :func:`has_java` says whether that can be done.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qa_service.embedded.child import Child, await_ready, broker_answers, free_port, start_child
from qa_service.embedded.errors import ProgramMissingError, StartError
from qa_service.embedded.server import OwnBroker
from qa_service.fetching import exclusive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qa_service.fetching import Report

POM: Final = Path(__file__).with_name("kafka-pom.xml")
_VERSION: Final = re.search(r"<kafka\.version>(.+)</kafka\.version>", POM.read_text(encoding="utf-8"))
KAFKA_VERSION: Final = _VERSION[1] if _VERSION else "unknown"

# The oldest Java that Kafka 4 brokers run on.
_JAVA: Final = 17
_MAVEN_WITHIN_S: Final = 600.0
_FORMAT_WITHIN_S: Final = 60.0
_START_WITHIN_S: Final = 90.0
_STOP_WITHIN_S: Final = 15.0
_HEAP: Final = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
_FULL_HEAP: Final = ("-Xms512m", "-Xmx1g", "-XX:+UseSerialGC", "-XX:-UsePerfData")


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
        """The address for clients, as ``host:port``."""
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
                # Records may bear time stamps that are years old: no topic drops any unless it asks to.
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


class EmbeddedKafka(OwnBroker):
    """One Apache Kafka broker for the length of an ``async with``; its log is gone at the end.

    Args:
        cache_dir: where the jars are kept.
        quick: start fast and stay small, as tests want it, rather than run fast.
        report: takes a line for the user when jars have to be fetched first.

    Raises:
        EmbeddedError: on entry; one line with the remedy.
    """

    def __init__(self, cache_dir: Path, *, quick: bool = False, report: Report | None = None) -> None:
        super().__init__(cache_dir, report=report)
        self._quick = quick

    async def _start(self, stack: contextlib.ExitStack) -> str:
        if self._report is not None and not jars_folder(self._cache_dir).is_dir():
            self._report(f"fetching Apache Kafka {KAFKA_VERSION} with Maven")
        jars = await asyncio.to_thread(resolve_jars, self._cache_dir)
        home = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="qa-kafka-", ignore_cleanup_errors=True))
        )
        node = KafkaNode(home=home, port=free_port(), controller_port=free_port())
        broker = launch_node(node, jars, quick=self._quick)
        stack.callback(broker.stop, _STOP_WITHIN_S)
        await await_node(node, broker)
        return node.bootstrap


def launch_node(node: KafkaNode, jars: Path, *, quick: bool) -> Child:
    """Start a node, on the log of its last run if there was one; it is not ready yet.

    ``quick``: start fast and stay small, rather than run fast. Raises StartError.
    """
    java = ["java", *(_HEAP if quick else _FULL_HEAP), f"-Djava.io.tmpdir={node.home}", "-cp", f"{jars}/*"]
    config = node.home / "server.properties"
    settings = node.properties(listen_on="127.0.0.1", log_dir=str(node.home / "log"))
    config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()), encoding="utf-8")
    if not (node.home / "log").exists():
        _format_log(java, config)
    return start_child(
        [*java, "kafka.Kafka", config],
        name="Kafka",
        log_file=node.home / "kafka.log",
        stop_signal=signal.SIGTERM,
    )


async def await_node(node: KafkaNode, broker: Child) -> None:
    """Return once the node describes its cluster; raises StartError if it does not in time."""
    await await_ready(
        broker,
        lambda: broker_answers(node.port),
        within_s=_START_WITHIN_S,
        waiting_for="to describe its cluster",
    )


def _format_log(java: Sequence[str], config: Path) -> None:
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id(), "-c", str(config)]
    formatted = subprocess.run(  # noqa: S603 - an argument list of ours
        [*java, *tool], check=False, capture_output=True, text=True, timeout=_FORMAT_WITHIN_S
    )
    if formatted.returncode:
        raise StartError(f"Kafka's log could not be formatted: {formatted.stderr.strip()}")


def has_java(cache_dir: Path) -> bool:
    """Whether Kafka's jars can be run here: Java is there, and Maven or the jars themselves."""
    java = shutil.which("java")
    if not java or not (shutil.which("mvn") or jars_folder(cache_dir).is_dir()):
        return False
    said = subprocess.run([java, "-version"], check=False, capture_output=True, text=True).stderr  # noqa: S603 - no input of anyone's
    version = re.search(r'version "(\d+)', said)
    return version is not None and int(version[1]) >= _JAVA


def jars_folder(cache_dir: Path) -> Path:
    """The folder of the jars that the present POM asks for."""
    return cache_dir / "kafka" / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]


def resolve_jars(cache_dir: Path) -> Path:
    """The folder of the jars, fetched if they are not there yet; raises ProgramMissingError."""
    jars = jars_folder(cache_dir)
    with exclusive(cache_dir, f"kafka-{jars.name}"):
        if not jars.is_dir():
            jars.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=jars.parent, prefix="maven-") as scratch:
                _copy_jars(Path(scratch)).replace(jars)
    return jars


def cluster_id() -> str:
    """A random cluster id as Kafka writes them; a leading dash would look like an option."""
    return "q" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]


def _copy_jars(scratch: Path) -> Path:
    """Have Maven fetch the jars; it keeps house in ``scratch``, since not every user has a home folder."""
    jars = scratch / "jars"
    done = subprocess.run(  # noqa: S603 - an argument list of ours
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
        raise ProgramMissingError(f"Maven cannot resolve Kafka {KAFKA_VERSION}: {errors[0]}")
    return jars


def _join(listeners: Mapping[str, str]) -> str:
    return ",".join(f"{name}://{place}" for name, place in listeners.items())
