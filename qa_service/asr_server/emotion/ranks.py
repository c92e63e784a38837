"""How angry an utterance is among those of the same service, and how many a day are at least as angry.

A probability of anger holds for the voices a model was trained on and for few others; the order within one
service carries over. Decided here: what counts as recent, what is said before there is a past, and how many
utterances a day the service judges. Everything looks back only, in the order of judging.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 2000
"""Scores that count as recent: at 20 of them, the angriest 1 % begins to be known to a few tenths."""
PRIOR_WEIGHT: Final = 20
"""Utterances that the prior counts for, as in the norms: a past of as many counts half."""
_SPREAD: Final = 2 / 3  # of the distance from the usual to the calm score: the prior's deviation

_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S
TRAFFIC_HOURS: Final = 7 * 24
"""Hours that the rate is taken over: a week, so that nights and weekends weigh what they weigh."""


@dataclass(frozen=True, slots=True)
class ScorePrior:
    """What anger scores are taken to be before any were seen: normally distributed."""

    mean: float
    deviation: float

    @classmethod
    def between(cls, usual_score: float, calm_score: float) -> ScorePrior:
        """The prior for weights that score the training data's mean voice and its calm one like this.

        Voices and lines unlike the training data score around its mean voice rather than its calm one, and
        widely: 72 public recordings of unemotional speech (docs/emotion.md) had a mean of -15 and a deviation
        of 13, at a usual score of -22 and a calm one of -49. Acted anger lies around 18: 1.4 % by this prior.
        """
        return cls(usual_score, max(_SPREAD * abs(usual_score - calm_score), 1.0))

    def share_above(self, score: float) -> float:
        """The share of usual utterances that score at least ``score``, 0 to 1."""
        return 0.5 * math.erfc((score - self.mean) / (self.deviation * math.sqrt(2)))


class RecentScores:
    """The anger scores of the newest `WINDOW` utterances that were noted."""

    def __init__(self, prior: ScorePrior, scores: Iterable[float] = ()) -> None:
        self.prior = prior
        self._by_age = deque(scores, WINDOW)
        self._ascending = sorted(self._by_age)

    def __len__(self) -> int:
        return len(self._by_age)

    @property
    def by_age(self) -> tuple[float, ...]:
        """The scores, oldest first."""
        return tuple(self._by_age)

    def rank(self, score: float) -> float:
        """The share of recent utterances at least as angry as ``score``, 0 to 1; small is angry."""
        as_angry = len(self._ascending) - bisect_left(self._ascending, score)
        return (as_angry + PRIOR_WEIGHT * self.prior.share_above(score)) / (len(self) + PRIOR_WEIGHT)

    def note(self, score: float) -> None:
        """Take a score as the newest."""
        if len(self) == WINDOW:
            del self._ascending[bisect_left(self._ascending, self._by_age[0])]
        self._by_age.append(score)
        insort(self._ascending, score)

    def score_at(self, share: float) -> float | None:
        """The lowest score among the angriest ``share`` of recent utterances; None if that is not one yet."""
        count = int(share * len(self))
        return self._ascending[-count] if count else None


class Traffic:
    """How many utterances were judged in each hour of the past week; times are Unix seconds."""

    def __init__(self, since_s: float | None = None, hours: Mapping[int, int] | None = None) -> None:
        self.since_s = since_s
        """When the first utterance ever was judged; None: none was."""
        self._hours = dict(hours or {})

    @property
    def hours(self) -> Mapping[int, int]:
        """Utterances by hour since 1970; an hour without any is missing."""
        return dict(self._hours)

    def note(self, now_s: float) -> None:
        """Count one utterance judged now."""
        self.since_s = now_s if self.since_s is None else self.since_s
        hour = int(now_s // _HOUR_S)
        if hour not in self._hours:
            self._hours = {h: n for h, n in self._hours.items() if hour - TRAFFIC_HOURS < h <= hour}
        self._hours[hour] = self._hours.get(hour, 0) + 1

    def per_day(self, now_s: float) -> float | None:
        """Utterances a day at present, over the past week or what there is of it; None in the first hour."""
        if self.since_s is None:
            return None
        oldest_s = (now_s // _HOUR_S - TRAFFIC_HOURS + 1) * _HOUR_S
        since_s = max(self.since_s, oldest_s)
        if now_s - since_s < _HOUR_S:
            return None
        counted = sum(n for hour, n in self._hours.items() if oldest_s <= hour * _HOUR_S <= now_s)
        return counted / (now_s - since_s) * _DAY_S
