"""What the emotion model is worth, measured on voices that it has not heard."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from corpus import FULL_LENGTH, Voices
from fitting import fit

from qa_service.asr_server.emotion.model import AROUSAL_WEIGHT, CLASSES, EMITTED, Weights

Array = npt.NDArray[np.float64]
_ANGRY = CLASSES.index("angry")


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of voices that the weights were not fitted on."""

    scores: Array
    """Shape (voices, 7)."""
    arousal: Array
    emotion: npt.NDArray[np.int64]

    def anger_auc(self) -> float:
        """Area under the ROC curve of the anger score, angry against all others (boredom included)."""
        rest = np.logaddexp.reduce(np.delete(self.scores, _ANGRY, axis=1), axis=1)
        anger = self.scores[:, _ANGRY] - rest + AROUSAL_WEIGHT * self.arousal
        angry, other = anger[self.emotion == _ANGRY], anger[self.emotion != _ANGRY]
        return float((angry[:, None] > other).mean() + 0.5 * (angry[:, None] == other).mean())

    def unweighted_recall(self) -> float:
        """The mean over the labels on the wire of how often each is recognised; no abstention, no boredom."""
        best = self.scores[:, : len(EMITTED)].argmax(axis=1)
        shares = [(best == k)[self.emotion == k] for k in range(len(EMITTED))]
        return float(np.mean([share.mean() for share in shares if share.size]))

    def log_loss(self, temperature: float) -> float:
        """The mean of minus the log-probability of the true class."""
        scaled = self.scores / temperature
        right = scaled[np.arange(len(scaled)), self.emotion]
        return float(np.mean(np.logaddexp.reduce(scaled, axis=1) - right))

    def outcomes(self, temperature: float, min_confidence: float) -> dict[str, dict[str, int]]:
        """For each true class, how many voices got which label, or none ("unsure")."""
        scaled = self.scores / temperature
        probability = np.exp(scaled - np.logaddexp.reduce(scaled, axis=1)[:, None])[:, : len(EMITTED)]
        said = [EMITTED[row.argmax()] if row.max() >= min_confidence else "unsure" for row in probability]
        return {
            name: dict(Counter(label for label, k in zip(said, self.emotion, strict=True) if k == true))
            for true, name in enumerate(CLASSES)
            if (self.emotion == true).any()
        }


def score(weights: Weights, voices: Voices) -> Scored:
    """Scores by an empty service's norm, which is the training data's."""
    normed = weights.norm(voices.raw)
    return Scored(
        weights.emotion_scores(normed).astype(np.float64),
        weights.arousal(normed).astype(np.float64),
        voices.emotion,
    )


def training_part(voices: Voices, left_out: tuple[str, ...]) -> Voices:
    """The copies to train on, without some speakers; full-length clips are for testing only."""
    return voices.where((voices.copy != FULL_LENGTH) & ~np.isin(voices.speaker, left_out))


def leave_one_speaker_out(voices: Voices, copy: int) -> Scored:
    """Every speaker's voices of one `copy`, scored by weights fitted on all other speakers."""
    parts = []
    for speaker in np.unique(voices.speaker):
        weights = fit(training_part(voices, (str(speaker),)))
        parts.append(score(weights, voices.where((voices.speaker == speaker) & (voices.copy == copy))))
    return replace(
        parts[0],
        scores=np.concatenate([part.scores for part in parts]),
        arousal=np.concatenate([part.arousal for part in parts]),
        emotion=np.concatenate([part.emotion for part in parts]),
    )
