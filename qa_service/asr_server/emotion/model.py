"""The emotion model: from the sound of an utterance to a label, a confidence and an anger score.

Decided here: which labels can come, when the model says nothing, and what its numbers mean.

- A label that the weights learnt nothing of can never come: its offset is minus infinity, its probability
  nought. Of the shipped weights that is *surprised*. Boredom is a class of its own inside (its voice must not
  pass for sadness or neutrality), but it is not on the wire and never emitted.
- An abstention is not *neutral*: it says that the voice was not judged, and why.
- The confidence is the model's probability after one temperature set on held-out voices. It does not transfer
  to other lines and languages; the *order* of `anger_score` within one service does (docs/emotion.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.emotion import features
from qa_service.asr_server.emotion.encoder import WIDTH, Ear
from qa_service.asr_server.emotion.norms import ServiceNorm, SpeakerPast
from qa_service.asr_server.emotion.speech import find_speech
from qa_service.audio.line import to_float
from qa_service.protocol.events import Emotion

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]

WEIGHTS_PATH: Final = Path(str(resources.files("qa_service.asr_server.emotion"))) / "weights" / "emodb-v2.npz"
VOICE_WIDTH: Final = WIDTH + len(features.NAMES)

EMITTED: Final[tuple[Emotion, ...]] = (
    "angry",
    "happy",
    "sad",
    "neutral",
    "fearful",
    "disgusted",
    "surprised",
)
BOREDOM: Final = "boredom"
# In the order of the weights' rows; the last one is never emitted.
CLASSES: Final = (*EMITTED, BOREDOM)
_ANGRY: Final = CLASSES.index("angry")

MIN_SPEECH_S: Final = 0.6
MIN_VOICED_SHARE: Final = 0.12  # of speech frames; whispering and noise are below, speech is at 0.3 to 0.9
MIN_ENERGY_STD_DB: Final = 1.5  # within speech frames; tones and hum stay below, speech is at 4 to 9
# In units of the training norm: a bound that keeps one wild measurement from deciding alone.
VALUE_LIMIT: Final = 4.0
AROUSAL_WEIGHT: Final = 0.2  # of the arousal log-odds in the anger score


class Abstention(StrEnum):
    """Why an utterance was not judged."""

    SILENCE = "silence"
    TOO_SHORT = "too_short"
    NOT_A_VOICE = "not_a_voice"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Voice:
    """What was heard of an utterance, in units of the training data's norm; shape (638,)."""

    values: Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionEstimate:
    """What the model says about one utterance."""

    label: Emotion | None
    """Nothing if the model abstains."""
    confidence: float
    """Probability of `label` (of the best label, if the model is unsure), 0 to 1; 0 if nothing was judged."""
    abstention: Abstention | None
    """Why there is no label; nothing if there is one."""
    anger_score: float | None
    """Log-odds of anger with a share of arousal, unbounded; to be ranked within one service."""
    arousal: float | None
    """Log-odds of an aroused voice (angry, happy, fearful against neutral, sad, bored)."""
    probabilities: tuple[tuple[Emotion, float], ...]
    """Of each label that can come, best first; the rest up to 1 is boredom. Empty if nothing was judged."""

    @property
    def abstained(self) -> bool:
        """Whether there is no label."""
        return self.abstention is not None


@dataclass(frozen=True, slots=True)
class Judgement:
    """An estimate, and the norms for the next utterance."""

    estimate: EmotionEstimate
    service: ServiceNorm
    speaker: SpeakerPast


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What training leaves: linear scores over a normed voice. Field names are the arrays of the npz file."""

    centre: Float32
    """Shape (638,): subtracted from a raw voice."""
    scale: Float32
    """Shape (638,): divides it then."""
    emotion_weights: Float32
    """Shape (8, 638), rows in the order of `CLASSES`."""
    emotion_offsets: Float32
    """Shape (8,); minus infinity for a class that had no training data."""
    arousal_weights: Float32
    """Shape (638,)."""
    arousal_offset: Float32
    """Shape ()."""
    usual_calm: Float32
    """Shape (638,): the mean normed voice of neutral, bored and sad training utterances."""
    temperature: Float32
    """Shape (): divides the scores before they become probabilities."""
    min_confidence: Float32
    """Shape (): below it the model is unsure."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an npz file.

        Raises:
            ValueError: not the weights of this model; the message names the file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                weights = cls(**{name: arrays[name].astype(np.float32) for name in cls.__slots__})
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(f"{path} holds no weights of the emotion model ({error})") from error
        for name, shape in _SHAPES.items():
            if getattr(weights, name).shape != shape:
                raise ValueError(
                    f"{path} was trained for another version ({name} has the shape"
                    f" {getattr(weights, name).shape}, not {shape}): train again with"
                    " `qa-service emotion train`"
                )
            allowed = np.isneginf(weights.emotion_offsets) if name == "emotion_offsets" else False
            if not np.all(np.isfinite(getattr(weights, name)) | allowed):
                raise ValueError(f"{path} is damaged ({name} holds values that are no numbers): train again")
        return weights

    def save(self, path: Path) -> None:
        """Write an npz file; the same weights give the same bytes."""
        with path.open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in self.__slots__})

    @property
    def labels(self) -> tuple[Emotion, ...]:
        """The labels that can come: those with training data, in the order of `EMITTED`."""
        return tuple(
            label for label, offset in zip(EMITTED, self.emotion_offsets, strict=False) if np.isfinite(offset)
        )

    def norm(self, raw: Float32) -> Float32:
        """A raw voice (or several, one a row) in units of the training data's norm."""
        return norm_values(raw, self.centre, self.scale)

    def emotion_scores(self, normed: Float32) -> Float32:
        """The log-likelihood of each class up to a constant; the last axis in the order of `CLASSES`."""
        return np.asarray(normed @ self.emotion_weights.T + self.emotion_offsets, np.float32)

    def arousal(self, normed: Float32) -> Float32:
        """The log-odds of an aroused voice."""
        return np.asarray(normed @ self.arousal_weights + self.arousal_offset, np.float32)

    def anger(self, normed: Float32) -> Float32:
        """The anger score of each voice: log-odds of anger with a share of arousal, unbounded."""
        scores = self.emotion_scores(normed)
        rivals = np.logaddexp.reduce(np.delete(scores, _ANGRY, axis=-1), axis=-1)
        return np.asarray(scores[..., _ANGRY] - rivals + AROUSAL_WEIGHT * self.arousal(normed), np.float32)

    def probabilities(self, scores: Float32) -> Float32:
        """The probability of each class, in the shape of `scores`."""
        powers = np.exp((scores - scores.max(axis=-1, keepdims=True)) / self.temperature)
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


