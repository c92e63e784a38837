"""The emotion model as shipped, on voices that are made up: no encoder, no sound of anybody."""

from __future__ import annotations

from typing import Any

import numpy as np

from qa_service.asr_server.emotion import WEIGHTS_PATH, EmotionModel, Voice
from qa_service.asr_server.emotion.model import Weights
from qa_service.asr_server.emotion_recogniser import VoiceEmotions
from tests.asr_server.support import spoken

WEIGHTS = Weights.load(WEIGHTS_PATH)
WORD_SAMPLES = len(spoken("w1", "w1")) // 2 - len(spoken("w1")) // 2


class MadeUpVoices(VoiceEmotions):
    """The shipped weights; as many words as an utterance has, such a voice it is."""

    def __init__(self) -> None:
        super().__init__(EmotionModel(WEIGHTS, ear=None))  # type: ignore[arg-type]
        self.heard = 0

    def hear(self, samples: Any) -> Voice:
        self.heard += 1
        words = round(len(samples) / WORD_SAMPLES)
        noise = np.random.default_rng(words).normal(size=WEIGHTS.centre.size)
        return Voice(noise.astype(np.float32))
