"""What counts as speech: ends trimmed, level set, silence refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.emotion.speech import find_speech

from .conftest import RATE, buzz


@pytest.mark.parametrize("silence", [np.zeros(0), np.zeros(100), np.zeros(RATE), np.full(RATE, 3e-4)])
def test_silence_is_no_speech(silence):
    assert find_speech(silence.astype(np.float32)) is None


@given(before=st.integers(0, RATE), after=st.integers(0, RATE))
def test_silence_around_speech_is_taken_off(before, after):
    voice = buzz(150)
    padded = np.concatenate([np.zeros(before), voice, np.zeros(after)]).astype(np.float32)

    speech = find_speech(padded)

    assert speech is not None
    assert abs(len(speech.samples) - len(voice)) <= 0.1 * RATE


@given(gain=st.floats(0.02, 5.0))
def test_loudness_makes_no_difference(gain):
    voice = buzz(150)

    quiet, loud = find_speech(voice), find_speech(voice * np.float32(gain))

    assert quiet is not None
    assert loud is not None
    assert np.allclose(quiet.samples, loud.samples, atol=1e-4)


def test_pauses_do_not_count_as_speech():
    voice = buzz(150, 1.0)
    with_pause = np.concatenate([voice, np.zeros(3 * RATE, np.float32), voice])

    once, twice = find_speech(voice), find_speech(with_pause)

    assert once is not None
    assert twice is not None
    assert twice.active_s == pytest.approx(2 * once.active_s, abs=0.1)
