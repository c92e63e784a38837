"""What can go wrong in training and evaluating: always the user's data or files, never the code's state."""

from __future__ import annotations


class EmotionTrainingError(Exception):
    """Base of the errors below; the message names the thing and the remedy."""


class ManifestError(EmotionTrainingError):
    """A manifest, or a recording it lists, cannot be used; the message names file and line."""


class TooLittleDataError(EmotionTrainingError):
    """The recordings are too few to learn from or to judge by; the message says what is missing."""


class PicturesUnavailableError(EmotionTrainingError):
    """Pictures were asked for, but the library that draws them is not installed."""
