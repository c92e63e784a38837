"""What language a session's speaker is likely to use next, by what was heard before.

Decided here: a leg rarely changes its language, and a short "yes" tells little about it. Each final adds its
detection, weighted by its length, to a belief of bounded weight; the detection of the next is weighted in
the same way against it. So the past steadies short utterances, but a clear change of language wins at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_FULL_WEIGHT_S: Final = 3.0  # an utterance of this length counts as one; shorter ones in proportion
_MAX_WEIGHT: Final = 2.0  # how much past counts: a detection of about 98 % overrules the longest one
_TOO_LITTLE: Final = 0.01  # weight of a language that need not be remembered
_UNHEARD: Final = 0.04  # weight of each language never heard: about one in the protocol's 27


class LanguageBelief:
    """The belief of one session; `prior` may be read by any thread and is empty until something was heard."""

    def __init__(self) -> None:
        # Sum of the detections so far, at most _MAX_WEIGHT in all; replaced as a whole, never changed.
        self._weights: dict[str, float] = {}

    @classmethod
    def of(cls, weights: Mapping[str, float]) -> LanguageBelief:
        """The belief whose `weights` were these; what makes no sense among them is left out."""
        belief = cls()
        belief._weights = {code: weight for code, weight in weights.items() if 0 < weight <= _MAX_WEIGHT}
        return belief

    @property
    def weights(self) -> Mapping[str, float]:
        """The detections so far, summed up by language, without those that hardly count."""
        return {code: round(weight, 3) for code, weight in self._weights.items() if weight >= _TOO_LITTLE}

    @property
    def prior(self) -> Mapping[str, float]:
        """How likely each language is, not normalised; a language not in it was never heard."""
        return MappingProxyType({language: weight + _UNHEARD for language, weight in self._weights.items()})

    def observe(self, probabilities: Mapping[str, float], duration_s: float) -> None:
        """Add the detection made on one utterance."""
        weight = _weight(duration_s)
        weights = {
            language: self._weights.get(language, 0.0) + weight * probabilities.get(language, 0.0)
            for language in self._weights.keys() | probabilities.keys()
        }
        scale = min(1.0, _MAX_WEIGHT / max(sum(weights.values()), _UNHEARD))
        self._weights = {language: value * scale for language, value in weights.items()}


def apply_prior(probabilities: Mapping[str, float], prior: Mapping[str, float], duration_s: float) -> str:
    """The most likely language of a detection made on ``duration_s`` of sound, given the past."""
    weight = _weight(duration_s)
    return max(probabilities, key=lambda code: probabilities[code] ** weight * prior.get(code, _UNHEARD))


def _weight(duration_s: float) -> float:
    """How much a detection counts, 0 to 1."""
    return min(duration_s / _FULL_WEIGHT_S, 1.0)
