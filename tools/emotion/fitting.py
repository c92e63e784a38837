"""Fitting the emotion model's weights: shrunk linear discriminants over a normed voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from corpus import Voices

from qa_service.asr_server.emotion.model import CLASSES, Weights, norm_values

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SHRINKAGE: Final = 0.5  # of the pooled correlation towards the identity
_CALM_REFERENCE: Final = ("neutral", "boredom")
_CALM_REFERENCE_SHARE: Final = 0.5  # live calls are mostly calm; EmoDB is mostly not
_AROUSED: Final = ("angry", "happy", "fearful")
_NOT_AROUSED: Final = ("neutral", "sad", "boredom")
_SCALE_FLOOR: Final = 1e-6


def indices(names: tuple[str, ...]) -> list[int]:
    """Where the classes stand in `CLASSES`."""
    return [CLASSES.index(name) for name in names]


@dataclass(frozen=True, slots=True)
class Discriminant:
    """Linear scores, one row a class."""

    weights: Float
    offsets: Float


def fit_discriminant(values: Float, classes: Ints, count: int) -> Discriminant:
    """Linear discriminant analysis with equal priors and a pooled correlation shrunk to the identity."""
    means = np.stack([values[classes == number].mean(axis=0) for number in range(count)])
    within = values - means[classes]
    covariance = within.T @ within / (len(values) - count)
    deviation = np.sqrt(np.diag(covariance)) + _SCALE_FLOOR
    correlation = covariance / np.outer(deviation, deviation)
    shrunk = (1 - SHRINKAGE) * correlation + SHRINKAGE * np.eye(len(deviation))
    weights = np.linalg.solve(shrunk, (means / deviation).T).T / deviation
    return Discriminant(weights, -0.5 * np.sum(weights * means, axis=1))


def fit(voices: Voices) -> Weights:
    """Weights for `voices`, with temperature 1 and no bound on the confidence."""
    centre, scale = _fit_norm(voices)
    normed = norm_values(voices.raw, centre, scale).astype(np.float64)
    emotion = fit_discriminant(normed, voices.emotion, len(CLASSES))
    told = np.isin(voices.emotion, indices(_AROUSED + _NOT_AROUSED))
    aroused = np.isin(voices.emotion[told], indices(_AROUSED)).astype(np.int64)
    arousal = fit_discriminant(normed[told], aroused, 2)
    calm = np.isin(voices.emotion, indices(_NOT_AROUSED))
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


def _fit_norm(voices: Voices) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The mean and deviation of the reference, each of shape (values,)."""
    raw = voices.raw.astype(np.float64)
    share = _reference_weights(voices.emotion)
    centre = share @ raw
    scale = np.sqrt(share @ (raw - centre) ** 2) + _SCALE_FLOOR
    return centre.astype(np.float32), scale.astype(np.float32)


def _reference_weights(emotion: Ints) -> Float:
    """A weight for each voice: calm classes together half, each class of a half alike; they sum to 1."""
    calm = indices(_CALM_REFERENCE)
    others = [number for number in range(len(CLASSES)) if number not in calm]
    share = np.zeros(len(emotion))
    for half, members in ((_CALM_REFERENCE_SHARE, calm), (1 - _CALM_REFERENCE_SHARE, others)):
        for number in members:
            rows = emotion == number
            share[rows] = half / len(members) / rows.sum()
    return share
