"""Emotion from the voice: an estimate for each utterance, with a confidence, or an abstention.

Read docs/emotion.md before relying on a label. The way of an utterance: `speech` (trim, level) → `features`
and `encoder` (what was heard) → `norms` (compared with whom) → `model` (label, confidence, anger score).
"""

from __future__ import annotations

from qa_service.asr_server.emotion.model import (
    WEIGHTS_PATH,
    Abstention,
    EmotionEstimate,
    EmotionModel,
    Judgement,
    Voice,
)
from qa_service.asr_server.emotion.norms import ServiceNorm, SpeakerPast

__all__ = [
    "WEIGHTS_PATH",
    "Abstention",
    "EmotionEstimate",
    "EmotionModel",
    "Judgement",
    "ServiceNorm",
    "SpeakerPast",
    "Voice",
]
