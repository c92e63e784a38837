from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.audibility import VoiceFrame
from qa_service.asr_server.engines.scripted import markers
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.voice_activity import FRAME_SAMPLES, LoudnessDetector, SileroDetector, push_all
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


@pytest.mark.models
def test_streams_judged_together_are_judged_as_they_would_be_alone(cache_dir: Path) -> None:
    detector = SileroDetector(ensure("silero-vad", cache_dir))
    generator = np.random.default_rng(4)
    sounds = [voiced(generator, seconds) for seconds in (1.0, 2.0, 0.5, 1.5)]
    alone = [detector.open().push(sound) for sound in sounds]
    streams = [detector.open() for _ in sounds]
    together: list[list[VoiceFrame]] = [[] for _ in sounds]
    for begin in range(0, 16_000, 700):  # the shorter ones end earlier, and pieces are no whole frames
        pieces = [sound[begin : begin + 700] for sound in sounds]
        for frames, found in zip(together, push_all(list(zip(streams, pieces, strict=True))), strict=True):
            frames.extend(found)

    assert [len(frames) for frames in together] == [len(frames) for frames in alone]
    for one, other in zip(together, alone, strict=True):
        assert [f.probability for f in one] == pytest.approx([f.probability for f in other], abs=1e-4)
        assert [f.levels_db for f in one] == [f.levels_db for f in other]
    assert max(f.probability for frames in alone for f in frames) > 0.1


def voiced(generator: np.random.Generator, seconds: float) -> np.ndarray:
    """Something like a vowel with a pitch of its own: many harmonics, in syllables."""
    time_s = np.arange(round(seconds * 8000)) / 8000
    pitch = generator.uniform(90, 220)
    harmonics = sum(np.sin(2 * np.pi * pitch * k * time_s) / k for k in range(1, 15))
    syllables = np.clip(np.sin(2 * np.pi * 3 * time_s), 0, 1)
    return (0.1 * harmonics * syllables).astype(np.float32)
