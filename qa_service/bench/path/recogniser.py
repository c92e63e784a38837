"""A lean recogniser: takes appends, says what a script says, and notes how old the audio is that comes.

The script of a leg repeats every four seconds of its audio: speech begins, three partial results, it ends, a
final. A session that asks for the model :data:`SILENT_MODEL` (the floor's) is told nothing after its
configuration. Connections are aiohttp's; what is said is in the hands of our sans-I/O protocol.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from msgspec import Struct

from qa_service.bench.path.helper import Handlers
from qa_service.bench.path.stamps import age_ms, now_ticks
from qa_service.protocol.client import REALTIME_PATH
from qa_service.protocol.events import AppendAudio, Finish
from qa_service.protocol.server import ServerSession, parse_request_path

SILENT_MODEL: Final = "bench-silent"
CYCLE_MS: Final = 4000
UTTERANCES_A_SECOND: Final = 1000 / CYCLE_MS
_STEPS: Final = ((300, "start"), (1000, "partial"), (2000, "partial"), (3000, "partial"), (3800, "final"))
_PROGRESS_MS: Final = 1000
_ALERT_EVERY: Final = 8
"""One utterance in so many makes the bench's own rule raise an alert."""
_BYTES_A_MS: Final = 16
_WORDS: Final = (
    "i have been waiting for the parts since last week and would like to know when they come".split()
)
ALERT_PHRASE: Final = "escalate this"


class Heard(Struct, frozen=True):
    """What was noted since the last reset: age of the newest frame of each append, and how much came."""

    ages_ms: list[float]
    audio_s: float
    finals: int
    sessions: int
    """Live at present."""


@dataclass(frozen=True, slots=True)
class RecogniserPlan:
    """How the recogniser is to be."""

    port: int
    honours_extensions: bool
    """Whether it tells progress as our own server does, or nothing of the kind, as the cloud."""
    cert_file: Path | None = None
    key_file: Path | None = None


