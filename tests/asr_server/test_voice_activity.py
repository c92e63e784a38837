from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.engines.scripted import markers
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.voice_activity import FRAME_SAMPLES, LoudnessDetector, SileroDetector
from qa_service.models import ensure


def test_markers_are_loud_and_silence_is_not() -> None:
    silence = np.zeros(10 * FRAME_SAMPLES, dtype=np.float32)
    sound = markers(["w1", "w2", "w3", "w4", "w5"], rate_hz=8000)
    stream = LoudnessDetector().open()

    assert {frame.probability for frame in stream.push(silence)} == {0.0}
    assert np.mean([frame.probability for frame in stream.push(sound)]) > 0.6


def test_the_halves_of_a_frame_have_levels_of_their_own() -> None:
    frame = np.concatenate((np.full(128, 0.1), np.zeros(128))).astype(np.float32)
    (found,) = LoudnessDetector().open().push(frame)

    assert found.levels_db == pytest.approx((-20.0, -100.0), abs=0.01)


@given(st.lists(st.integers(0, 700), max_size=20))
def test_frames_do_not_depend_on_the_pieces_that_samples_come_in(sizes: list[int]) -> None:
    samples = np.random.default_rng(5).normal(0, 0.02, sum(sizes)).astype(np.float32)
    stream = LoudnessDetector().open()
    cuts = np.split(samples, np.cumsum(sizes)[:-1]) if sizes else []
    found = [p for piece in cuts for p in stream.push(piece)]

    assert found == LoudnessDetector().open().push(samples)
    assert len(found) == len(samples) // FRAME_SAMPLES


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "silero.onnx"
    path.write_bytes(b"no model")

    with pytest.raises(EngineError, match=str(path)):
        SileroDetector(path)


@pytest.mark.models
def test_silero_hears_no_speech_in_silence_and_noise(cache_dir: Path) -> None:
    detector = SileroDetector(ensure("silero-vad", cache_dir))
    noise = np.random.default_rng(2).normal(0, 0.01, 80_000).astype(np.float32)

    for samples in (np.zeros(80_000, dtype=np.float32), noise):
        frames = detector.open().push(samples)
        assert len(frames) == 312
        assert max(frame.probability for frame in frames) < 0.5


@pytest.mark.models
def test_silero_keeps_one_state_per_stream(cache_dir: Path) -> None:
    detector = SileroDetector(ensure("silero-vad", cache_dir))
    noise = np.random.default_rng(2).normal(0, 0.1, 20_000).astype(np.float32)
    one, other = detector.open(), detector.open()
    one.push(noise[::-1].copy())

    assert other.push(noise) == detector.open().push(noise)
