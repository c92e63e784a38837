"""What scores are worth: recall, ranking, calibration, alarms, and how sure one can be of each.

Decided here: what the words mean. All figures are over judged utterances, the share of the others beside
them. Pure arithmetic over arrays; `evaluation` and `training` bring the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.emotion.model import CLASSES, EMITTED
from qa_service.emotion_training.fitting import AROUSED, NOT_AROUSED, indices

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

UNSURE: Final = "unsure"
CALIBRATION_BINS: Final = 10
BASE_RATE: Final = 0.02
"""Share of angry utterances at which the precision of alarms is told: live calls have 1 to 3 %."""
ALARM_RECALL: Final = 0.5
AVERAGED: Final = 3
"""Consecutive utterances whose anger scores are averaged for the second kind of alarm."""
_RESAMPLES: Final = 1000
_INTERVAL: Final = (2.5, 97.5)
_MIN_SPEAKERS: Final = 5  # of fewer there are too few different drawings
_SEED: Final = 1
_ANGRY: Final = CLASSES.index("angry")


@dataclass(frozen=True, slots=True)
class Scored:
    """Judged utterances, in the order of judging; the first axis of every array is the utterance."""

    probabilities: Float
    """Shape (utterances, 8): of each class, in the order of `CLASSES`."""
    anger: Float
    """The anger scores."""
    arousal: Float
    emotion: Ints
    """The true class, index into `CLASSES`."""
    speaker: npt.NDArray[np.str_]
    min_confidence: float
    """Below it no label is given."""

    def where(self, chosen: npt.NDArray[np.bool_] | Ints) -> Scored:
        """The utterances of the `chosen` rows, in that order."""
        return Scored(
            self.probabilities[chosen],
            self.anger[chosen],
            self.arousal[chosen],
            self.emotion[chosen],
            self.speaker[chosen],
            self.min_confidence,
        )

    def join(self, other: Scored) -> Scored:
        """These utterances, then those of `other`."""
        names = [field.name for field in fields(self) if field.name != "min_confidence"]
        joined = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names}
        return Scored(**joined, min_confidence=self.min_confidence)

    @property
    def best(self) -> Ints:
        """The likeliest label, abstention left out; index into `EMITTED`."""
        return np.asarray(self.probabilities[:, : len(EMITTED)].argmax(axis=1))

    @property
    def confidence(self) -> Float:
        """The probability of the likeliest label."""
        return np.asarray(self.probabilities[:, : len(EMITTED)].max(axis=1))


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, and where it lies in 95 of 100 drawings of the same number of speakers."""

    value: float | None
    """None where the corpus cannot tell (nothing angry, for instance)."""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Utterances whose confidence lies in one tenth of the scale."""

    utterances: int
    confidence: float
    """Mean."""
    accuracy: float
    """The share whose likeliest label is the true one."""


# Recall and ranking


def area_under_roc(positive: Float, negative: Float) -> float | None:
    """How often a positive one scores above a negative one, ties half; None if there are none of one."""
    if not positive.size or not negative.size:
        return None
    order = np.sort(negative)
    below = np.searchsorted(order, positive, side="left")
    not_above = np.searchsorted(order, positive, side="right")
    return float((below + not_above).sum() / 2 / positive.size / negative.size)


def anger_auc(scored: Scored) -> float | None:
    """Angry against everything else, by the anger score."""
    angry = scored.emotion == _ANGRY
    return area_under_roc(scored.anger[angry], scored.anger[~angry])


def arousal_auc(scored: Scored) -> float | None:
    """Angry, happy, fearful, surprised against neutral, sad, bored, by the arousal score."""
    aroused, calm = (np.isin(scored.emotion, indices(group)) for group in (AROUSED, NOT_AROUSED))
    return area_under_roc(scored.arousal[aroused], scored.arousal[calm])


def unweighted_recall(scored: Scored) -> float | None:
    """The mean over the true labels of how often each is recognised; no abstention, no boredom."""
    best = scored.best
    shares = [(best == k)[scored.emotion == k] for k in range(len(EMITTED))]
    present = [float(share.mean()) for share in shares if share.size]
    return float(np.mean(present)) if present else None


def confusion(scored: Scored) -> dict[str, dict[str, int]]:
    """For each true class, how many utterances got which label, or none (`UNSURE`)."""
    sure = scored.confidence >= scored.min_confidence
    said = np.where(sure, np.array(EMITTED)[scored.best], UNSURE)
    table: dict[str, dict[str, int]] = {}
    for k, name in enumerate(CLASSES):
        labels, counts = np.unique(said[scored.emotion == k], return_counts=True)
        if labels.size:
            table[name] = {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
    return table


def abstention_share(scored: Scored) -> float | None:
    """The share of judged utterances that get no label."""
    return float((scored.confidence < scored.min_confidence).mean()) if scored.emotion.size else None


# Calibration


def calibration(scored: Scored) -> list[CalibrationBin | None]:
    """How often the likeliest label is right, for each tenth of the confidence; None for empty tenths."""
    tenth = np.minimum((scored.confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    right = (scored.best == scored.emotion).astype(np.float64)
    bins: list[CalibrationBin | None] = []
    for number in range(CALIBRATION_BINS):
        rows = tenth == number
        filled = CalibrationBin(int(rows.sum()), _mean(scored.confidence[rows]), _mean(right[rows]))
        bins.append(filled if filled.utterances else None)
    return bins


def expected_calibration_error(scored: Scored) -> float | None:
    """The mean distance of confidence and accuracy over the tenths, by utterances (Naeini et al., 2015)."""
    filled = [entry for entry in calibration(scored) if entry]
    total = sum(entry.utterances for entry in filled)
    if not total:
        return None
    return sum(entry.utterances * abs(entry.confidence - entry.accuracy) for entry in filled) / total


def _mean(values: Float) -> float:
    return float(values.mean()) if values.size else 0.0


def log_loss(probabilities: Float, emotion: Ints) -> float:
    """The mean of minus the log-probability of the true class."""
    right = probabilities[np.arange(len(emotion)), emotion]
    return float(-np.log(np.maximum(right, 1e-12)).mean())


# Alarms


def alarm_precision(scored: Scored) -> float | None:
    """Of the alarms that find half of the angry utterances, the share that is right if 2 % are angry."""
    angry = scored.emotion == _ANGRY
    return precision_at(scored.anger[angry], scored.anger[~angry])


def averaged_alarm_precision(scored: Scored) -> float | None:
    """The same for the mean score of three consecutive utterances of one speaker, all angry or none."""
    angry: list[float] = []
    rest: list[float] = []
    for speaker in np.unique(scored.speaker):
        own = scored.speaker == speaker
        for scores, means in (
            (scored.anger[own & (scored.emotion == _ANGRY)], angry),
            (scored.anger[own & (scored.emotion != _ANGRY)], rest),
        ):
            if len(scores) >= AVERAGED:
                means.extend(np.convolve(scores, np.full(AVERAGED, 1 / AVERAGED), "valid"))
    return precision_at(np.array(angry), np.array(rest))


def precision_at(
    positive: Float, negative: Float, *, base_rate: float = BASE_RATE, recall: float = ALARM_RECALL
) -> float | None:
    """The precision of a threshold that finds `recall` of the positive ones, at a base rate.

    A false-alarm rate of nought among n negative ones is taken for one of 1/(2n): fewer were not looked at.
    """
    if not positive.size or not negative.size:
        return None
    threshold = np.quantile(positive, 1 - recall)
    found = float((positive >= threshold).mean())
    false = max(float((negative >= threshold).mean()), 0.5 / negative.size)
    return base_rate * found / (base_rate * found + (1 - base_rate) * false)


# How sure


def with_interval(scored: Scored, measure: Callable[[Scored], float | None]) -> Figure:
    """A figure and its 95 % interval: speakers drawn with replacement 1000 times, always the same way."""
    value = measure(scored)
    speakers = np.unique(scored.speaker)
    if value is None or len(speakers) < _MIN_SPEAKERS:
        return Figure(value)
    rows = [np.flatnonzero(scored.speaker == speaker) for speaker in speakers]
    draw = np.random.default_rng(_SEED)
    drawn = (draw.integers(0, len(rows), len(rows)) for _ in range(_RESAMPLES))
    values = [measure(scored.where(np.concatenate([rows[k] for k in chosen]))) for chosen in drawn]
    told = [resampled for resampled in values if resampled is not None]
    if not told:
        return Figure(value)
    low, high = np.percentile(told, _INTERVAL)
    return Figure(value, float(low), float(high))
