from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.audibility import FRAME_MS, PARTS, Audibility, VoiceFrame

levels = st.tuples(*[st.floats(-100, 0)] * PARTS)


def voiced(*levels_db: float) -> VoiceFrame:
    return VoiceFrame(0.9, levels_db)


@pytest.mark.parametrize(
    ("levels_db", "audible_ms"),
    [((-20.0, -20.0), 32), ((-20.0, -60.0), 16), ((-60.0, -52.0), 32), ((-54.0, -54.0), 0)],
)
def test_what_is_within_33_db_of_the_loudest_is_heard(
    levels_db: tuple[float, float], audible_ms: int
) -> None:
    audibility = Audibility()
    audibility.audible_ms(voiced(-20.0, -20.0))

    assert audibility.audible_ms(voiced(*levels_db)) == audible_ms


def test_another_utterance_may_be_fainter() -> None:
    audibility = Audibility()
    audibility.audible_ms(voiced(-10.0, -10.0))
    audibility.begin()

    assert audibility.audible_ms(voiced(-60.0, -60.0)) == FRAME_MS


def test_the_noise_of_the_line_is_not_heard_as_speech() -> None:
    audibility = Audibility()
    for _ in range(50):
        audibility.learn_noise(VoiceFrame(0.05, (-40.0, -40.0)))
    audibility.audible_ms(voiced(-20.0, -20.0))

    assert audibility.audible_ms(voiced(-38.0, -38.0)) == 0
    assert audibility.audible_ms(voiced(-33.0, -38.0)) == 16


def test_what_may_be_speech_teaches_nothing_about_noise() -> None:
    audibility = Audibility()
    for _ in range(50):
        audibility.learn_noise(VoiceFrame(0.3, (-25.0, -25.0)))
    audibility.audible_ms(voiced(-20.0, -20.0))

    assert audibility.audible_ms(voiced(-24.0, -24.0)) == FRAME_MS


@given(noise=st.lists(levels, max_size=5), first=levels)
def test_the_loudest_frame_is_heard_in_any_noise(
    noise: list[tuple[float, ...]], first: tuple[float, ...]
) -> None:
    audibility = Audibility()
    for one in noise:
        audibility.learn_noise(VoiceFrame(0.0, one))

    assert audibility.audible_ms(VoiceFrame(0.9, first)) > 0
