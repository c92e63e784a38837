"""The recogniser sessions of a worker: carries out what legs decided, and hands back what sessions say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import structlog

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.rate import SessionGate
from qa_service.asr.session import RecogniserSession, SessionLost
from qa_service.domain.leg import AbandonSession, Action, Append, FinishSession, OpenSession
from qa_service.domain.partition import LegKey
from qa_service.protocol.config import SessionConfig
from qa_service.protocol.events import ServerEvent, SessionFinished

_log = structlog.get_logger(__name__)

RATE_LIMIT_PAUSE_S = 5.0
"""No new session for so long after a 429; legs that wait keep their audio meanwhile."""


@dataclass(frozen=True, slots=True)
class SessionListener:
    """Who hears of a session."""

    on_event: Callable[[LegKey, int, ServerEvent], None]
    on_lost: Callable[[LegKey, int], None]


@dataclass(slots=True)
class _Entry:
    number: int
    session: RecogniserSession
    opening: asyncio.Task[None]


class SessionPool:
    """At most one session per leg; a number tells a leg's successive sessions apart."""

    def __init__(self, http: aiohttp.ClientSession, endpoint: RecogniserEndpoint, gate: SessionGate) -> None:
        self._http = http
        self._endpoint = endpoint
        self._gate = gate
        self._entries: dict[LegKey, _Entry] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._last_loss: SessionLost | None = None

    def open(
        self, key: LegKey, action: OpenSession, config: SessionConfig, listener: SessionListener
    ) -> None:
        """Open a session as soon as the rate allows; what is appended meanwhile waits in it."""
        number = action.number
        session = RecogniserSession(
            self._http,
            self._endpoint,
            config,
            on_event=lambda event: self._pass_event(key, number, event, listener),
            on_lost=lambda lost: self._pass_loss(key, number, lost, listener),
        )
        opening = asyncio.create_task(self._start(session), name="recogniser-session-gate")
        self._entries[key] = _Entry(number, session, opening)

    def apply(self, key: LegKey, action: Action) -> None:
        """Carry out anything but the opening of a session."""
        entry = self._entries.get(key)
        if entry is None or entry.number != action.number:
            return  # lost already; the leg is about to hear of it
        match action:
            case Append(pcm=pcm):
                entry.session.append(pcm)
            case FinishSession():
                entry.session.finish()
            case AbandonSession(reason=reason):
                _log.info("session_abandoned", call_id=key.call_id, leg_id=key.leg_id, reason=reason)
                self._close(key)
            case OpenSession():
                raise AssertionError("sessions are opened with their configuration")

    def abandon_all(self, keys: list[LegKey]) -> None:
        """Close sessions whose legs are no longer ours."""
        for key in keys:
            self._close(key)

    def keys(self) -> list[LegKey]:
        """Legs that have a session."""
        return list(self._entries)

    @property
    def last_loss(self) -> SessionLost | None:
        """Why the newest attempt failed; None once a session became usable again."""
        return self._last_loss

    async def close(self) -> None:
        """Close every session without waiting for results."""
        self.abandon_all(self.keys())
        if self._closing:
            await asyncio.wait(self._closing)

    async def _start(self, session: RecogniserSession) -> None:
        await self._gate.pass_through()
        session.start()

    def _pass_event(self, key: LegKey, number: int, event: ServerEvent, listener: SessionListener) -> None:
        self._last_loss = None
        if isinstance(event, SessionFinished):
            self._forget(key, number)  # it hangs up by itself
        listener.on_event(key, number, event)

    def _pass_loss(self, key: LegKey, number: int, lost: SessionLost, listener: SessionListener) -> None:
        log = _log.warning if lost.retryable else _log.error
        log("session_lost", call_id=key.call_id, leg_id=key.leg_id, reason=lost.reason, detail=lost.detail)
        self._last_loss = lost
        if lost.reason == "rate_limited":
            self._gate.hold_off(RATE_LIMIT_PAUSE_S)
        self._forget(key, number)
        listener.on_lost(key, number)

    def _forget(self, key: LegKey, number: int) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.number == number:
            del self._entries[key]

    def _close(self, key: LegKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        entry.opening.cancel()
        task = asyncio.create_task(entry.session.close(), name="recogniser-session-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
