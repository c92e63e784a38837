"""The log-mel front end against the models' own definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qa_service.audio.mel import MEL_BANDS, log_mel

RATE = 16_000


def sweep() -> np.ndarray:
    time = np.arange(RATE) / RATE
    return (0.5 * np.sin(2 * np.pi * (200 * time + 1500 * time**2))).astype(np.float32)


def test_a_sweep_looks_as_it_does_to_a_reference_implementation():
    # faster-whisper 1.2.1, FeatureExtractor()(sweep, padding=0).
    expected = {
        (0, 0): 1.165871024131775,
        (3, 0): 1.3431212902069092,
        (10, 50): -0.5530481338500977,
        (40, 50): 1.3889247179031372,
        (79, 99): -0.37415146827697754,
    }

    mel = log_mel(sweep(), 1.0)

    assert expected == {at: pytest.approx(float(mel[at]), abs=1e-5) for at in expected}


def test_one_frame_equals_the_definition_written_out():
    samples = sweep()
    frame = 37
    cut = samples[frame * 160 - 200 : frame * 160 + 200].astype(np.float64)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    basis = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(400)) / 400)
    power = np.abs(basis @ (cut * window)) ** 2

    def to_hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    top = 15 + math.log(8) / (math.log(6.4) / 27)
    edges = [to_hz(top * i / 81) for i in range(82)]
    bands = []
    for low, centre, high in zip(edges, edges[1:], edges[2:], strict=False):
        rise = [(hz - low) / (centre - low) for hz in range(0, 8001, 40)]
        fall = [(high - hz) / (high - centre) for hz in range(0, 8001, 40)]
        weight = [max(0.0, min(up, down)) for up, down in zip(rise, fall, strict=True)]
        bands.append(np.dot(weight, power) * 2 / (high - low))
    everything = log_mel(samples, 1.0)
    floor = everything.max() * 4 - 4 - 8

    expected = (np.maximum(np.log10(np.maximum(bands, 1e-10)), floor) + 4) / 4

    assert np.abs(expected - everything[:, frame]).max() < 1e-4


@pytest.mark.parametrize("window_s", [3.0, 5.0, 10.0, 30.0])
def test_short_audio_fills_the_window_with_silence(window_s):
    mel = log_mel(sweep(), window_s)

    assert (MEL_BANDS, int(window_s * 100)) == mel.shape
    assert mel.dtype == np.float32
    assert mel.flags.c_contiguous
    assert np.ptp(mel[:, 110:]) == 0


def test_long_audio_is_cut_to_the_window():
    assert log_mel(sweep(), 0.5).shape == (MEL_BANDS, 50)


def test_no_audio_at_all_is_silence():
    mel = log_mel(np.zeros(0, np.float32), 1.0)

    assert np.ptp(mel) == 0
