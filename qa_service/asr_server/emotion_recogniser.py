"""The seam between the server and what hears emotions in a voice.

The server calls it only for sessions in which emotion is on: where it is off, the model does not run at all,
since inferring is what the law forbids (EU AI Act, Art. 5(1)(f)), not only telling.

Decided here: hearing is heavy, keeps nothing, and is done ahead in a recognition thread, for results that
may be thrown away; judging is cheap, learns from what it judges, and is done once per utterance in the event
loop. What is learnt of the service is shared by all sessions and outlives the process (`emotion_memory`);
what is learnt of a speaker begins with the session, or goes on from an earlier one of the same leg.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.emotion import Abstention, EmotionModel, Voice
from qa_service.asr_server.emotion.model import Weights
from qa_service.asr_server.emotion.norms import ServiceNorm, SpeakerPast
from qa_service.asr_server.emotion.ranks import RecentScores, ScorePrior, Traffic

Float32 = npt.NDArray[np.float32]

OTHER: Final = "other"
"""What a distribution calls the probability of all that is no label of the protocol."""
_DECIMALS: Final = 4  # of what is told; the rest is noise
_DIGEST_BYTES: Final = 8  # of the weights' digest in a speaker's past: enough to tell weights apart


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionEstimate:
    """What is made of one utterance."""

    label: str | None = None
    """One of the protocol's labels; None where the model abstains."""
    confidence: float = 0.0
    """Confidence in the label, 0 to 1."""
    distribution: Mapping[str, float] | None = None
    """The probability of each label that can come, and of `OTHER`; None where nothing was judged."""
    anger_score: float | None = None
    """Unbounded, to be compared within one service alone; None where nothing was judged."""
    anger_rank: float | None = None
    """The share of the service's recent utterances at least as angry, 0 to 1."""
    anger_daily: float | None = None
    """How many utterances a day are at least as angry; None until the service's rate is known."""


class SpeakerMood(Protocol):
    """The judgements about one session's speaker, in order."""

    def judge(self, heard: object, /) -> EmotionEstimate:
        """Judge what `EmotionRecogniser.hear` heard, and learn from it; called in the event loop."""
        ...

    def past(self) -> bytes:
        """What has been learnt of the speaker, for `EmotionRecogniser.resume`; at most some 2,000 bytes."""
        ...


class EmotionRecogniser(Protocol):
    """A model of emotions, shared by all sessions."""

    def hear(self, samples: Float32, /) -> object:
        """Listen to one utterance: mono float32 in ±1 at 8 kHz.

        Called by several threads at once; keeps nothing.
        """
        ...

    def open(self) -> SpeakerMood:
        """A speaker of whom nothing has been heard."""
        ...

    def resume(self, past: bytes, /) -> SpeakerMood | None:
        """A speaker of whom that much was learnt already; None if the past is not one of this very model."""
        ...


@dataclass(slots=True)
class ServicePast:
    """What a service has learnt of its traffic: the usual voice, the recent scores, how many a day."""

    norm: ServiceNorm
    scores: RecentScores
    traffic: Traffic = field(default_factory=Traffic)
    judged: int = 0
    """Utterances judged in all."""

    @classmethod
    def empty(cls, weights: Weights) -> Self:
        """The past of a service of which nothing was heard: what the training data say."""
        prior = ScorePrior.between(
            usual_score=float(weights.anger(np.zeros_like(weights.usual_calm))),
            calm_score=float(weights.anger(weights.usual_calm)),
        )
        return cls(ServiceNorm.empty(weights.usual_calm.size), RecentScores(prior))


