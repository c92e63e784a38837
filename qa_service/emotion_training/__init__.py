"""Training the emotion model on labelled recordings, and measuring what a trained one is worth.

The way of a corpus: `manifest` (which recordings) → `alterations` and `hearing` (what the model would hear of
them, on good lines and bad) → `fitting` (weights) → `figures` and `pictures` (their worth on unheard voices).
`training` and `evaluation` put them together; docs/emotion.md is the model card.
"""

from __future__ import annotations

from qa_service.emotion_training.errors import (
    EmotionTrainingError,
    ManifestError,
    PicturesUnavailableError,
    TooLittleDataError,
)
from qa_service.emotion_training.evaluation import Evaluation, evaluate
from qa_service.emotion_training.manifest import Corpus, read_manifest
from qa_service.emotion_training.training import Trained, train, write

__all__ = [
    "Corpus",
    "EmotionTrainingError",
    "Evaluation",
    "ManifestError",
    "PicturesUnavailableError",
    "TooLittleDataError",
    "Trained",
    "evaluate",
    "read_manifest",
    "train",
    "write",
]
