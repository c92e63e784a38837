"""The pool of recogniser sessions: whose they are, what is told of a loss, what a closed one may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from qa_service import metrics
from qa_service.asr.rate import SessionGate
from qa_service.asr.session import SessionLost
from qa_service.domain.actions import AbandonSession, Append, OpenSession
from qa_service.domain.partition import LegKey
from qa_service.protocol.config import SessionConfig
from qa_service.protocol.events import LegStateAnswer, ServerEvent, SessionFinished
from qa_service.worker import sessions as module
from qa_service.worker.sessions import LOSS_COUNTS_S, TELL_EVERY_S, SessionListener, SessionPool
from tests.domain.builders import session_updated
from tests.support.waiting import eventually
from tests.worker.fakes import ManualClock

LOST = SessionLost("closed", "gone", retryable=True)
KEY = LegKey("call", "customer")


class FakeSession:
    """Takes the place of a RecogniserSession; a test lets it speak."""

    made: list[FakeSession]

    def __init__(
        self, *_: Any, on_event: Callable[[ServerEvent], None], on_lost: Callable[[SessionLost], None]
    ) -> None:
        self.on_event, self.on_lost = on_event, on_lost
        self.appended: list[bytes] = []
        self.context: dict[str, Any] = {}
        self.is_closed = False
        self.made.append(self)

    def start(self) -> None:
        self.context = structlog.contextvars.get_contextvars()

    def append(self, pcm: bytes) -> None:
        self.appended.append(pcm)

    async def close(self) -> None:
        self.is_closed = True


class Heard:
    """A listener and what it heard."""

    def __init__(self) -> None:
        self.events: list[tuple[LegKey, int, ServerEvent]] = []
        self.losses: list[tuple[LegKey, int]] = []
        self.listener = SessionListener(
            lambda *event: self.events.append(event), lambda *loss: self.losses.append(loss)
        )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> SessionPool:
    FakeSession.made = []
    monkeypatch.setattr(module, "RecogniserSession", FakeSession)
    return SessionPool(None, None, SessionGate(1000.0), clock=clock)  # type: ignore[arg-type]


def open_one(pool: SessionPool, heard: Heard, key: LegKey = KEY, number: int = 1) -> FakeSession:
    pool.open(key, OpenSession(number), SessionConfig(sample_rate=8000), heard.listener)
    return FakeSession.made[-1]


async def test_a_session_names_its_leg_on_every_line_it_logs(pool: SessionPool) -> None:
    session = open_one(pool, Heard())
    await eventually(lambda: session.context, waiting_for="the session to be started")

    assert session.context == {"call_id": "call", "leg_id": "customer"}
    assert structlog.contextvars.get_contextvars() == {}


async def test_what_a_session_says_reaches_its_listener(pool: SessionPool) -> None:
    heard = Heard()
    session, event = open_one(pool, heard, number=3), session_updated(extensions=True)
    session.on_event(event)

    assert heard.events == [(KEY, 3, event)]


async def test_an_action_for_an_earlier_session_is_left_out(pool: SessionPool) -> None:
    session = open_one(pool, Heard(), number=2)
    pool.apply(KEY, Append(1, b"old"))
    pool.apply(KEY, Append(2, b"new"))

    assert session.appended == [b"new"]


async def test_a_session_that_was_closed_is_not_heard_even_under_the_same_number(pool: SessionPool) -> None:
    first, second = Heard(), Heard()
    old = open_one(pool, first)
    pool.abandon(first.listener)
    open_one(pool, second)
    old.on_event(SessionFinished())
    old.on_lost(LOST)

    assert first.events == second.events == []
    assert first.losses == second.losses == []
    assert pool.live == 1


async def test_a_listener_that_goes_takes_only_its_own_sessions_along(pool: SessionPool) -> None:
    going, staying = Heard(), Heard()
    gone = open_one(pool, going)
    stays = open_one(pool, staying, LegKey("other", "customer"))
    pool.abandon(going.listener)
    await eventually(lambda: gone.is_closed, waiting_for="the session to be closed")

    assert not stays.is_closed


async def test_an_abandoned_session_is_closed(pool: SessionPool) -> None:
    session = open_one(pool, Heard())
    pool.apply(KEY, AbandonSession(1, "for a test"))
    await pool.close()

    assert session.is_closed
    assert pool.live == 0


async def test_losing_all_sessions_at_once_is_told_in_one_line_and_their_number_later(
    pool: SessionPool, clock: ManualClock
) -> None:
    heard = Heard()
    with structlog.testing.capture_logs() as lines:
        for number in range(100):
            open_one(pool, heard, LegKey(f"call-{number}", "customer")).on_lost(LOST)
        clock.now += TELL_EVERY_S
        open_one(pool, heard).on_lost(LOST)
    told = [line for line in lines if line["log_level"] == "warning"]

    assert len(heard.losses) == 101
    assert [line["not_told_before"] for line in told] == [0, 99]
    assert {(line["call_id"], line["leg_id"]) for line in told} == {
        ("call-0", "customer"),
        ("call", "customer"),
    }


async def test_a_loss_counts_until_a_session_answers_or_nobody_tries_any_more(
    pool: SessionPool, clock: ManualClock
) -> None:
    open_one(pool, Heard()).on_lost(LOST)
    assert pool.last_loss == LOST
    open_one(pool, Heard()).on_event(session_updated(extensions=True))
    assert pool.last_loss is None
    open_one(pool, Heard()).on_lost(LOST)
    clock.now += LOSS_COUNTS_S

    assert pool.last_loss is None


@pytest.mark.parametrize(("accepted", "result"), [(True, "taken"), (False, "refused")])
async def test_what_became_of_a_leg_state_is_counted_and_a_refusal_told(
    pool: SessionPool, *, accepted: bool, result: str
) -> None:
    heard, answer = Heard(), LegStateAnswer(accepted, None if accepted else "other_model")
    session, before = open_one(pool, heard), metrics.LEG_STATES[result]._value.get()
    with structlog.testing.capture_logs() as logs:
        session.on_event(answer)

    assert metrics.LEG_STATES[result]._value.get() == before + 1
    assert [(line["event"], line["leg_id"], line["reason"]) for line in logs] == (
        [] if accepted else [("leg_state_not_taken", "customer", "other_model")]
    )
    assert heard.events == [(KEY, 1, answer)]
