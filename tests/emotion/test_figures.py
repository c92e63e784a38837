"""The figures against what they are defined to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.emotion.model import CLASSES
from qa_service.emotion_training.figures import (
    Scored,
    abstention_share,
    alarm_precision,
    anger_auc,
    area_under_roc,
    arousal_auc,
    averaged_alarm_precision,
    calibration,
    confusion,
    expected_calibration_error,
    precision_at,
    unweighted_recall,
    with_interval,
)

SCORES = st.lists(st.integers(0, 20), min_size=1, max_size=30)


def scored(truth: list[str], said: list[str], confidence: float = 0.8, **given) -> Scored:
    """Utterances whose likeliest class is `said`, with that confidence."""
    count = len(truth)
    probabilities = np.full((count, len(CLASSES)), (1 - confidence) / (len(CLASSES) - 1))
    probabilities[np.arange(count), [CLASSES.index(label) for label in said]] = confidence
    emotion = np.array([CLASSES.index(label) for label in truth])
    arrays = {
        "anger": np.where(emotion == 0, 1.0, -1.0),
        "arousal": np.zeros(count),
        "speaker": np.array([str(number % 5) for number in range(count)]),
        "min_confidence": 0.5,
        **given,
    }
    return Scored(probabilities=probabilities, emotion=emotion, **arrays)


@given(SCORES, SCORES)
def test_the_area_is_the_share_of_pairs_in_order_with_ties_half(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]

    area = area_under_roc(np.array(positive, float), np.array(negative, float))

    assert area == pytest.approx(np.mean(pairs))


def test_recall_weighs_labels_alike_and_leaves_boredom_out():
    few_and_many = scored(["angry"] + ["neutral"] * 4 + ["boredom"], ["angry"] + ["sad"] * 4 + ["neutral"])

    assert unweighted_recall(few_and_many) == 0.5


def test_a_voice_under_the_bound_is_unsure_and_counts_as_an_abstention():
    doubtful = scored(["angry", "sad"], ["angry", "sad"], confidence=0.4)

    assert confusion(doubtful) == {"angry": {"unsure": 1}, "sad": {"unsure": 1}}
    assert abstention_share(doubtful) == 1.0


def test_the_calibration_error_is_the_distance_of_confidence_and_accuracy():
    half_right = scored(["angry", "angry"], ["angry", "sad"], confidence=0.85)

    assert expected_calibration_error(half_right) == pytest.approx(0.35)
    assert [entry.utterances for entry in calibration(half_right) if entry] == [2]


def test_the_best_ranking_has_an_area_of_one_and_the_reverse_of_nought():
    voices = scored(["angry", "neutral", "sad"], ["angry"] * 3)
    reversed_ = scored(["angry", "neutral", "sad"], ["angry"] * 3, anger=np.array([0.0, 1.0, 2.0]))

    assert (anger_auc(voices), anger_auc(reversed_)) == (1.0, 0.0)


def test_arousal_sets_aroused_against_calm_and_leaves_disgust_out():
    voices = scored(["happy", "boredom", "disgusted"], ["happy"] * 3, arousal=np.array([1.0, -1.0, 5.0]))

    assert arousal_auc(voices) == 1.0


def test_precision_at_a_base_rate_is_that_of_bayes():
    # Half of the angry ones and one in ten of the others are over the threshold.
    precision = precision_at(np.array([0.0, 2.0]), np.array([1.5] + [0.0] * 9), base_rate=0.02, recall=0.5)

    assert precision == pytest.approx(0.02 * 0.5 / (0.02 * 0.5 + 0.98 * 0.1))


def test_no_false_alarm_among_n_is_taken_for_half_of_one():
    precision = precision_at(np.array([2.0]), np.zeros(10), base_rate=0.5, recall=1.0)

    assert precision == pytest.approx(1 / 1.05)


def test_averaging_three_utterances_of_a_speaker_steadies_alarms():
    draw = np.random.default_rng(2)
    truth = ["angry"] * 90 + ["neutral"] * 90
    noisy = scored(truth, truth, anger=np.repeat([1.0, 0.0], 90) + draw.normal(0, 1, 180))

    assert averaged_alarm_precision(noisy) > alarm_precision(noisy)


def test_what_a_corpus_cannot_tell_is_no_figure():
    calm = scored(["neutral", "sad"], ["neutral", "sad"])

    assert anger_auc(calm) is None
    assert alarm_precision(calm) is None
    assert averaged_alarm_precision(calm) is None
    assert with_interval(calm, anger_auc).low is None


def test_intervals_hold_the_value_and_come_out_the_same_again():
    draw = np.random.default_rng(4)
    truth = ["angry", "neutral"] * 30
    voices = scored(truth, truth, anger=draw.normal(0, 1, 60) + np.tile([1.0, 0.0], 30))

    first, again = (with_interval(voices, anger_auc) for _ in range(2))

    assert first == again
    assert first.low < first.value < first.high


def test_four_speakers_are_too_few_for_an_interval():
    truth = ["angry", "neutral"] * 4

    figure = with_interval(scored(truth, truth, speaker=np.repeat(list("abcd"), 2)), anger_auc)

    assert (figure.value, figure.low, figure.high) == (1.0, None, None)
