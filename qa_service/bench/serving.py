"""The server that is measured: in a process of its own, with a probe of its event loop and of its memory."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from qa_service import logs
from qa_service.asr_server import AsrServer, AsrServerError, ServerConfig, serve
from qa_service.bench.listening import BenchError

_PROBE_S: Final = 0.01  # between two looks at the event loop
_START_S: Final = 900.0  # models may have to be fetched first
_STOP_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the server's process was like since the last reading: lags of its loop, resident memory."""

    loop_lags_ms: tuple[float, ...]
    memory_mb: float
    cpu_s: float
    """Processor time used since the process began."""


class MeasuredServer:
    """A server in another process, by its address."""

    def __init__(self, url: str, pipe: multiprocessing.connection.Connection) -> None:
        self.url = url
        self._pipe = pipe

    async def read_vitals(self) -> Vitals:
        """Its vitals since the last reading."""
        self._pipe.send("vitals")
        vitals = await asyncio.to_thread(self._pipe.recv)
        assert isinstance(vitals, Vitals)  # noqa: S101 - the other end is below
        return vitals


@contextlib.asynccontextmanager
async def measured_server(config: ServerConfig) -> AsyncIterator[MeasuredServer]:
    """Start a server process and end it.

    Raises:
        BenchError: it did not get ready.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, config), daemon=True)
    process.start()
    try:
        if not await asyncio.to_thread(ours.poll, _START_S):
            raise BenchError(f"the server was not ready after {_START_S:g} s")
        answer = ours.recv()
        if not isinstance(answer, str):
            raise BenchError(f"the server could not start: {answer.args[0]}")
        yield MeasuredServer(answer, ours)
    finally:
        with contextlib.suppress(OSError):
            ours.send("stop")
        await asyncio.to_thread(process.join, _STOP_S)
        process.kill()


def _serve(pipe: multiprocessing.connection.Connection, config: ServerConfig) -> None:
    # The terminal interrupts the whole group; the bench ends this process in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure("console", "warning")
    uvloop.run(_serve_until_told(pipe, config))


async def _serve_until_told(pipe: multiprocessing.connection.Connection, config: ServerConfig) -> None:
    try:
        server = await serve(config)
    except AsrServerError as error:
        pipe.send(BenchError(str(error)))
        return
    async with server:
        await _answer(pipe, server)


async def _answer(pipe: multiprocessing.connection.Connection, server: AsrServer) -> None:
    try:
        await server.wait_ready()
    except AsrServerError as error:
        pipe.send(BenchError(str(error)))
        return
    lags: list[float] = []
    probe = asyncio.create_task(_probe(lags))
    pipe.send(server.url)
    with contextlib.suppress(EOFError):
        while await asyncio.to_thread(pipe.recv) == "vitals":
            pipe.send(Vitals(tuple(lags), _resident_mb(), time.process_time()))
            lags.clear()
    probe.cancel()


async def _probe(lags: list[float]) -> None:
    while True:
        due = time.monotonic() + _PROBE_S
        await asyncio.sleep(_PROBE_S)
        lags.append(max(0.0, (time.monotonic() - due) * 1000))


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
