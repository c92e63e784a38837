"""From a labelled corpus to weights and their provenance.

Decided here: how much data is too little, that every figure told is of speakers whom the weights in question
have not heard, and what a provenance file says.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from qa_service.asr_server.emotion.encoder import Ear
from qa_service.asr_server.emotion.model import CLASSES, EMITTED, Weights
from qa_service.emotion_training.alterations import BAD_LINE, COPIES, COPY_NAMES, MIXTURE
from qa_service.emotion_training.errors import EmotionTrainingError, TooLittleDataError
from qa_service.emotion_training.figures import (
    Scored,
    anger_auc,
    arousal_auc,
    confusion,
    expected_calibration_error,
    log_loss,
    unweighted_recall,
    with_interval,
)
from qa_service.emotion_training.fitting import (
    AROUSED,
    NOT_AROUSED,
    NUISANCE_WEIGHT,
    SHRINKAGE,
    fit,
    indices,
)
from qa_service.emotion_training.hearing import (
    LONGEST_CLIP_S,
    TRAINING_COPIES,
    WHOLE,
    Progress,
    Voices,
    hear_corpus,
)
from qa_service.emotion_training.manifest import Corpus
from qa_service.fetching import sha256_of
from qa_service.models import CATALOGUE

RECIPE_VERSION: Final = 2
"""Goes up when the same corpus would give other weights."""
MIN_CLIPS: Final = 20
"""Of a label: fewer cannot place its mean among 638 values."""
MIN_SPEAKERS: Final = 3
"""Of a label: of two voices, what makes the one angry may be what makes it that voice."""
_NEEDED: Final = ("angry", "neutral")
_MOST_FOLDS: Final = 20
_TEMPERATURES: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 8.0)
_MIN_CONFIDENCE: Final = 0.5  # more likely than everything else together
_DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training leaves."""

    weights: Weights
    provenance: dict[str, Any]

    @property
    def missing_labels(self) -> tuple[str, ...]:
        """The labels that can never come, since the corpus held nothing of them."""
        return tuple(label for label in EMITTED if label not in self.weights.labels)


def train(
    corpus: Corpus,
    ear: Ear,
    progress: Progress,
    *,
    hold_out: tuple[str, ...] = (),
    about: Mapping[str, str] | None = None,
) -> Trained:
    """Weights learnt from all speakers but those to `hold_out`; the same input gives the same weights.

    `about` goes into the provenance as it is: the corpus's name and licence.

    Raises:
        ManifestError: a recording cannot be read.
        TooLittleDataError: the message says of what, and what to do.
    """
    unknown = sorted(set(hold_out) - {clip.speaker for clip in corpus.clips})
    if unknown:
        raise EmotionTrainingError(f"no speaker {', '.join(unknown)} to hold out in {corpus.manifest}")
    check_enough(_clips_by_class(corpus, hold_out))
    heard = hear_corpus(corpus, ear, (*TRAINING_COPIES, WHOLE, BAD_LINE), progress)
    voices = heard.voices
    training = voices.where(~np.isin(voices.speaker, hold_out))
    check_enough(_voices_by_class(training))
    folds = _Folds(training)
    temperature = min(_TEMPERATURES, key=lambda value: folds.loss(MIXTURE, value))
    weights = _calibrated(fit(_to_train_on(training)), temperature)
    figures = _figures(voices, hold_out, weights, folds if not hold_out else _Folds(voices))
    provenance = {
        "corpus": {
            **(about or {}),
            "digest": corpus.digest(),
            "utterances": corpus.counts(),
            "speakers": len({clip.speaker for clip in corpus.clips}),
            "held_out_speakers": list(hold_out),
            "not_judged": {str(why): count for why, count in heard.refused.items()},
        },
        "labels": list(weights.labels),
        "encoder": _encoder(),
        "recipe": _recipe(weights),
        "figures": figures,
    }
    return Trained(weights, provenance)


def write(trained: Trained, path: Path) -> Path:
    """Write the weights and, beside them, their provenance as JSON; gives that file's path."""
    provenance_path = path.with_suffix(".json")
    trained.weights.save(path)
    provenance = {"weights": path.name, "sha256": sha256_of(path), **trained.provenance}
    provenance_path.write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return provenance_path


# Enough


