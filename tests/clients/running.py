"""Running a client program against our server, and what was seen on both sides."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from structlog.testing import capture_logs

# The longest run takes nine seconds by design (three of waiting, the rest of speaking at real time).
_WITHIN_S: Final = 60.0
# For the server to notice that the client has gone.
_GONE_WITHIN_S: Final = 5.0

Event = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A client that has ended."""

    exit_code: int
    stdout: str
    stderr: str
    close_codes: tuple[int, ...]
    """Of its sessions, as the server saw them."""

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


async def run_client(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a client in ``folder`` to its end; fail with what it said if it does not end in time."""
    with capture_logs() as logs:
        async with _running(command, folder, environment) as client, client.deadline("end"):
            exit_code = await client.process.wait()
        close_codes = await _close_codes(logs)
    return Run(
        exit_code=exit_code,
        stdout=client.stdout.read_text(encoding="utf-8"),
        stderr=client.stderr.read_text(encoding="utf-8"),
        close_codes=close_codes,
    )


async def run_client_until(
    said: str, command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> None:
    """Run a client until it has said something, and no longer: refused, some wait for a minute."""
    async with _running(command, folder, environment) as client, client.deadline(f"say {said!r}"):
        while said not in client.said():
            ended = client.process.returncode is not None
            assert not ended or said in client.said(), f"it ended without saying {said!r}:\n{client.said()}"
            await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Client:
    process: asyncio.subprocess.Process
    stdout: Path
    stderr: Path

    def said(self) -> str:
        return self.stdout.read_text(encoding="utf-8") + self.stderr.read_text(encoding="utf-8")

    @asynccontextmanager
    async def deadline(self, deed: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_WITHIN_S):
                yield
        except TimeoutError:
            said = self.said()[-2000:]
            raise AssertionError(f"waited {_WITHIN_S:g} s for it to {deed}; it said:\n{said}") from None


@asynccontextmanager
async def _running(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None
) -> AsyncIterator[_Client]:
    """A client that runs in ``folder``, and is stopped at the end if it still does.

    Its environment is bare but for what is given: no proxies, no home folder with somebody's configuration.
    """
    out, err = folder / "client.out", folder / "client.err"
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "DASHSCOPE_API_KEY": "any",
        **(environment or {}),
    }
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=variables, stdout=stdout, stderr=stderr
        )
        try:
            yield _Client(process=process, stdout=out, stderr=err)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _close_codes(logs: list[Any]) -> tuple[int, ...]:
    """How the server saw its sessions end; all that were opened have to."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    while True:
        opened = sum(entry["event"] == "session_opened" for entry in logs)
        codes = tuple(entry["close_code"] for entry in logs if entry["event"] == "session_closed")
        if len(codes) == opened or time.monotonic() > deadline:
            assert len(codes) == opened, (
                f"{opened} sessions opened, {len(codes)} closed when the client was gone"
            )
            return codes
        await asyncio.sleep(0.02)


def reports(run: Run) -> list[list[Any]]:
    """What one of our own programs reported: lists that begin with a word, as its docstring has them."""
    # The SDKs may print lines of their own.
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith('["')]


def events_after(marker: str, text: str) -> list[Event]:
    """The JSON objects that a program printed, each after ``marker`` and over as many lines as it liked."""
    decoder = json.JSONDecoder()
    return [decoder.raw_decode(part.lstrip())[0] for part in text.split(marker)[1:]]
