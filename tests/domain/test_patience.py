from __future__ import annotations

import pytest

from qa_service.domain.hearing import MUTE_AFTER_S, MUTE_SPEECH_MS, Hearing
from qa_service.domain.patience import (
    FINISH_TIMEOUT_S,
    LEAST_HEARING_S,
    LONG_UTTERANCE_S,
    LONGEST_UTTERANCE_S,
    MISSING_FINAL,
    MUTE,
    OVERDUE_S,
    UNFINISHED,
    Failure,
    Tries,
    find_failure,
    is_endless,
    retry_delay_s,
)
from qa_service.domain.recognition import Recognition
from qa_service.domain.timeline import SessionTimeline
from qa_service.protocol.events import Completed, SpeechStarted, SpeechStopped
from tests.domain.builders import RATE

FINAL_TIMEOUT_S = 30.0


def a_session(*, seconds: int = 120, extensions: bool | None = True) -> Recognition:
    """A session that was sent so much audio at once, and answered at second 0."""
    timeline = SessionTimeline(RATE)
    timeline.append(0, seconds * RATE)
    return Recognition(1, timeline, silence_ms=800, padding_ms=300, floor=0, honours_extensions=extensions)


def failure_at(session: Recognition, now: float, hearing: Hearing | None = None) -> Failure | None:
    return find_failure(session, hearing or Hearing(RATE), final_timeout_s=FINAL_TIMEOUT_S, now=now)


def test_a_final_is_missing_after_its_time() -> None:
    session = a_session()
    session.note(SpeechStarted("a", 0), now=0.0, at_ms=0)
    session.note(SpeechStopped("a", 2000), now=1.0, at_ms=0)

    assert failure_at(session, 1.0 + FINAL_TIMEOUT_S) is None
    assert failure_at(session, 1.1 + FINAL_TIMEOUT_S) == MISSING_FINAL


def test_a_final_that_was_overtaken_is_missing_soon() -> None:
    session = a_session()
    for item in "ab":
        session.note(SpeechStarted(item, None), now=0.0, at_ms=0)
        session.note(SpeechStopped(item, None), now=0.0, at_ms=0)
    session.note(Completed("b", "later"), now=1.0, at_ms=0)

    assert failure_at(session, 1.0 + OVERDUE_S) is None
    assert failure_at(session, 1.1 + OVERDUE_S) == MISSING_FINAL


def test_a_session_that_finishes_is_waited_for_as_long_as_it_says_something() -> None:
    session = a_session()
    session.note(SpeechStarted("a", 0), now=0.0, at_ms=0)
    session.finish_sent_at = 1.0
    session.note(SpeechStopped("a", 2000), now=5.0, at_ms=0)

    assert failure_at(session, 5.0 + FINISH_TIMEOUT_S) is None
    assert failure_at(session, 5.1 + FINISH_TIMEOUT_S) == UNFINISHED


def test_a_recogniser_that_tells_its_progress_is_mute_when_it_tells_none() -> None:
    session = a_session()
    session.note_sent(MUTE_SPEECH_MS * RATE // 1000, now=1.0)

    assert failure_at(session, 1.0 + MUTE_AFTER_S) is None
    assert failure_at(session, 1.1 + MUTE_AFTER_S) == MUTE


def test_nobody_is_mute_before_the_session_is_configured() -> None:
    session = a_session(extensions=None)
    session.note_sent(60 * RATE, now=0.0)

    assert failure_at(session, 100.0) is None


@pytest.mark.parametrize(("extensions", "most_s"), [(False, LONG_UTTERANCE_S), (True, LONGEST_UTTERANCE_S)])
def test_an_utterance_is_endless_when_audio_and_time_agree(*, extensions: bool, most_s: int) -> None:
    session, hearing = a_session(extensions=extensions), Hearing(RATE)
    session.note(SpeechStarted("a", 0), now=0.0, at_ms=0)
    start = session.items["a"].start
    far, late = start + most_s * RATE + 1, LEAST_HEARING_S + 0.1

    assert is_endless(session, hearing, sent_until=far, now=late)
    assert not is_endless(session, hearing, sent_until=far - 1, now=late)
    assert not is_endless(session, hearing, sent_until=far, now=float(LEAST_HEARING_S))

    session.note(SpeechStopped("a", 1000), now=late, at_ms=0)

    assert not is_endless(session, hearing, sent_until=far, now=late)


def test_tries_count_while_nothing_advances() -> None:
    tries = Tries()

    assert [tries.note(position) for position in (0, 0, 0, 8000, 8000)] == [1, 2, 3, 1, 2]


def test_waits_between_sessions_double_up_to_a_bound() -> None:
    assert [retry_delay_s(losses) for losses in (1, 2, 3, 4, 5, 1000)] == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0]
