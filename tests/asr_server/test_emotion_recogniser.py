from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import qa_service.samples
from qa_service.asr_server.emotion import WEIGHTS_PATH, EmotionModel
from qa_service.asr_server.emotion_recogniser import VoiceEmotions
from qa_service.models import ensure
from qa_service.protocol import EMOTIONS

pytestmark = pytest.mark.models


@pytest.fixture
def emotions(cache_dir: Path) -> VoiceEmotions:
    return VoiceEmotions(EmotionModel.load(WEIGHTS_PATH, ensure("whisper-base-layer3", cache_dir)))


@pytest.fixture
def utterance() -> np.ndarray:
    """A customer of a sample call, 3.5 s."""
    call = Path(qa_service.samples.__file__).parent / "de-angry-customer.flac"
    legs, _ = soundfile.read(call, dtype="float32", start=58_000, frames=28_000)
    return np.ascontiguousarray(legs[:, 0])


def test_an_utterance_is_judged_with_a_label_of_the_protocol_or_none(
    emotions: VoiceEmotions, utterance: np.ndarray
) -> None:
    estimate = emotions.open().judge(emotions.hear(utterance))

    assert estimate.label in {*EMOTIONS, None}
    assert 0 <= estimate.confidence <= 1


def test_silence_is_not_judged(emotions: VoiceEmotions) -> None:
    estimate = emotions.open().judge(emotions.hear(np.zeros(16_000, dtype=np.float32)))

    assert estimate.label is None


def test_hearing_teaches_nothing_and_judging_teaches_the_service(
    emotions: VoiceEmotions, utterance: np.ndarray
) -> None:
    heard = emotions.hear(utterance)
    assert emotions.past.norm.count == 0
    emotions.open().judge(heard)

    assert emotions.past.norm.count == 1
    assert emotions.past.judged == len(emotions.past.scores) == 1


def test_a_voice_has_a_distribution_and_a_rank(emotions: VoiceEmotions, utterance: np.ndarray) -> None:
    estimate = emotions.open().judge(emotions.hear(utterance))

    assert estimate.distribution is not None
    assert sum(estimate.distribution.values()) == pytest.approx(1, abs=0.001)
    assert 0 <= (estimate.anger_rank or -1) <= 1


def test_a_speaker_goes_on_in_another_session(emotions: VoiceEmotions, utterance: np.ndarray) -> None:
    """With the real model: four pieces of a call, whole and broken in the middle, in one service each."""
    steady = VoiceEmotions(emotions.model)
    heard = [emotions.hear(piece) for piece in np.array_split(np.tile(utterance, 2), 4)]
    whole, broken, forgetful = steady.open(), emotions.open(), VoiceEmotions(emotions.model).open()
    for voice in heard[:2]:
        whole.judge(voice)
        broken.judge(voice)
    resumed = emotions.resume(broken.past())
    assert resumed is not None
    for voice in heard[2:]:
        before, after, anew = whole.judge(voice), resumed.judge(voice), forgetful.judge(voice)

        assert (after.label, after.confidence) == (before.label, before.confidence)
        assert after.anger_score == pytest.approx(before.anger_score, abs=0.2)
        assert after.anger_rank == pytest.approx(before.anger_rank, abs=0.01)
        assert anew.anger_score != pytest.approx(before.anger_score, abs=0.2)


def test_what_another_model_heard_is_refused(emotions: VoiceEmotions) -> None:
    with pytest.raises(TypeError, match="str"):
        emotions.open().judge("something else")
