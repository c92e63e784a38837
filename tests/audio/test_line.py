"""The telephone line: its band against a reference filter, its codec, its rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from qa_service.audio.g711 import decode_ulaw, encode_ulaw
from qa_service.audio.line import band_pass, through_line, to_float, to_int16

RATE = 8_000


def tone(hz: float, rate: int = RATE, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(rate * seconds)) / rate
    return (0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def level_db(samples: np.ndarray) -> float:
    steady = samples[len(samples) // 4 : -len(samples) // 4].astype(np.float64)
    return 10 * np.log10(np.mean(steady**2))


@pytest.mark.parametrize("band", [(300.0, 3400.0), (200.0, 3650.0), (500.0, 2700.0)])
def test_the_band_pass_equals_a_recursive_butterworth_filter(band):
    noise = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
    sections = signal.butter(4, band, "bandpass", fs=RATE, output="sos")

    expected = signal.sosfilt(sections, noise)

    assert np.abs(expected - band_pass(noise, band)).max() < 1e-5


@pytest.mark.parametrize(("hz", "loss_db"), [(300, 3.0), (1000, 0.0), (3400, 3.0)])
def test_the_line_loses_three_decibels_at_the_edges_of_its_band_and_nothing_inside(hz, loss_db):
    sent = tone(hz)

    received = to_float(through_line(sent, RATE))

    assert level_db(sent) - level_db(received) == pytest.approx(loss_db, abs=0.3)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100])
def test_any_rate_arrives_at_8_khz_with_its_duration(rate):
    received = through_line(tone(1000, rate, seconds=0.5), rate)

    assert len(received) == pytest.approx(RATE // 2, abs=2)
    assert received.dtype == np.int16


def test_what_arrives_can_be_sent_on_as_ulaw_without_further_loss():
    once = through_line(tone(440), RATE)

    assert once.tolist() == decode_ulaw(encode_ulaw(once)).tolist()


def test_samples_of_16_bits_and_floats_sound_the_same():
    floats = tone(700)

    assert through_line(floats, RATE).tolist() == through_line(to_int16(floats), RATE).tolist()


def test_too_loud_is_clipped_not_wrapped():
    assert to_int16(np.array([2.0, -2.0], np.float32)).tolist() == [32767, -32768]
