"""What weights are worth on a labelled corpus that they were not trained on.

Decided here: the conditions. Each recording is judged as it would be at work, whole and over one telephone
line; where some recordings are cuts, all are cut alike, since length would tell the emotion. Judged alone, or
as calls one after another, so that what the service and the caller sound like is learnt on the way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from qa_service.asr_server.emotion.encoder import Ear
from qa_service.asr_server.emotion.model import CLASSES, EMITTED, EmotionModel, Voice, Weights
from qa_service.emotion_training.alterations import BAD_LINE
from qa_service.emotion_training.errors import TooLittleDataError
from qa_service.emotion_training.figures import (
    ALARM_RECALL,
    BASE_RATE,
    Figure,
    Scored,
    abstention_share,
    alarm_precision,
    anger_auc,
    arousal_auc,
    averaged_alarm_precision,
    calibration,
    confusion,
    expected_calibration_error,
    unweighted_recall,
    with_interval,
)
from qa_service.emotion_training.hearing import WHOLE, Progress, Voices, hear_corpus
from qa_service.emotion_training.manifest import Corpus
from qa_service.emotion_training.training import rounded

_CUT: Final = 0  # the copy number of an unaltered cut
MEASURES: Final = {
    "unweighted_recall": unweighted_recall,
    "anger_auc": anger_auc,
    "arousal_auc": arousal_auc,
    "calibration_error": expected_calibration_error,
    "alarm_precision": alarm_precision,
    "alarm_precision_averaged": averaged_alarm_precision,
    "abstention_share": abstention_share,
}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures with their conditions; the scored utterances for pictures."""

    conditions: dict[str, Any]
    refused: dict[str, int]
    """Recordings that were not judged, by reason."""
    figures: dict[str, Figure]
    """By the names of `MEASURES`."""
    scored: Scored

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        tree: dict[str, Any] = {
            "conditions": {**self.conditions, "alarms": {"base_rate": BASE_RATE, "recall": ALARM_RECALL}},
            "utterances": len(self.scored.emotion),
            "speakers": len(np.unique(self.scored.speaker)),
            "not_judged": self.refused,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "labels": confusion(self.scored),
            "calibration": [None if entry is None else asdict(entry) for entry in calibration(self.scored)],
        }
        told: dict[str, Any] = rounded(tree)
        return told


def evaluate(
    corpus: Corpus,
    weights: Weights,
    ear: Ear,
    progress: Progress,
    *,
    as_calls: bool = False,
    bad_line: bool = False,
) -> Evaluation:
    """Judge every recording of `corpus` and measure.

    `as_calls`: each speaker's recordings, in the manifest's order, are one call; `bad_line`: every recording
    with noise, coded with Opus and its band cut.

    Raises:
        ManifestError: a recording cannot be read.
        TooLittleDataError: nothing could be judged.
    """
    cut = bad_line or not all(clip.full_length for clip in corpus.clips)
    copy = BAD_LINE if bad_line else _CUT if cut else WHOLE
    heard = hear_corpus(corpus, ear, (copy,), progress)
    if not heard.voices.emotion.size:
        raise TooLittleDataError(
            f"none of the {len(corpus.clips)} recordings of {corpus.manifest} can be judged"
        )
    scored = _judge(EmotionModel(weights, ear), heard.voices, as_calls=as_calls)
    return Evaluation(
        conditions={"as_calls": as_calls, "bad_line": bad_line, "cut_to_2_s": cut},
        refused={str(why): count for why, count in heard.refused.items()},
        figures={name: with_interval(scored, measure) for name, measure in MEASURES.items()},
        scored=scored,
    )


def _judge(model: EmotionModel, voices: Voices, *, as_calls: bool) -> Scored:
    """Estimates by the model itself, as at work."""
    service = model.new_service()
    pasts = {str(speaker): model.new_speaker() for speaker in np.unique(voices.speaker)}
    count = len(voices.emotion)
    probabilities = np.zeros((count, len(CLASSES)))
    anger, arousal = np.zeros(count), np.zeros(count)
    for row in range(count):
        speaker = str(voices.speaker[row])
        judgement = model.judge(Voice(model.weights.norm(voices.raw[row])), service, pasts[speaker])
        if as_calls:
            service, pasts[speaker] = judgement.service, judgement.speaker
        estimate = judgement.estimate
        for label, probability in estimate.probabilities:
            probabilities[row, EMITTED.index(label)] = probability
        anger[row], arousal[row] = estimate.anger_score or 0.0, estimate.arousal or 0.0
    probabilities[:, -1] = np.maximum(1 - probabilities.sum(axis=1), 0)
    return Scored(
        probabilities, anger, arousal, voices.emotion, voices.speaker, float(model.weights.min_confidence)
    )
