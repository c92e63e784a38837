from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from qa_service.audio.voice_gate import WARM_UP_WINDOWS, VoiceGate

RATE = 8000
WINDOW = RATE // 10
noise = np.random.default_rng(7)


def sound(dbfs: float, windows: int = 1) -> bytes:
    """Noise of a level, relative to a full-scale square wave."""
    level = 32768 * 10 ** (dbfs / 20)
    return np.clip(noise.normal(0, level, windows * WINDOW), -32768, 32767).astype("<i2").tobytes()


def test_digital_silence_is_no_speech() -> None:
    assert VoiceGate(RATE).find_speech(bytes(2 * RATE)) == []


def test_speech_stands_out_of_line_noise() -> None:
    gate = VoiceGate(RATE)
    gate.find_speech(sound(-55, 30))

    assert gate.find_speech(sound(-55) + sound(-26, 2) + sound(-55)) == [(WINDOW, 3 * WINDOW)]


def test_a_short_word_in_a_long_chunk_is_heard() -> None:
    gate = VoiceGate(RATE)
    gate.find_speech(sound(-60, 30))

    assert gate.find_speech(sound(-60, 4) + sound(-35) + sound(-60, 5)) == [(4 * WINDOW, 5 * WINDOW)]


def test_steady_noise_counts_as_speech_for_a_second_at_most() -> None:
    gate = VoiceGate(RATE)

    heard = gate.find_speech(sound(-35, 100))

    assert heard == [(0, WARM_UP_WINDOWS * WINDOW)]


def test_speech_from_the_first_sample_on_is_heard() -> None:
    assert VoiceGate(RATE).find_speech(sound(-26)) == [(0, WINDOW)]


@given(st.integers(0, 3 * WINDOW))
def test_ranges_stay_inside_the_audio(samples: int) -> None:
    pcm = sound(-20, 3)[: 2 * samples]

    found = VoiceGate(RATE).find_speech(pcm)

    assert found == ([(0, samples)] if samples else [])
