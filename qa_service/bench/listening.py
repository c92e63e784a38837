"""One leg played to a server in real time, and what came back when.

Decided here: 20 ms of audio leave when the last of them has been spoken, so that a time of the audio is also
a time of the clock: leg time = clock time - start.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise

import aiohttp

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import RecogniserSession, SessionLimits, SessionLost
from qa_service.audio.line import LINE_RATE_HZ
from qa_service.bench.recordings import APPEND_MS
from qa_service.protocol.config import Extensions, SessionConfig, TurnDetection
from qa_service.protocol.events import (
    Completed,
    Failed,
    Partial,
    ServerEvent,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)

_APPEND_BYTES = LINE_RATE_HZ * APPEND_MS // 1000 * 2
_FINISH_S = 120.0  # a server under load may have much to catch up with


class BenchError(Exception):
    """A measurement could not be made; the message says why."""


class SessionRefusedError(BenchError):
    """The server has no room for the session: it answered 429."""


@dataclass(slots=True)
class Utterance:
    """What came for one item; times in milliseconds of the leg."""

    item_id: str
    start_ms: int | None = None
    end_ms: int | None = None
    partials: list[tuple[float, Partial]] = field(default_factory=list)
    final: Completed | None = None
    final_at_ms: float | None = None
    failed: str | None = None

    @property
    def revisions(self) -> int:
        """How often confirmed text was taken back, by a later partial or by the final."""
        texts = [partial.text for _, partial in self.partials]
        revised = sum(not after.startswith(before) for before, after in pairwise(texts))
        if self.final is not None and texts and not self.final.transcript.startswith(texts[-1]):
            revised += 1
        return revised


@dataclass(slots=True)
class Heard:
    """All that came for one leg, in order of appearance."""

    utterances: dict[str, Utterance] = field(default_factory=dict)
    lost: SessionLost | None = None
    started: float = 0.0
    """``time.monotonic`` when the first sound was spoken; 0 before."""

    @property
    def text(self) -> str:
        """The finals in a row."""
        return " ".join(u.final.transcript for u in self.utterances.values() if u.final).strip()

    @property
    def finals(self) -> list[Utterance]:
        """The utterances in which something was understood."""
        return [u for u in self.utterances.values() if u.final is not None and u.final.transcript]

    def take(self, event: ServerEvent, at_ms: float) -> None:
        """Note what an event tells."""
        if not isinstance(event, SpeechStarted | SpeechStopped | Partial | Completed | Failed):
            return
        utterance = self.utterances.setdefault(event.item_id, Utterance(event.item_id))
        match event:
            case SpeechStarted():
                utterance.start_ms = event.audio_start_ms
            case SpeechStopped():
                utterance.end_ms = event.audio_end_ms
            case Partial():
                utterance.partials.append((at_ms, event))
            case Completed():
                utterance.final, utterance.final_at_ms = event, at_ms
            case Failed():
                utterance.failed = event.message


async def listen(
    http: aiohttp.ClientSession,
    endpoint: RecogniserEndpoint,
    pcm: bytes,
    *,
    silence_ms: int,
    realtime: bool = True,
    emotion: bool = True,
    into: Heard | None = None,
) -> Heard:
    """Play 8 kHz PCM to a server in a session of its own.

    What comes is noted in ``into`` while it does, if that is given.

    Raises:
        SessionRefusedError: the server answered 429.
        BenchError: the session was lost.
    """
    heard = Heard() if into is None else into
    started: float | None = None
    opened = asyncio.Event()

    def note(event: ServerEvent) -> None:
        if isinstance(event, SessionUpdated):
            opened.set()
        heard.take(event, 0.0 if started is None else (time.monotonic() - started) * 1000)

    def lose(lost: SessionLost) -> None:
        heard.lost = lost
        opened.set()

    config = SessionConfig(
        sample_rate=LINE_RATE_HZ,
        turn_detection=TurnDetection(silence_duration_ms=silence_ms),
        extensions=Extensions(emotion=emotion),
    )
    limits = SessionLimits(queue_bytes=len(pcm) + 1, finish_s=_FINISH_S)
    session = RecogniserSession(http, endpoint, config, on_event=note, on_lost=lose, limits=limits)
    session.start()
    try:
        await opened.wait()
        heard.started = started = time.monotonic()
        if heard.lost is None:
            await _play(session, pcm, started if realtime else None)
            session.finish()
        await session.wait_closed()
    finally:
        await session.close()
    if heard.lost is not None:
        if heard.lost.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise SessionRefusedError(f"the session was refused: {heard.lost.detail}")
        raise BenchError(f"the session was lost: {heard.lost.detail}")
    return heard


async def _play(session: RecogniserSession, pcm: bytes, started: float | None) -> None:
    for number, begin in enumerate(range(0, len(pcm), _APPEND_BYTES), start=1):
        if started is not None:
            await asyncio.sleep(max(0.0, started + number * APPEND_MS / 1000 - time.monotonic()))
        session.append(pcm[begin : begin + _APPEND_BYTES])
