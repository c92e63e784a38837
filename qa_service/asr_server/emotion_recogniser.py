"""The seam between the server and what hears emotions in a voice.

The server calls it only for sessions in which emotion is on: where it is off, the model does not run at all,
since inferring is what the law forbids (EU AI Act, Art. 5(1)(f)), not only telling.

Decided here: hearing is heavy, keeps nothing, and is done ahead in a recognition thread, for results that
may be thrown away; judging is cheap, learns from what it judges, and is done once per utterance in the event
loop. The norm of the service is shared by all sessions, each speaker's own begins with the session.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.emotion import Abstention, EmotionModel, Voice

Float32 = npt.NDArray[np.float32]


class EmotionEstimate(Protocol):
    """What is made of one utterance."""

    @property
    def label(self) -> str | None:
        """One of the protocol's labels; None where the model abstains."""
        ...

    @property
    def confidence(self) -> float:
        """Confidence in the label, 0 to 1."""
        ...


class SpeakerMood(Protocol):
    """The judgements about one session's speaker, in order."""

    def judge(self, heard: object, /) -> EmotionEstimate:
        """Judge what `EmotionRecogniser.hear` heard, and learn from it; called in the event loop."""
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


class VoiceEmotions:
    """The project's emotion model behind the seam."""

    def __init__(self, model: EmotionModel) -> None:
        self._model = model
        # What the voices of this service are like; judged utterances of all sessions go into it.
        self.service = model.new_service()

    def hear(self, samples: Float32, /) -> Voice | Abstention:
        """What the model hears in an utterance, or why it cannot be judged."""
        return self._model.hear(samples)

    def open(self) -> VoiceMood:
        """A speaker of whom nothing has been heard."""
        return VoiceMood(self, self._model)


class VoiceMood:
    """One speaker's judgements, made against the service's norm and the speaker's own calm."""

    def __init__(self, emotions: VoiceEmotions, model: EmotionModel) -> None:
        self._emotions = emotions
        self._model = model
        self._speaker = model.new_speaker()

    def judge(self, heard: object, /) -> EmotionEstimate:
        """Judge one utterance; the service's norm and the speaker's learn from it."""
        if not isinstance(heard, Voice | Abstention):
            raise TypeError(f"not heard by this model: {type(heard).__name__}")
        judgement = self._model.judge(heard, self._emotions.service, self._speaker)
        self._emotions.service, self._speaker = judgement.service, judgement.speaker
        return judgement.estimate
