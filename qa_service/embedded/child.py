"""Programs that we start: they die with us, stop within a bound, and are heard when they fail.

Three decisions stand here. A child gets a session of its own, so that Ctrl-C in a terminal reaches us alone
and we choose the order in which parts stop. On Linux the kernel is asked to signal the child when we die,
however we die; on other systems only an orderly exit of ours stops it. Its output goes to a file, whose end
becomes part of our message.

The kernel's death signal follows the *thread* that started the child: start children in a thread that lives
as long as they should, which for an event loop means its own, not a worker of ``asyncio.to_thread``.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaClient
from aiokafka.errors import KafkaError

from qa_service.embedded.errors import StartError

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

# Between two looks at a condition that another process brings about.
_POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running program, its name in messages and the file that holds its output."""

    name: str
    process: subprocess.Popen[bytes]
    log_file: Path
    stop_signal: signal.Signals

    def complaint(self, lines: int = 3) -> str:
        """The last ``lines`` lines of its output joined into one, for an error message."""
        text = self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""
        said = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(said[-lines:]) or "it said nothing"

    def stop(self, within_s: float) -> None:
        """Ask it to stop, wait ``within_s`` seconds, then make it."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_child(
    command: Sequence[str | Path],
    *,
    name: str,
    log_file: Path,
    stop_signal: signal.Signals,
    environment: Mapping[str, str] | None = None,
) -> Child:
    """Start ``command`` with its output in ``log_file``; ``stop_signal`` is what ends it cleanly.

    Raises:
        StartError: the program is missing or cannot be executed.
    """
    full = [*_dying_with_us(stop_signal), *map(str, command)]
    with log_file.open("wb") as log:
        try:
            process = subprocess.Popen(  # noqa: S603 - an argument list of ours, no shell
                full,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment) if environment is not None else None,
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"cannot run {command[0]}: {error.strerror}") from error
    return Child(name=name, process=process, log_file=log_file, stop_signal=stop_signal)


async def await_ready(
    child: Child, is_ready: Callable[[], Awaitable[bool]], *, within_s: float, waiting_for: str
) -> None:
    """Return as soon as ``is_ready`` holds.

    Raises:
        StartError: the program ended first, or ``within_s`` seconds passed.
    """
    deadline = time.monotonic() + within_s
    while not await is_ready():
        status = child.process.poll()
        if status is not None:
            raise StartError(f"{child.name} ended with status {status} at start: {child.complaint()}")
        if time.monotonic() > deadline:
            raise StartError(f"waited {within_s:.0f} s for {child.name} {waiting_for}: {child.complaint()}")
        await asyncio.sleep(_POLL_S)


async def broker_answers(port: int) -> bool:
    """Whether a Kafka broker on ``port`` of the loopback address describes its cluster."""
    if not await _accepts_connections(port):
        return False  # asked no further: the client would log each refusal as an error
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}")
    try:
        await client.bootstrap()
    except KafkaError:
        return False
    finally:
        await client.close()
    return True


def free_port() -> int:
    """A TCP port of the loopback address on which nobody listened a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _accepts_connections(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _dying_with_us(stop_signal: signal.Signals) -> list[str]:
    """The prefix that has the kernel send ``stop_signal`` when we die; empty without ``setpriv``."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), "--"] if setpriv else []
