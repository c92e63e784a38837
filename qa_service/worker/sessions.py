"""The recogniser sessions of a worker: carries out what legs decided, and hands back what sessions say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
import structlog

from qa_service import metrics
from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.rate import SessionGate
from qa_service.asr.session import RecogniserSession, SessionLost
from qa_service.domain.actions import AbandonSession, Action, Append, FinishSession, OpenSession
from qa_service.domain.partition import LegKey
from qa_service.protocol.config import SessionConfig
from qa_service.protocol.events import LegStateAnswer, ServerEvent, SessionFinished
from qa_service.worker.clock import Clock

_log = structlog.get_logger(__name__)

REFUSED_PAUSE_S = 5.0
"""No new session for so long after a 429, or a key that is refused: it would be every leg's. Legs that wait
keep their audio meanwhile."""
TELL_EVERY_S = 10.0
"""Losses for one reason are told once in so long, with how many more there were: all legs may lose theirs."""
LOSS_COUNTS_S = 60.0
"""A loss is evidence for so long: legs try again every few seconds, so then no leg needs a session."""


@dataclass(frozen=True, slots=True)
class SessionListener:
    """Who hears of a session."""

    on_event: Callable[[LegKey, int, ServerEvent], None]
    on_lost: Callable[[LegKey, int], None]


@dataclass(slots=True, eq=False)
class _Entry:
    key: LegKey
    number: int
    listener: SessionListener
    session: RecogniserSession
    opening: asyncio.Task[None]


class SessionPool:
    """At most one session per leg; a number tells a leg's successive sessions apart."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        endpoint: RecogniserEndpoint,
        gate: SessionGate,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._gate = gate
        self._clock = clock or Clock()
        self._entries: dict[LegKey, _Entry] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loss: SessionLost | None = None
        self._lost_at = 0.0
        self._told_at: dict[str, float] = {}
        self._untold = Counter[str]()

    def open(
        self, key: LegKey, action: OpenSession, config: SessionConfig, listener: SessionListener
    ) -> None:
        """Open a session as soon as the rate allows; what is appended meanwhile waits in it."""
        self._close(key)  # there is none, unless two owners of one partition overlap
        session = RecogniserSession(
            self._http,
            self._endpoint,
            config,
            on_event=lambda event: self._pass_event(entry, event),
            on_lost=lambda lost: self._pass_loss(entry, lost),
        )
        opening = asyncio.create_task(self._start(key, session), name="recogniser-session-gate")
        entry = self._entries[key] = _Entry(key, action.number, listener, session, opening)

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

    def abandon(self, listener: SessionListener) -> None:
        """Close the sessions of one listener; it hears of none of them any more."""
        for entry in [entry for entry in self._entries.values() if entry.listener is listener]:
            self._close(entry.key)

    @property
    def live(self) -> int:
        """Sessions that are open, being opened, or wait for their turn."""
        return len(self._entries)

    @property
    def last_loss(self) -> SessionLost | None:
        """Why the newest attempt failed; None once a session answers again, or if none is wanted any more."""
        is_recent = self._clock.monotonic() - self._lost_at < LOSS_COUNTS_S
        return self._loss if is_recent else None

    async def close(self) -> None:
        """Close every session without waiting for results."""
        for key in list(self._entries):
            self._close(key)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _start(self, key: LegKey, session: RecogniserSession) -> None:
        # The session's own task is made in here, so every line it logs names the leg.
        structlog.contextvars.bind_contextvars(call_id=key.call_id, leg_id=key.leg_id)
        await self._gate.pass_through()
        session.start()

    def _pass_event(self, entry: _Entry, event: ServerEvent) -> None:
        if self._entries.get(entry.key) is not entry:
            return  # closed by us, and still in the middle of an event
        self._loss = None
        if isinstance(event, SessionFinished):
            del self._entries[entry.key]  # it hangs up by itself
        elif isinstance(event, LegStateAnswer):
            _note_leg_state(entry.key, event)
        entry.listener.on_event(entry.key, entry.number, event)

    def _pass_loss(self, entry: _Entry, lost: SessionLost) -> None:
        if self._entries.get(entry.key) is not entry:
            return
        del self._entries[entry.key]
        self._loss, self._lost_at = lost, self._clock.monotonic()
        self._tell(entry.key, lost)
        if lost.reason in ("rate_limited", "unauthorised"):
            self._gate.hold_off(REFUSED_PAUSE_S)
        entry.listener.on_lost(entry.key, entry.number)

    def _tell(self, key: LegKey, lost: SessionLost) -> None:
        log = _log.bind(call_id=key.call_id, leg_id=key.leg_id, reason=lost.reason, detail=lost.detail)
        told_at = self._told_at.get(lost.reason)
        if told_at is not None and self._lost_at - told_at < TELL_EVERY_S:
            self._untold[lost.reason] += 1
            log.debug("session_lost")
            return
        self._told_at[lost.reason] = self._lost_at
        tell = log.warning if lost.retryable else log.error
        tell("session_lost", not_told_before=self._untold.pop(lost.reason, 0))

    def _close(self, key: LegKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        entry.opening.cancel()
        task = asyncio.create_task(entry.session.close(), name="recogniser-session-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _note_leg_state(key: LegKey, answer: LegStateAnswer) -> None:
    """Count whether a new session of a leg goes on with what an earlier one had learnt."""
    metrics.LEG_STATES["taken" if answer.accepted else "refused"].inc()
    if not answer.accepted:
        _log.warning(
            "leg_state_not_taken", call_id=key.call_id, leg_id=key.leg_id, reason=str(answer.reason)[:80]
        )