class VoiceEmotions:
    """The project's emotion model behind the seam; ``clock`` gives Unix seconds."""

    def __init__(self, model: EmotionModel, clock: Callable[[], float] = time.time) -> None:
        self.model = model
        self.weights_digest = digest_of(model.weights)
        self.past = ServicePast.empty(model.weights)
        self._clock = clock
        # All that scores take of a voice: nine sums over its 638 values. Nothing else of a speaker is handed
        # out, since nobody could be told by it, and any voice with the same sums takes its place again.
        self._sums = np.vstack([model.weights.emotion_weights, model.weights.arousal_weights])
        self._voice_of_sums = np.linalg.pinv(self._sums.astype(np.float64)).astype(np.float32)

    def hear(self, samples: Float32, /) -> Voice | Abstention:
        """What the model hears in an utterance, or why it cannot be judged."""
        return self.model.hear(samples)

    def open(self) -> VoiceMood:
        """A speaker of whom nothing has been heard."""
        return VoiceMood(self, self.model.new_speaker())

    def resume(self, past: bytes, /) -> VoiceMood | None:
        """A speaker of whom that much was learnt already; None if by other weights, or if it is damaged."""
        if past[:_DIGEST_BYTES] != self.weights_digest[:_DIGEST_BYTES]:
            return None
        try:
            summed = SpeakerPast.from_bytes(past[_DIGEST_BYTES:], len(self._sums))
        except ValueError:
            return None
        return VoiceMood(self, replace(summed, calm_total=self._voice_of_sums @ summed.calm_total))

    def past_of(self, speaker: SpeakerPast) -> bytes:
        """What `resume` takes to go on with a speaker, some 50 bytes."""
        summed = replace(speaker, calm_total=self._sums @ speaker.calm_total)
        return self.weights_digest[:_DIGEST_BYTES] + summed.to_bytes()

    def judge(self, heard: object, speaker: SpeakerPast) -> tuple[EmotionEstimate, SpeakerPast]:
        """Judge one utterance, and learn of the service by it; gives the speaker's past from then on."""
        if not isinstance(heard, Voice | Abstention):
            raise TypeError(f"not heard by this model: {type(heard).__name__}")
        past = self.past
        judgement = self.model.judge(heard, past.norm, speaker)
        past.norm = judgement.service
        found = judgement.estimate
        if found.anger_score is None:
            return EmotionEstimate(label=found.label, confidence=found.confidence), judgement.speaker
        now_s = self._clock()
        rank, per_day = past.scores.rank(found.anger_score), past.traffic.per_day(now_s)
        if speaker.informs_ranks:
            past.scores.note(found.anger_score)
        past.traffic.note(now_s)
        past.judged += 1
        estimate = EmotionEstimate(
            label=found.label,
            confidence=found.confidence,
            distribution=_distribution(found.probabilities),
            anger_score=round(found.anger_score, _DECIMALS),
            anger_rank=round(rank, _DECIMALS),
            anger_daily=None if per_day is None else round(rank * per_day, _DECIMALS),
        )
        return estimate, judgement.speaker


class VoiceMood:
    """One speaker's judgements, made against the service's past and the speaker's own calm."""

    def __init__(self, emotions: VoiceEmotions, speaker: SpeakerPast) -> None:
        self._emotions = emotions
        self._speaker = speaker

    def judge(self, heard: object, /) -> EmotionEstimate:
        """Judge one utterance; what is known of the service and the speaker learns from it."""
        estimate, self._speaker = self._emotions.judge(heard, self._speaker)
        return estimate

    def past(self) -> bytes:
        """What has been learnt of the speaker, for `VoiceEmotions.resume`."""
        return self._emotions.past_of(self._speaker)


def digest_of(weights: Weights) -> bytes:
    """SHA-256 of the weights: what was learnt by other ones is of no use."""
    digest = hashlib.sha256()
    for name in weights.__slots__:
        digest.update(name.encode() + getattr(weights, name).tobytes())
    return digest.digest()


def _distribution(probabilities: tuple[tuple[str, float], ...]) -> dict[str, float]:
    told = {label: round(probability, _DECIMALS) for label, probability in probabilities}
    return {**told, OTHER: round(max(1.0 - sum(told.values()), 0.0), _DECIMALS)}
