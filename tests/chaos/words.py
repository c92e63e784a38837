"""Audio in which every word can be told: a frame is a word of the scripted engine, or silence."""

from __future__ import annotations

import functools

import numpy as np

from qa_service.asr_server.engines.scripted import WORD_S, markers
from qa_service.audio.g711 import encode_ulaw
from qa_service.audio.resample import pcm_of_samples
from qa_service.simulation.words import ALARM, RATE_HZ, name_of

VOCABULARY = (ALARM, *(name_of(number) for number in range(1, 256)))
"""Letters only: digits would be redacted."""
FRAME_SAMPLES = round(WORD_S * RATE_HZ)
"""200 ms, the longest frame of the contract: however late the next one comes, no word is cut."""
FRAME_MS = FRAME_SAMPLES * 1000 // RATE_HZ


@functools.cache
def frame_of(word: str | None) -> bytes:
    """µ-law of a word, or of silence."""
    if word is None:
        return b"\xff" * FRAME_SAMPLES
    sound = markers((word,), rate_hz=RATE_HZ, vocabulary=VOCABULARY)
    return encode_ulaw(np.frombuffer(pcm_of_samples(sound), dtype="<i2"))
