"""What the plan decides, without a server."""

from __future__ import annotations

import base64
import json
import math

import pytest
from hypothesis import given, strategies as st

from qa_service.protocol.reader import _KNOWN_TYPES
from qa_service.testing.faults import (
    EVENT_TYPES,
    FINAL,
    Close,
    DelayHandshake,
    Drop,
    FallSilent,
    FaultPlan,
    FaultRule,
    HangUp,
    Heard,
    Mishandle,
    Moment,
    ReadSlowly,
    Refuse,
    SendBinary,
    SendError,
    SendGarbage,
    SessionFaults,
    Strike,
    Tell,
    TellBytes,
)


def event(kind: str, **members: object) -> str:
    return json.dumps({"type": kind, **members})


def append(ms: int, rate: int = 16_000) -> str:
    audio = base64.b64encode(bytes(2 * rate * ms // 1000)).decode()
    return event("input_audio_buffer.append", audio=audio)


def strike(deed, **moment) -> SessionFaults:
    return SessionFaults([Strike(deed=deed, moment=Moment(**moment))])


def told(session: SessionFaults, *texts: str) -> list[str]:
    """What is sent of these texts, numbered by their place."""
    return [effect.text for text in texts for effect in session.tell(text) if isinstance(effect, Tell)]


def test_every_event_of_the_protocol_can_be_named():
    assert set(EVENT_TYPES) == _KNOWN_TYPES


def test_without_a_fault_everything_passes():
    session = SessionFaults([])

    assert session.hear(append(100)) == Heard()
    assert session.tell(event(FINAL)) == (Tell(event(FINAL)),)
    assert (session.refusal, session.handshake_delay_s) == (None, 0)


def test_a_handshake_is_refused_and_delayed():
    session = SessionFaults([DelayHandshake(500), Refuse(429), DelayHandshake(250)])

    assert (session.refusal, session.handshake_delay_s) == (429, 0.75)


def test_a_moment_comes_with_the_append_that_makes_enough_audio():
    session = strike(Drop(), after_audio_ms=200)

    assert [session.hear(append(99)).effects for _ in range(4)] == [(), (), (HangUp(None),), ()]


def test_audio_is_counted_at_the_rate_that_the_client_asked_for():
    session = strike(Close(1011), after_audio_ms=1000)
    session.hear(event("session.update", session={"sample_rate": 8000}))

    assert session.hear(append(999, rate=8000)).effects == ()
    assert session.hear(append(1, rate=8000)).effects == (HangUp(1011),)


@pytest.mark.parametrize(
    "text", ["{", "[]", event("session.update", session={"sample_rate": 5}), '"\\ud800"']
)
def test_what_is_no_audio_brings_no_moment(text):
    assert strike(Drop()).hear(text) == Heard()


def test_the_first_audio_is_a_moment():
    assert strike(SendBinary()).hear(append(10)).effects == (TellBytes(b"\0"),)


def test_a_moment_can_be_just_before_an_event():
    session = strike(SendGarbage("?"), before=FINAL, number=2)
    started = event("input_audio_buffer.speech_started")

    sent = told(session, event(FINAL, n=1), started, event(FINAL, n=2), event(FINAL, n=3))

    assert sent == [event(FINAL, n=1), started, "?", event(FINAL, n=2), event(FINAL, n=3)]


def test_nothing_is_said_after_the_end():
    session = strike(Drop(), before=FINAL)

    assert session.tell(event(FINAL)) == (HangUp(None),)
    assert session.tell(event("session.finished")) == ()
    assert session.hear(append(100)) == Heard()


def test_silence_lasts_though_a_close_may_end_it():
    session = SessionFaults(
        [
            Strike(deed=FallSilent(), moment=Moment(after_audio_ms=100)),
            Strike(deed=Close(), moment=Moment(after_audio_ms=200)),
        ]
    )
    session.hear(append(100))

    assert session.tell(event(FINAL)) == ()
    assert session.is_silent
    assert session.hear(append(100)).effects == (HangUp(1011),)


def test_an_error_is_an_event_of_the_protocol():
    (effect,) = strike(SendError("invalid_request_error", "invalid_value", "no")).hear(append(1)).effects

    assert isinstance(effect, Tell)
    assert json.loads(effect.text)["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "no",
        "param": None,
        "event_id": None,
    }


@pytest.mark.parametrize(
    ("how", "sent"),
    [
        ("missing", ["1", "3", "o"]),
        ("repeated", ["1", "2", "2", "3", "o"]),
        ("reordered", ["1", "3", "2", "o"]),
    ],
)
def test_the_chosen_events_are(how, sent):
    session = SessionFaults([Mishandle(how=how, numbers=frozenset({2}))])
    texts = [event(FINAL, n=str(n)) for n in (1, 2, 3)]

    assert [json.loads(text)["n"] for text in told(session, *texts, event("error", n="o"))] == sent


def test_a_late_event_is_sent_later_and_others_at_once():
    session = SessionFaults([Mishandle(how="late", late_by_ms=1500, event="qa.progress")])

    assert session.tell(event("qa.progress")) == (Tell(event("qa.progress"), 1.5),)
    assert session.tell(event(FINAL)) == (Tell(event(FINAL)),)


def test_faults_of_one_event_add_up():
    session = SessionFaults([Mishandle(how="repeated"), Mishandle(how="late", late_by_ms=100)])

    assert session.tell(event(FINAL)) == (Tell(event(FINAL), 0.1),) * 2


def test_slow_reading_takes_its_time_for_what_is_read():
    session = strike(ReadSlowly(1000))
    text = append(10)

    assert session.reads_slowly
    assert session.hear(text).pause_s == len(text) / 1000
    assert session.hear("x" * 500).pause_s == 0.5


def test_slow_reading_may_pass():
    session = strike(ReadSlowly(100, lasting_ms=7000))
    pauses = [session.hear(text).pause_s for text in (append(1), "x" * 500, "x" * 500, "x" * 500)]

    assert sum(pauses) == pytest.approx(7)
    assert pauses[1] == 5
    assert pauses[-1] == 0


def test_at_no_speed_at_all_nothing_is_read_any_more():
    assert strike(ReadSlowly(0)).hear(append(1)).pause_s == math.inf
    assert strike(ReadSlowly(0, lasting_ms=300)).hear(append(1)).pause_s == 0.3


def refusals(plan: FaultPlan, count: int = 200) -> list[bool]:
    return [plan.for_session(number).refusal is not None for number in range(1, count + 1)]


def test_sessions_are_struck_by_their_numbers():
    plan = FaultPlan(rules=(FaultRule(fault=Refuse(401), sessions=frozenset({2, 3})),))

    assert refusals(plan, 4) == [False, True, True, False]


@given(st.integers(0, 2**31))
def test_a_seed_decides_the_same_way_each_time(seed):
    plan = FaultPlan(seed=seed, rules=(FaultRule(fault=Refuse(503), probability=0.5),))
    longer = FaultPlan(seed=seed, rules=(*plan.rules, FaultRule(fault=Drop(), probability=0.5)))

    assert refusals(plan, 40) == refusals(plan, 40) == refusals(longer, 40)


def test_a_probability_is_met_on_the_whole():
    struck = refusals(FaultPlan(seed=3, rules=(FaultRule(fault=Refuse(503), probability=0.3),)), 2000)

    assert 500 < sum(struck) < 700
    assert not any(refusals(FaultPlan(rules=(FaultRule(fault=Refuse(503), probability=0.0),))))
