"""A WhisperLive server process, and one leg played to it in real time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from qa_service.audio.line import LINE_RATE_HZ
from qa_service.audio.resample import resample, samples_of_pcm
from qa_service.bench.listening import BenchError
from qa_service.bench.recordings import idle_line
from tools.compare.whisper_live_messages import (
    END_OF_AUDIO,
    PACKET_SAMPLES,
    READY,
    SAMPLE_RATE_HZ,
    Message,
    options,
    parse,
)

_SERVER: Final = Path(__file__).with_name("whisper_live_server.py")
_START_S: Final = 60.0
_READY_S: Final = 60.0  # the first client waits until the model is loaded
_STAY_S: Final = 3600
_LONGEST_TAIL_S: Final = 40.0
_LAST_LOOKS: Final = 2  # messages after all has been said; the second look at the latest began after it
_PACKET_S: Final = PACKET_SAMPLES / SAMPLE_RATE_HZ
_SAMPLE_BYTES: Final = 4


@dataclass(slots=True)
class Take:
    """What came for one leg, by time of the leg in milliseconds."""

    messages: list[tuple[float, Message]] = field(default_factory=list)
    refused: bool = False
    """The server was full."""
    dropped: bool = False
    """The server ended the session."""


@dataclass(frozen=True, slots=True)
class WhisperLive:
    """A running server."""

    url: str
    pid: int

    @property
    def cpu_s(self) -> float:
        """Processor time used since it was started."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory_mb(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS:"))


@contextlib.asynccontextmanager
async def whisper_live_server(
    python: Path, model: Path, *, clients: int, batched: bool
) -> AsyncIterator[WhisperLive]:
    """Start a server with room for ``clients``, wait until its model is loaded, and end it.

    Raises:
        BenchError: it did not get ready.
    """
    port = _free_port()
    command: list[str | Path] = [
        python,
        _SERVER,
        f"--port={port}",
        f"--model={model}",
        f"--clients={clients + 1}",
    ]
    command += [f"--seconds={_STAY_S}", *(["--batched"] if batched else [])]
    # Its launcher sets one thread unless told otherwise; all cores serve it better.
    environment = {**os.environ, "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
        server = WhisperLive(f"ws://127.0.0.1:{port}", process.pid)
        try:
            await _wait_until_open(port, process)
            await _load_model(server)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def play(http: aiohttp.ClientSession, server: WhisperLive, pcm: bytes, *, language: str) -> Take:
    """Play 8 kHz PCM in a session of its own, then an idle line until the last words have been looked at."""
    sound = _as_sent(pcm)
    tail = _as_sent(idle_line(_LONGEST_TAIL_S).tobytes())
    take = Take()
    async with http.ws_connect(server.url, max_msg_size=0) as ws:
        if not await _open(ws, language):
            take.refused = True
            return take
        started = time.monotonic()
        reading = asyncio.create_task(_read(ws, take, started))
        try:
            sent_s = await _send(ws, sound, started, 0.0)
            heard = len(take.messages)
            for begin in range(0, len(tail), PACKET_SAMPLES * _SAMPLE_BYTES):
                if ws.closed or len(take.messages) >= heard + _LAST_LOOKS:
                    break
                packet = tail[begin : begin + PACKET_SAMPLES * _SAMPLE_BYTES]
                sent_s = await _send(ws, packet, started, sent_s)
            take.dropped = ws.closed
            await ws.send_bytes(END_OF_AUDIO)
        except ConnectionResetError:
            take.dropped = True
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
    return take


async def _open(ws: aiohttp.ClientWebSocketResponse, language: str) -> bool:
    """Whether the server takes the client."""
    await ws.send_str(options(str(uuid.uuid4()), language))
    async with asyncio.timeout(_READY_S):
        async for raw in ws:
            message = parse(raw.data)
            if message.message == READY:
                return True
            if message.status is not None:
                return False
    return False


async def _send(ws: aiohttp.ClientWebSocketResponse, sound: bytes, started: float, sent_s: float) -> float:
    """Send packets, each when its last sample has been spoken; gives the time of the leg reached."""
    for begin in range(0, len(sound), PACKET_SAMPLES * _SAMPLE_BYTES):
        packet = sound[begin : begin + PACKET_SAMPLES * _SAMPLE_BYTES]
        sent_s += len(packet) / _SAMPLE_BYTES / SAMPLE_RATE_HZ
        await asyncio.sleep(max(0.0, started + sent_s - time.monotonic()))
        await ws.send_bytes(packet)
    return sent_s


async def _read(ws: aiohttp.ClientWebSocketResponse, take: Take, started: float) -> None:
    async for raw in ws:
        take.messages.append(((time.monotonic() - started) * 1000, parse(raw.data)))


async def _load_model(server: WhisperLive) -> None:
    """One client comes and goes: the model is loaded for the first."""
    async with aiohttp.ClientSession() as http, http.ws_connect(server.url) as ws:
        if not await _open(ws, "en"):
            raise BenchError("WhisperLive did not take its first client")
        await ws.send_bytes(END_OF_AUDIO)


async def _wait_until_open(port: int, process: asyncio.subprocess.Process) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise BenchError("WhisperLive's server did not start")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _as_sent(pcm: bytes) -> bytes:
    return resample(samples_of_pcm(pcm), LINE_RATE_HZ, SAMPLE_RATE_HZ).tobytes()
