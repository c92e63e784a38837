from __future__ import annotations

from qa_service.domain.hearing import MUTE_AFTER_S, SOUND_AFTER_S, Hearing
from tests.domain.builders import RATE, hush, word


def hearing(seconds: str) -> Hearing:
    """What was heard of seconds of speech (s) and quiet (.), each sent when it was said."""
    heard = Hearing(RATE)
    heard.restart(0, now=0.0)
    for second, sound in enumerate(seconds):
        for tenth in range(10):
            audio = word(1, 800) if sound == "s" and tenth % 2 else hush(800)
            heard.listen(second * RATE + tenth * 800, audio, now=second + tenth / 10)
        heard.settle((second + 1) * RATE, now=float(second + 1))
    return heard


def test_quiet_stays_behind_what_was_sent() -> None:
    assert hearing("....").quiet_until() == 2 * RATE


def test_quiet_ends_where_unanswered_speech_begins() -> None:
    assert hearing("..s...").quiet_until() == 2 * RATE + 800 - RATE


def test_answered_speech_is_forgotten() -> None:
    heard = hearing("..s...")

    heard.forget_until(3 * RATE)

    assert heard.first_unanswered is None
    assert heard.quiet_until() == 4 * RATE


def test_audio_sent_just_now_is_not_quiet_yet() -> None:
    heard = Hearing(RATE)
    heard.restart(0, now=0.0)
    heard.listen(0, hush(60 * RATE), now=0.1)
    heard.settle(60 * RATE, now=0.2)

    assert heard.quiet_until() < 0


def test_speech_without_an_answer_for_long_shows_a_mute_recogniser() -> None:
    heard = hearing("ssssss")

    assert not heard.misses_answer(heard_at=0.0, now=MUTE_AFTER_S - 1)
    assert heard.misses_answer(heard_at=0.0, now=MUTE_AFTER_S + 1)


def test_a_recogniser_that_says_anything_is_not_mute() -> None:
    assert not hearing("ssssss").misses_answer(heard_at=5.0, now=MUTE_AFTER_S + 1)


def test_clicks_are_forgotten_once_a_dead_connection_would_have_been_found_out() -> None:
    heard = hearing("s..")

    assert not heard.misses_answer(heard_at=0.0, now=2 * MUTE_AFTER_S)
    assert heard.first_unanswered is not None
    assert not heard.misses_answer(heard_at=0.0, now=2 * SOUND_AFTER_S)
    assert heard.first_unanswered is None
