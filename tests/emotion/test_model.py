"""The model: what it refuses to judge, what it says, and that it says the same again."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from qa_service.asr_server.emotion import WEIGHTS_PATH, Abstention, EmotionModel, Voice
from qa_service.asr_server.emotion.model import CLASSES, EMITTED, VOICE_WIDTH, Weights
from qa_service.fetching import sha256_of
from qa_service.protocol.events import EMOTIONS

from .conftest import RATE, buzz

NOISE = np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32)


class Deaf:
    """An encoder that must not be asked: what is refused costs no encoder pass."""

    def listen(self, _samples: np.ndarray) -> np.ndarray:
        raise AssertionError("the encoder was asked")


@pytest.fixture(scope="module")
def weights() -> Weights:
    return Weights.load(WEIGHTS_PATH)


@pytest.fixture
def deaf_model(weights) -> EmotionModel:
    return EmotionModel(weights, Deaf())


def typical(weights: Weights, label: str) -> Voice:
    """A voice that lies where the weights look for `label`."""
    own = CLASSES.index(label)
    learnt = weights.emotion_weights[np.isfinite(weights.emotion_offsets)]
    direction = weights.emotion_weights[own] - learnt.mean(axis=0)
    return Voice((2 * direction / np.abs(direction).max()).astype(np.float32))


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        (np.zeros(2 * RATE, np.float32), Abstention.SILENCE),
        (np.zeros(0, np.float32), Abstention.SILENCE),
        (buzz(150, 0.4), Abstention.TOO_SHORT),
        (NOISE * np.float32(0.1), Abstention.NOT_A_VOICE),
        ((0.2 * np.sin(np.arange(2 * RATE) * 0.345)).astype(np.float32), Abstention.NOT_A_VOICE),
        (np.zeros(2 * RATE, np.int16), Abstention.SILENCE),
    ],
    ids=["silence", "nothing", "a word too short", "noise", "a dial tone", "silence in 16 bits"],
)
def test_what_is_no_judgeable_voice_is_refused_with_the_reason(deaf_model, sound, why):
    judgement = deaf_model.classify(sound)

    estimate = judgement.estimate
    assert estimate.abstained
    assert (estimate.label, estimate.confidence, estimate.abstention) == (None, 0.0, why)
    assert estimate.anger_score is None


def test_what_was_refused_teaches_nothing(deaf_model):
    service, speaker = deaf_model.new_service(), deaf_model.new_speaker()

    judgement = deaf_model.judge(Abstention.SILENCE, service, speaker)

    assert judgement.service is service
    assert judgement.speaker is speaker


def test_the_labels_are_the_protocols_and_boredom_is_none_of_them(weights):
    assert set(EMITTED) == set(EMOTIONS)
    assert set(CLASSES) - set(EMITTED) == {"boredom"}
    assert set(weights.labels) == set(EMOTIONS) - {"surprised"}


@pytest.mark.parametrize("label", [label for label in EMITTED if label != "surprised"])
def test_each_label_can_come(weights, deaf_model, label):
    voice = typical(weights, label)

    estimate = deaf_model.judge(voice, deaf_model.new_service(), deaf_model.new_speaker()).estimate

    assert estimate.label == label
    assert 0.5 <= estimate.confidence <= 1
    assert estimate.probabilities[0] == (label, estimate.confidence)


def test_a_bored_voice_gets_no_label(weights, deaf_model):
    voice = typical(weights, "boredom")

    estimate = deaf_model.judge(voice, deaf_model.new_service(), deaf_model.new_speaker()).estimate

    assert (estimate.label, estimate.abstention) == (None, Abstention.UNSURE)
    assert estimate.anger_score is not None


def test_an_angry_voice_ranks_above_a_neutral_one(weights, deaf_model):
    service, speaker = deaf_model.new_service(), deaf_model.new_speaker()

    angry, neutral = (
        deaf_model.judge(typical(weights, label), service, speaker).estimate for label in ("angry", "neutral")
    )

    assert angry.anger_score > 0 > neutral.anger_score
    assert angry.arousal > 0 > neutral.arousal


def test_one_angry_caller_in_a_new_service_stays_angry_to_the_end(weights, deaf_model):
    service, speaker = deaf_model.new_service(), deaf_model.new_speaker()
    labels = []
    for _ in range(40):
        judgement = deaf_model.judge(typical(weights, "angry"), service, speaker)
        service, speaker = judgement.service, judgement.speaker
        labels.append(judgement.estimate.label)

    assert labels == ["angry"] * 40


def test_probabilities_sum_to_at_most_one(weights, deaf_model):
    draw = np.random.default_rng(7)
    for _ in range(50):
        voice = Voice(draw.uniform(-4, 4, VOICE_WIDTH).astype(np.float32))
        estimate = deaf_model.judge(voice, deaf_model.new_service(), deaf_model.new_speaker()).estimate

        total = math.fsum(probability for _, probability in estimate.probabilities)
        assert total <= 1 + 1e-5


def test_weights_that_are_none_are_refused_by_name(tmp_path):
    path = tmp_path / "broken.npz"
    path.write_bytes(b"not weights")

    with pytest.raises(ValueError, match=r"broken\.npz holds no weights"):
        Weights.load(path)


@pytest.mark.parametrize("name", Weights.__slots__)
def test_weights_of_another_shape_are_refused_with_the_remedy(weights, tmp_path, name):
    path = tmp_path / "old.npz"
    replace(weights, **{name: np.zeros((3, 3), np.float32)}).save(path)

    with pytest.raises(
        ValueError, match=rf"{name} has the shape.*train again with `qa-service emotion train`"
    ):
        Weights.load(path)


def test_weights_that_are_no_numbers_are_refused(weights, tmp_path):
    path = tmp_path / "damaged.npz"
    replace(weights, centre=np.full(VOICE_WIDTH, np.nan, np.float32)).save(path)

    with pytest.raises(ValueError, match="damaged"):
        Weights.load(path)


def test_the_shipped_weights_are_small_and_are_those_of_their_provenance():
    provenance = json.loads(WEIGHTS_PATH.with_suffix(".json").read_text())

    assert provenance["sha256"] == sha256_of(WEIGHTS_PATH)
    assert provenance["corpus"]["held_out_speakers"] == ["03", "08"]
    assert WEIGHTS_PATH.stat().st_size < 200_000


@pytest.mark.models
def test_the_whole_way_gives_the_same_estimate_again(emotion_model):
    voice = buzz(220, 2.0)

    first, second = (emotion_model.classify(voice).estimate for _ in range(2))

    assert first == second
    assert first.anger_score is not None


@pytest.mark.models
@pytest.mark.parametrize("seconds", [1.2, 2.4, 2.6, 4.6, 30.0])
def test_utterances_of_any_length_are_heard(emotion_model, seconds):
    heard = emotion_model.hear(buzz(160, seconds))

    assert isinstance(heard, Voice)
    assert heard.values.shape == (VOICE_WIDTH,)
    assert np.isfinite(heard.values).all()
