"""The measurements: their number, their purity, and that they measure what their names say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from qa_service.asr_server.emotion.features import NAMES, PROSODY, TIMBRE, measure

from .conftest import RATE, buzz


def value(samples: np.ndarray, name: str) -> float:
    return float(measure(samples).values[NAMES.index(name)])


def test_there_are_28_values_of_prosody_and_98_of_timbre_each_with_its_own_name():
    assert (len(PROSODY), len(TIMBRE)) == (28, 98)
    assert len(set(NAMES)) == len(NAMES) == len(measure(buzz(120)).values)


def test_the_same_sound_measures_the_same_and_is_left_alone():
    voice = buzz(180)
    before = voice.copy()

    first, second = measure(voice), measure(voice)

    assert first.values.tobytes() == second.values.tobytes()
    assert voice.tobytes() == before.tobytes()


@settings(deadline=None, max_examples=25)
@given(
    samples=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60),
    repeats=st.integers(1, 200),
)
def test_whatever_comes_in_the_values_are_finite(samples, repeats):
    measured = measure(np.array(samples * repeats, dtype=np.float32))

    assert np.isfinite(measured.values).all()
    assert 0 <= measured.voiced_share <= 1


@pytest.mark.parametrize("pitch_hz", [90, 120, 180, 250, 350])
def test_pitch_is_found_though_the_telephone_cuts_the_fundamental_away(pitch_hz):
    assert value(buzz(pitch_hz), "pitch_p50") == pytest.approx(12 * np.log2(pitch_hz / 100), abs=0.3)


def test_a_rising_voice_has_a_rising_trend():
    time = np.arange(RATE) / RATE
    phase = 2 * np.pi * (120 * time + 60 * time**2)  # 120 to 240 Hz: an octave in a second
    rising = sum(np.cos(k * phase) / k for k in range(3, 14)).astype(np.float32) * np.float32(0.05)

    assert value(rising, "pitch_trend") == pytest.approx(12, abs=2)


def test_noise_has_no_pitch():
    noise = np.random.default_rng(2).standard_normal(RATE).astype(np.float32) * np.float32(0.1)

    assert measure(noise).voiced_share < 0.05


def test_syllables_are_counted_by_the_second_whatever_the_length():
    rates = [value(buzz(140, seconds, syllables_per_s=4), "peaks_per_s") for seconds in (1.5, 3.0, 6.0)]

    assert rates == [pytest.approx(4, abs=0.7)] * 3


def test_syllables_move_the_level_at_their_own_rate():
    slow, fast = (buzz(140, 3.0, syllables_per_s=rate) for rate in (3, 6))

    assert value(slow, "total_mod2") > value(slow, "total_mod4")
    assert value(fast, "total_mod4") > value(fast, "total_mod2")


def test_a_brighter_voice_tilts_up():
    dull = buzz(150)
    bright = np.diff(dull, prepend=np.float32(0))

    assert value(bright, "tilt_mean") > value(dull, "tilt_mean") + 3
    assert value(bright, "alpha_mean") > value(dull, "alpha_mean")


def test_a_steady_tone_does_not_move():
    tone = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32) * np.float32(0.2)

    assert measure(tone).energy_std_db < 1.5
