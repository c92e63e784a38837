from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from qa_service.asr_server.ear import Ear
from qa_service.asr_server.segmenter import Endpoint, Onset
from qa_service.asr_server.voice_activity import LoudnessDetector
from qa_service.asr_server.voice_batches import VoiceBatches
from qa_service.protocol import SessionConfig, TurnDetection
from tests.asr_server.support import silence, spoken

VAD = TurnDetection(silence_duration_ms=400)


@pytest.fixture
def voices() -> Iterator[VoiceBatches]:
    with ThreadPoolExecutor(1) as thread:
        yield VoiceBatches(thread)


def ear(voices: VoiceBatches, turn_detection: TurnDetection | None = VAD, base_ms: int = 0) -> Ear:
    config = SessionConfig(sample_rate=8000, turn_detection=turn_detection)
    return Ear(config, LoudnessDetector(), voices, base_ms)


async def test_a_long_append_is_heard_half_a_second_at_a_time(voices: VoiceBatches) -> None:
    pieces = [piece async for piece in ear(voices).pieces(silence(1.2))]

    assert [len(piece) / 16_000 for piece in pieces] == [0.5, 0.5, 0.2]


async def test_an_utterance_is_heard_from_its_padding_to_the_end_of_the_silence(voices: VoiceBatches) -> None:
    it = ear(voices, base_ms=1000)
    boundaries = await it.listen(silence(0.5) + spoken("w1", "w2", "w3") + silence(1.0))

    onset, endpoint = boundaries
    assert isinstance(onset, Onset)
    assert isinstance(endpoint, Endpoint)
    assert 1100 <= onset.start_ms <= 1300
    assert 2400 <= endpoint.end_ms <= 2600
    assert it.sound(onset.start_ms, endpoint.end_ms).duration_s == pytest.approx(
        (endpoint.end_ms - onset.start_ms) / 1000
    )


async def test_what_does_not_fill_a_frame_is_heard_at_the_end(voices: VoiceBatches) -> None:
    it = ear(voices)
    await it.listen(spoken("w1"))
    await it.listen_to_rest()

    assert it.segmenter.open is not None


async def test_what_was_cleared_is_forgotten(voices: VoiceBatches) -> None:
    it = ear(voices)
    await it.listen(spoken("w1", "w2"))
    it.clear()

    assert it.segmenter.open is None
    assert it.turn_start_ms == it.track.end_ms == 400
    assert it.sound(0, 400).pcm == b""


def test_padding_is_for_voice_activity_only(voices: VoiceBatches) -> None:
    assert ear(voices).padding_ms == VAD.prefix_padding_ms
    assert ear(voices, turn_detection=None).padding_ms == 0


async def test_a_new_silence_counts_for_what_comes_next(voices: VoiceBatches) -> None:
    it = ear(voices)
    it.reconfigure(TurnDetection(silence_duration_ms=1000))
    it.reconfigure(None)
    boundaries = await it.listen(spoken("w1", "w2") + silence(0.9))

    assert [type(boundary) for boundary in boundaries] == [Onset]