_SHAPES: Final[dict[str, tuple[int, ...]]] = {
    "centre": (VOICE_WIDTH,),
    "scale": (VOICE_WIDTH,),
    "emotion_weights": (len(CLASSES), VOICE_WIDTH),
    "emotion_offsets": (len(CLASSES),),
    "arousal_weights": (VOICE_WIDTH,),
    "arousal_offset": (),
    "usual_calm": (VOICE_WIDTH,),
    "temperature": (),
    "min_confidence": (),
}


def norm_values(raw: Float32, centre: Float32, scale: Float32) -> Float32:
    """Raw values in units of a norm, bounded."""
    return np.asarray(np.clip((raw - centre) / scale, -VALUE_LIMIT, VALUE_LIMIT), np.float32)


class EmotionModel:
    """The model, loaded.

    `hear` is the heavy part (about 12 ms of CPU for a second of speech), holds no state and belongs into a
    worker thread; `judge` takes microseconds and belongs where the norms live, so that no update is lost.
    """

    def __init__(self, weights: Weights, ear: Ear) -> None:
        self._weights = weights
        self._ear = ear

    @classmethod
    def load(cls, weights_path: Path, encoder: Path) -> Self:
        """Load the weights, and the encoder from the folder of `whisper-base-layer3`.

        Raises:
            ValueError: the weights do not fit.
            RuntimeError: the encoder cannot be loaded.
        """
        return cls(Weights.load(weights_path), Ear(encoder))

    @property
    def weights(self) -> Weights:
        """What training left."""
        return self._weights

    def new_service(self) -> ServiceNorm:
        """The norm of a service that nothing has been heard of."""
        return ServiceNorm.empty(VOICE_WIDTH)

    def new_speaker(self) -> SpeakerPast:
        """The state of a speaker that nothing has been heard of."""
        return SpeakerPast.empty(VOICE_WIDTH)

    def hear(self, samples: Float32 | Int16) -> Voice | Abstention:
        """What can be heard in an utterance (8 kHz mono, telephone band), or why it cannot be judged."""
        raw = hear_raw(samples, self._ear)
        return raw if isinstance(raw, Abstention) else Voice(self._weights.norm(raw))

    def judge(self, heard: Voice | Abstention, service: ServiceNorm, speaker: SpeakerPast) -> Judgement:
        """Judge an utterance against the norms, and say what they are from now on."""
        if isinstance(heard, Abstention):
            return Judgement(_nothing_judged(heard), service, speaker)
        weights = self._weights
        seen = service.apply(heard.values)
        arousal = float(weights.arousal(seen))
        by_speaker = speaker.apply(seen, weights.usual_calm)
        anger = float(weights.anger(by_speaker))
        estimate = _estimate(weights, weights.emotion_scores(seen), anger=anger, arousal=arousal)
        learnt = service.after(heard.values) if speaker.informs_service else service
        return Judgement(estimate, learnt, speaker.after(seen, calm=arousal < 0))

    def classify(
        self,
        samples: Float32 | Int16,
        service: ServiceNorm | None = None,
        speaker: SpeakerPast | None = None,
    ) -> Judgement:
        """Hear and judge in one call, by empty norms unless some are given."""
        return self.judge(self.hear(samples), service or self.new_service(), speaker or self.new_speaker())


def hear_raw(samples: Float32 | Int16, ear: Ear) -> Float32 | Abstention:
    """The raw voice, shape (638,), the encoder's values first; training starts from it too."""
    speech = find_speech(to_float(samples))
    if speech is None:
        return Abstention.SILENCE
    if speech.active_s < MIN_SPEECH_S:
        return Abstention.TOO_SHORT
    measured = features.measure(speech.samples)
    if measured.voiced_share < MIN_VOICED_SHARE or measured.energy_std_db < MIN_ENERGY_STD_DB:
        return Abstention.NOT_A_VOICE
    return np.concatenate([ear.listen(speech.samples), measured.values])


def _nothing_judged(why: Abstention) -> EmotionEstimate:
    return EmotionEstimate(
        label=None, confidence=0.0, abstention=why, anger_score=None, arousal=None, probabilities=()
    )


def _estimate(weights: Weights, scores: Float32, *, anger: float, arousal: float) -> EmotionEstimate:
    probability = weights.probabilities(scores)
    told = zip(EMITTED, map(float, probability), strict=False)
    can_come = weights.labels
    ranked = sorted((pair for pair in told if pair[0] in can_come), key=lambda pair: -pair[1])
    label, confidence = ranked[0]
    sure = confidence >= float(weights.min_confidence)
    return EmotionEstimate(
        label=label if sure else None,
        confidence=confidence,
        abstention=None if sure else Abstention.UNSURE,
        anger_score=anger,
        arousal=arousal,
        probabilities=tuple(ranked),
    )