class _Recogniser:
    def __init__(self, *, honours_extensions: bool) -> None:
        self._honours_extensions = honours_extensions
        self._ages = array("d")
        self._arrived = array("d")
        self._bytes = 0
        self._finals = 0
        self._live = 0
        self._ids = itertools.count()
        self._sessions = itertools.count()

    async def reset(self) -> Heard:
        """Count from here; what was heard before."""
        heard = await self.report()
        self._ages, self._arrived = array("d"), array("d")
        self._bytes = self._finals = 0
        return heard

    async def report(self) -> Heard:
        """What was heard since."""
        return Heard(self._ages.tolist(), self._bytes / _BYTES_A_MS / 1000, self._finals, self._live)

    async def arrivals(self) -> list[tuple[float, float]]:
        """When each append came (monotonic seconds) and how old its newest frame was."""
        return list(zip(self._arrived.tolist(), self._ages.tolist(), strict=True))

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """One session."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        model = parse_request_path(request.path, request.query_string) or ""
        number = next(self._sessions)
        session = ServerSession(f"sess_{number}", model, lambda prefix: f"{prefix}_{next(self._ids)}")
        await socket.send_str(session.created())
        script = None if model == SILENT_MODEL else _Script(session, number)
        self._live += 1
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT and await self._receive(
                    socket, session, script, message.data
                ):
                    break
        finally:
            self._live -= 1
        return socket

    async def _receive(
        self, socket: web.WebSocketResponse, session: ServerSession, script: _Script | None, text: str
    ) -> bool:
        """Take a message; True once the session is finished."""
        if not self._honours_extensions and '"session.update"' in text:
            text = text.replace('"qa":', '"unknown":')
        receipt = session.receive_text(text)
        for reply in receipt.replies:
            await socket.send_str(reply)
        for command in receipt.commands:
            match command:
                case AppendAudio(audio=audio):
                    self._note(audio)
                    if script is not None:
                        for said in script.hear(len(audio)):
                            await socket.send_str(said)
                        self._finals += script.take_finals()
                case Finish():
                    for said in () if script is None else script.finish():
                        await socket.send_str(said)
                    await socket.send_str(session.finished())
                    return True
                case _:
                    pass
        return False

    def _note(self, pcm: bytes) -> None:
        now = now_ticks()
        age = age_ms(pcm, now)
        self._bytes += len(pcm)
        if age is not None:
            self._ages.append(age)
            self._arrived.append(now / 10_000)


class _Script:
    """What one leg says, by how much of it was heard."""

    def __init__(self, session: ServerSession, number: int) -> None:
        self._session = session
        self._heard_bytes = 0
        self._offset_ms = number * 1231 % CYCLE_MS  # legs do not speak in chorus
        self._steps = self._plan()
        self._next_ms, self._step = next(self._steps)
        self._item = ""
        self._count = number
        self._finals = 0
        self._told_ms = 0

    def hear(self, size: int) -> list[str]:
        """Take so many bytes of audio; what there is to say."""
        self._heard_bytes += size
        heard_ms = self._heard_bytes // _BYTES_A_MS
        said: list[str] = []
        while heard_ms >= self._next_ms:
            said += self._say(heard_ms)
            self._next_ms, self._step = next(self._steps)
        if not self._item and heard_ms - self._told_ms >= _PROGRESS_MS:
            self._told_ms = heard_ms
            said += self._session.progress(heard_ms - 100)
        return said

    def finish(self) -> list[str]:
        """Close what is open."""
        return self._close(self._heard_bytes // _BYTES_A_MS) if self._item else []

    def take_finals(self) -> int:
        """Finals said since the last call."""
        finals, self._finals = self._finals, 0
        return finals

    def _say(self, heard_ms: int) -> list[str]:
        if self._step == "start":
            start = max(self._session.earliest_start_ms, heard_ms - 100)
            self._item, text = self._session.speech_started(start)
            return [text]
        if not self._item:
            return []
        if self._step == "final":
            return self._close(heard_ms)
        words = _WORDS[: 6 * (1 + (self._next_ms // 1000) % 3)]
        return list(self._session.partial(self._item, " ".join(words[:3]), " " + " ".join(words[3:])))

    def _close(self, heard_ms: int) -> list[str]:
        item, self._item = self._item, ""
        self._count += 1
        self._finals += 1
        raises = self._count % _ALERT_EVERY == 0
        words = " ".join([*_WORDS[:3], *([ALERT_PHRASE, spell(now_ticks())] if raises else []), *_WORDS[3:]])
        return [
            *self._session.speech_stopped(item, heard_ms),
            *self._session.completed(item, words, "en"),
        ]

    def _plan(self) -> itertools.chain[tuple[int, str]]:
        return itertools.chain.from_iterable(
            ((cycle * CYCLE_MS + self._offset_ms + at_ms, step) for at_ms, step in _STEPS)
            for cycle in itertools.count()
        )


_LETTERS: Final = "abcdefghijklmnop"


def spell(ticks: int) -> str:
    """A time as a word of letters, which no redaction touches; read it with :func:`read_spelt`."""
    return "q" + "".join(_LETTERS[int(digit, 16)] for digit in f"{ticks:x}")


def read_spelt(text: str) -> int | None:
    """The time that stands behind the alert's phrase in a text; None if there is none."""
    _, found, rest = text.partition(f"{ALERT_PHRASE} q")
    word = rest.split(" ", 1)[0]
    if not found or not word or any(letter not in _LETTERS for letter in word):
        return None
    return int("".join(f"{_LETTERS.index(letter):x}" for letter in word), 16)


async def recognise(answer: Callable[[Handlers], Awaitable[None]], plan: RecogniserPlan) -> None:
    """The recogniser's program."""
    recogniser = _Recogniser(honours_extensions=plan.honours_extensions)
    app = web.Application()
    app.router.add_get(REALTIME_PATH, recogniser.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    tls = None
    if plan.cert_file is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(plan.cert_file, plan.key_file)
    await web.TCPSite(runner, "127.0.0.1", plan.port, ssl_context=tls, backlog=1024).start()
    try:
        await answer(
            {"reset": recogniser.reset, "report": recogniser.report, "arrivals": recogniser.arrivals}
        )
    finally:
        await asyncio.wait_for(runner.cleanup(), 5)
