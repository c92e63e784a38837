"""What a voice is compared with: the service's usual voice, and the speaker's own calm one.

Decided here: how much each counts against what the training data say. Values are immutable; each utterance
gives the next one, so the same sequence of utterances always gives the same estimates.

Two norms, since each would spoil the other's work: against the speaker's own past a caller who is angry
throughout would cancel himself, so labels are judged by the service norm alone; for *ranking* anger within a
service the speaker's calm past sharpens the order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

# Utterances. History counts up to the first against the second for the training data (docs/emotion.md).
HISTORY_WEIGHT: Final = 100
PRIOR_WEIGHT: Final = 20
# A calm past of n utterances counts n / (n + this).
CALM_PRIOR_WEIGHT: Final = 3
# Utterances of one speaker that the service norm learns from: one long angry call in a new service would
# otherwise become what is usual there, and its anger be called neutral.
MOST_OF_ONE_SPEAKER: Final = 5
# Of one speaker's utterances, the first so many are all ranked against later; of further ones ever fewer.
ALL_RANKED_OF_ONE_SPEAKER: Final = 16
_VARIANCE_FLOOR: Final = 0.05
_PAST_HEAD: Final = struct.Struct("<HH")  # utterances heard, calm ones among them
_MOST_COUNTED: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class ServiceNorm:
    """The running mean and variance of a service's utterances, in units of the training data's norm.

    Empty, it is the training data's norm itself. One for each kind of line that sounds alike.
    """

    count: int
    """Utterances seen; beyond `HISTORY_WEIGHT` old ones fade."""
    mean: Float32
    variance: Float32

    @classmethod
    def empty(cls, width: int) -> ServiceNorm:
        """The norm before the first utterance of `width` values."""
        return cls(0, np.zeros(width, np.float32), np.ones(width, np.float32))

    @property
    def trust(self) -> float:
        """How much it counts against the training data's norm, 0 to 1."""
        return self.count / (self.count + PRIOR_WEIGHT)

    def apply(self, values: Float32) -> Float32:
        """`values`, in units of the training norm, as seen by this service."""
        trust = self.trust
        mean = trust * self.mean
        variance = trust * self.variance + (1 - trust)
        return np.asarray((values - mean) / np.sqrt(variance), dtype=np.float32)

    def after(self, values: Float32) -> ServiceNorm:
        """The norm once an utterance has been heard as well."""
        weight = 1 / min(self.count + 1, HISTORY_WEIGHT)
        off = values - self.mean
        mean = self.mean + weight * off
        spread = (1 - weight) * (self.variance + weight * off**2) if self.count else np.ones_like(off)
        variance = np.maximum(spread, _VARIANCE_FLOOR)
        return ServiceNorm(
            min(self.count + 1, HISTORY_WEIGHT), mean.astype(np.float32), variance.astype(np.float32)
        )


@dataclass(frozen=True, slots=True)
class SpeakerPast:
    """What has been heard of one speaker in a call."""

    heard: int
    """Utterances judged."""
    calm: int
    """Those of them that were calm."""
    calm_total: Float32
    """The sum of the calm ones, as the service norm showed them."""

    @classmethod
    def empty(cls, width: int) -> SpeakerPast:
        """The state before the speaker's first utterance of `width` values."""
        return cls(0, 0, np.zeros(width, np.float32))

    @property
    def informs_service(self) -> bool:
        """Whether the service norm still learns from this speaker."""
        return self.heard < MOST_OF_ONE_SPEAKER

    @property
    def informs_ranks(self) -> bool:
        """Whether the next utterance is one that later ones are ranked against.

        Each of a call's first 16 is, then 8 more whenever their number doubles: a long angry call would
        otherwise fill the recent past of a small service, and anger be nothing special there.
        """
        octave = max(self.heard // (ALL_RANKED_OF_ONE_SPEAKER // 2), 1).bit_length() - 1
        return self.heard % (1 << octave) == 0

    def apply(self, values: Float32, usual_calm: Float32) -> Float32:
        """`values` less what sets this speaker's calm voice apart from `usual_calm`, the training data's."""
        if not self.calm:
            return values
        trust = self.calm / (self.calm + CALM_PRIOR_WEIGHT)
        own = self.calm_total / self.calm
        return np.asarray(values - trust * (own - usual_calm), dtype=np.float32)

    def after(self, values: Float32, *, calm: bool) -> SpeakerPast:
        """The state once an utterance has been heard; only `calm` ones add to the calm voice."""
        if not calm:
            return SpeakerPast(self.heard + 1, self.calm, self.calm_total)
        return SpeakerPast(self.heard + 1, self.calm + 1, self.calm_total + values)

    def to_bytes(self) -> bytes:
        """The state as bytes."""
        counts = _PAST_HEAD.pack(min(self.heard, _MOST_COUNTED), min(self.calm, _MOST_COUNTED))
        voice = self.calm_total / self.calm if self.calm else self.calm_total[:0]
        return counts + voice.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, width: int) -> SpeakerPast:
        """The state that `to_bytes` wrote of voices of ``width`` values.

        Raises:
            ValueError: ``data`` is nothing of the kind.
        """
        if len(data) < _PAST_HEAD.size:
            raise ValueError("the past of a speaker is too short")
        heard, calm = _PAST_HEAD.unpack_from(data)
        voice = np.frombuffer(data[_PAST_HEAD.size :], "<f4").astype(np.float32)
        if calm > heard or voice.size != (width if calm else 0) or not np.isfinite(voice).all():
            raise ValueError("the past of a speaker contradicts itself")
        return cls(heard, calm, voice * calm if calm else np.zeros(width, np.float32))
