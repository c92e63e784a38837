from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.audio.resample import StreamResampler, pcm_of_samples, resample, samples_of_pcm


def tone(hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


@given(st.binary(max_size=400).filter(lambda pcm: len(pcm) % 2 == 0))
def test_pcm_comes_back_as_it_was(pcm: bytes) -> None:
    assert pcm_of_samples(samples_of_pcm(pcm)) == pcm


def test_what_is_too_loud_is_clipped() -> None:
    loud = np.array([2.0, -2.0], dtype=np.float32)

    assert samples_of_pcm(pcm_of_samples(loud)) == pytest.approx([1.0, -1.0], abs=1e-4)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(8000, 16_000), (16_000, 8000)])
def test_a_tone_is_the_same_tone_at_the_other_rate(from_hz: int, to_hz: int) -> None:
    resampled = resample(tone(1000, from_hz), from_hz, to_hz)
    middle = slice(to_hz // 10, -to_hz // 10)

    assert len(resampled) == to_hz
    assert resampled.dtype == np.float32
    assert resampled[middle] == pytest.approx(tone(1000, to_hz)[middle], abs=2e-3)


def test_equal_rates_and_nothing_at_all_are_left_alone() -> None:
    nothing = np.zeros(0, dtype=np.float32)

    assert resample(tone(1000, 8000), 8000, 8000) == pytest.approx(tone(1000, 8000))
    assert len(resample(nothing, 8000, 16_000)) == 0


@pytest.mark.parametrize("size", [7, 160, 4000])
def test_a_stream_is_resampled_like_the_whole(size: int) -> None:
    whole = tone(700, 16_000)
    stream = StreamResampler(16_000, 8000)
    parts = [stream.push(whole[start : start + size]) for start in range(0, len(whole), size)]
    joined = np.concatenate([*parts, stream.finish()])

    assert joined == pytest.approx(resample(whole, 16_000, 8000), abs=1e-4)


def test_a_stream_at_its_own_rate_passes_through() -> None:
    stream = StreamResampler(8000, 8000)

    assert stream.push(tone(700, 8000)) == pytest.approx(tone(700, 8000))
    assert len(stream.finish()) == 0
