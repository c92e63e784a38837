from __future__ import annotations

import numpy as np
import pytest

from qa_service.audio.loudness import active_level_dbfs

RATE = 8000


def tone(dbfs: float, seconds: float) -> np.ndarray:
    """A sine whose mean power is that many dB below a full-scale square wave."""
    amplitude = 32768 * 10 ** (dbfs / 20) * np.sqrt(2)
    return amplitude * np.sin(2 * np.pi * 440 * np.arange(int(RATE * seconds)) / RATE)


def level(*parts: np.ndarray) -> float | None:
    return active_level_dbfs(np.concatenate(parts).astype("<i2").tobytes(), RATE)


@pytest.mark.parametrize("dbfs", [-6, -26, -50])
def test_a_steady_tone_has_its_own_level(dbfs):
    assert level(tone(dbfs, 1)) == pytest.approx(dbfs, abs=0.1)


def test_pauses_and_the_noise_of_the_line_do_not_make_a_speaker_quiet():
    assert level(tone(-20, 1), tone(-60, 3), tone(-20, 1)) == pytest.approx(-20, abs=0.1)


def test_softer_speech_within_the_margin_counts():
    assert level(tone(-20, 1), tone(-30, 1)) == pytest.approx(-22.6, abs=0.1)


def test_a_stretch_shorter_than_a_window_is_measured_whole():
    assert level(tone(-26, 0.05)) == pytest.approx(-26, abs=0.2)


@pytest.mark.parametrize("samples", [0, 800])
def test_silence_has_no_level(samples):
    assert level(np.zeros(samples)) is None