def _clips_by_class(corpus: Corpus, hold_out: tuple[str, ...]) -> dict[str, list[str]]:
    """The speakers of each class, one entry a clip."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for clip in corpus.clips:
        if clip.speaker not in hold_out:
            by_class[CLASSES[clip.emotion]].append(clip.speaker)
    return by_class


def _voices_by_class(voices: Voices) -> dict[str, list[str]]:
    unaltered = voices.where(voices.copy == 0)
    by_class: dict[str, list[str]] = defaultdict(list)
    for emotion, speaker in zip(unaltered.emotion, unaltered.speaker, strict=True):
        by_class[CLASSES[emotion]].append(str(speaker))
    return by_class


def check_enough(speakers: Mapping[str, list[str]]) -> None:
    """Refuse what cannot be learnt from; `speakers` has, for each class, the speaker of each usable clip.

    Raises:
        TooLittleDataError: a needed label is absent, or one that is there has too few clips or speakers.
    """
    absent = [label for label in _NEEDED if not speakers.get(label)]
    if absent:
        raise TooLittleDataError(
            f"no usable recordings of {' and '.join(absent)}: the anger score sets angry voices against"
            " neutral ones, so both are needed"
        )
    for label, of_label in speakers.items():
        if len(of_label) < MIN_CLIPS or len(set(of_label)) < MIN_SPEAKERS:
            raise TooLittleDataError(
                f"{label}: {len(of_label)} usable recordings of {len(set(of_label))} speakers to train on; at"
                f" least {MIN_CLIPS} of {MIN_SPEAKERS} are needed: add recordings, or take this label out of"
                " the manifest"
            )


# Figures


def _to_train_on(voices: Voices) -> Voices:
    """The copies that weights are fitted on; whole recordings and bad lines are for measuring alone."""
    return voices.where(np.isin(voices.copy, TRAINING_COPIES))


class _Folds:
    """Weights for each group of speakers, fitted on all others; one speaker a group while they are few."""

    def __init__(self, voices: Voices) -> None:
        speakers = np.unique(voices.speaker)
        self._voices = voices
        self._folds: list[tuple[list[str], Weights]] = []
        for number in range(min(len(speakers), _MOST_FOLDS)):
            group = [str(speaker) for speaker in speakers[number::_MOST_FOLDS]]
            others = voices.where(~np.isin(voices.speaker, group))
            if _can_be_fitted(others):
                self._folds.append((group, fit(_to_train_on(others))))

    def score(self, copy: int, temperature: float) -> Scored:
        """All voices of one `copy`, each by weights that have not heard the speaker."""
        voices = self._voices.where(self._voices.copy == copy)
        parts = [
            score(_calibrated(weights, temperature), voices.where(np.isin(voices.speaker, group)))
            for group, weights in self._folds
        ]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.join(part)
        return whole

    def loss(self, copy: int, temperature: float) -> float:
        """The log-loss of all voices of one `copy`."""
        scored = self.score(copy, temperature)
        return log_loss(scored.probabilities, scored.emotion)


def _can_be_fitted(voices: Voices) -> bool:
    return all(np.isin(voices.emotion, indices(group)).any() for group in (AROUSED, NOT_AROUSED))


def _calibrated(weights: Weights, temperature: float) -> Weights:
    return replace(
        weights,
        temperature=np.asarray(temperature, np.float32),
        min_confidence=np.asarray(_MIN_CONFIDENCE, np.float32),
    )


def score(weights: Weights, voices: Voices) -> Scored:
    """What the weights say of each voice by itself: no norm of a service, no past of a speaker."""
    normed = weights.norm(voices.raw)
    return Scored(
        weights.probabilities(weights.emotion_scores(normed)).astype(np.float64),
        weights.anger(normed).astype(np.float64),
        weights.arousal(normed).astype(np.float64),
        voices.emotion,
        voices.speaker,
        float(weights.min_confidence),
    )


def _figures(voices: Voices, hold_out: tuple[str, ...], weights: Weights, folds: _Folds) -> dict[str, Any]:
    temperature = float(weights.temperature)
    told = {
        f"unheard_speakers{suffix}": summary(folds.score(copy, temperature))
        for suffix, copy in (("", 0), ("_mixed_alterations", MIXTURE), ("_bad_line", BAD_LINE))
    }
    held_out = voices.where(np.isin(voices.speaker, hold_out))
    for suffix, copy in (("cut", 0), ("whole", WHOLE)):
        part = held_out.where(held_out.copy == copy)
        if part.emotion.size:
            told[f"held_out_{suffix}"] = summary(score(weights, part))
    return told


def summary(scored: Scored) -> dict[str, Any]:
    """The figures of a provenance file, with intervals where speakers suffice for them."""
    measures = {
        "unweighted_recall": unweighted_recall,
        "anger_auc": anger_auc,
        "arousal_auc": arousal_auc,
        "calibration_error": expected_calibration_error,
    }
    figures = {name: rounded(asdict(with_interval(scored, measure))) for name, measure in measures.items()}
    return {"utterances": len(scored.emotion), **figures, "labels": confusion(scored)}


def rounded(values: Any) -> Any:
    """Numbers in a tree of dicts and lists to four decimals: the rest is noise of the arithmetic."""
    if isinstance(values, dict):
        return {key: rounded(value) for key, value in values.items()}
    if isinstance(values, list):
        return [rounded(value) for value in values]
    if isinstance(values, float):
        return round(values, _DECIMALS) if math.isfinite(values) else None
    return values


# Provenance


def _encoder() -> dict[str, str]:
    file = next(file for file in CATALOGUE["whisper-base-layer3"].files if file.name == "model.bin")
    return {"name": "whisper-base-layer3", "sha256": file.sha256, "licence": "MIT"}


def _recipe(weights: Weights) -> dict[str, Any]:
    return {
        "version": RECIPE_VERSION,
        "channel": "8 kHz, Butterworth order 4, 300-3400 Hz, G.711 mu-law; trimmed; -23 dBFS",
        "longest_clip_s": LONGEST_CLIP_S,
        "copies": list(COPY_NAMES[:COPIES]),
        "values": "512 encoder means, 28 prosody, 98 timbre and modulation",
        "reference": "calm classes count half",
        "classifier": "linear discriminants, equal priors",
        "shrinkage": SHRINKAGE,
        "nuisance_weight": NUISANCE_WEIGHT,
        "temperature": float(weights.temperature),
        "min_confidence": float(weights.min_confidence),
    }
