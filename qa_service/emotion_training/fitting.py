"""Fitting the emotion model's weights: shrunk linear discriminants over a normed voice.

Decided here: what the classifier must not lean on. The covariance within a class is what a linear
discriminant holds for noise; to it is added what the alterations do to a clip (lines, microphones, talkers),
several times over, so that directions which another line would move count little. Every constant was chosen
as docs/emotion.md tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.emotion.model import BOREDOM, CLASSES, Weights, norm_values
from qa_service.emotion_training.hearing import Voices

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHRINKAGE: Final = 0.7
"""Of the pooled correlation towards the identity."""
NUISANCE_WEIGHT: Final = 4.0
"""Of the covariance that alterations bring, against the one within classes."""
CALM: Final = ("neutral", BOREDOM)
CALM_SHARE: Final = 0.5
"""Weight of the calm classes in the norm: live calls are mostly calm, acted corpora mostly not."""
AROUSED: Final = ("angry", "happy", "fearful", "surprised")
NOT_AROUSED: Final = ("neutral", "sad", BOREDOM)
_SCALE_FLOOR: Final = 1e-6


def indices(names: tuple[str, ...]) -> list[int]:
    """Where the classes stand in `CLASSES`."""
    return [CLASSES.index(name) for name in names]


@dataclass(frozen=True, slots=True)
class Discriminant:
    """Linear scores, one row a class."""

    weights: Float
    offsets: Float
    """Minus infinity for a class without data."""


def fit_discriminant(values: Float, classes: Ints, count: int, nuisance: Float | None = None) -> Discriminant:
    """Linear discriminant analysis with equal priors and a pooled correlation shrunk to the identity.

    `values` has a row for each example; `nuisance` is a covariance to be added to the one within classes.
    """
    present = np.unique(classes)
    means = np.zeros((count, values.shape[1]))
    for number in present:
        means[number] = values[classes == number].mean(axis=0)
    within = values - means[classes]
    covariance = within.T @ within / (len(values) - len(present))
    if nuisance is not None:
        covariance = covariance + nuisance
    deviation = np.sqrt(np.diag(covariance)) + _SCALE_FLOOR
    correlation = covariance / np.outer(deviation, deviation)
    shrunk = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(deviation))
    weights = np.linalg.solve(shrunk, (means / deviation).T).T / deviation
    offsets = np.full(count, -np.inf)
    offsets[present] = -0.5 * np.sum(weights * means, axis=1)[present]
    return Discriminant(weights, offsets)


def fit(voices: Voices) -> Weights:
    """Weights for `voices`, with temperature 1 and no bound on the confidence.

    Raises:
        ValueError: no aroused or no calm voices; `training.check_enough` says it to users first.
    """
    centre, scale = _fit_norm(voices)
    normed = norm_values(voices.raw, centre, scale).astype(np.float64)
    nuisance = NUISANCE_WEIGHT * _nuisance(normed, voices)
    emotion = fit_discriminant(normed, voices.emotion, len(CLASSES), nuisance)
    told = np.isin(voices.emotion, indices(AROUSED + NOT_AROUSED))
    aroused = np.isin(voices.emotion[told], indices(AROUSED)).astype(np.int64)
    if len(np.unique(aroused)) != len((False, True)):
        raise ValueError("aroused and calm voices are needed both")
    arousal = fit_discriminant(normed[told], aroused, 2, nuisance)
    calm = np.isin(voices.emotion, indices(NOT_AROUSED))
    return Weights(
        centre=centre,
        scale=scale,
        emotion_weights=emotion.weights.astype(np.float32),
        emotion_offsets=emotion.offsets.astype(np.float32),
        arousal_weights=(arousal.weights[1] - arousal.weights[0]).astype(np.float32),
        arousal_offset=np.asarray(arousal.offsets[1] - arousal.offsets[0], np.float32),
        usual_calm=normed[calm].mean(axis=0).astype(np.float32),
        temperature=np.asarray(1, np.float32),
        min_confidence=np.asarray(0, np.float32),
    )


def _nuisance(normed: Float, voices: Voices) -> Float:
    """The mean square of what alterations change in a clip: altered less unaltered, shape (638, 638)."""
    unaltered = {int(voices.clip[row]): row for row in np.flatnonzero(voices.copy == 0)}
    altered = [row for row in np.flatnonzero(voices.copy > 0) if int(voices.clip[row]) in unaltered]
    if not altered:
        return np.zeros((normed.shape[1], normed.shape[1]))
    changes = normed[altered] - normed[[unaltered[int(voices.clip[row])] for row in altered]]
    return np.asarray(changes.T @ changes / len(changes))


def _fit_norm(voices: Voices) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The mean and deviation of the reference, each of shape (values,)."""
    raw = voices.raw.astype(np.float64)
    share = _reference_weights(voices.emotion)
    centre = share @ raw
    scale = np.sqrt(share @ (raw - centre) ** 2) + _SCALE_FLOOR
    return centre.astype(np.float32), scale.astype(np.float32)


def _reference_weights(emotion: Ints) -> Float:
    """A weight for each voice: calm classes together half, each class of a half alike; they sum to 1."""
    calm = indices(CALM)
    share = np.zeros(len(emotion))
    present = np.unique(emotion)
    for half, members in (
        (CALM_SHARE, [k for k in present if k in calm]),
        (1 - CALM_SHARE, [k for k in present if k not in calm]),
    ):
        for number in members:
            rows = emotion == number
            share[rows] = half / len(members) / rows.sum()
    return np.asarray(share / share.sum())
