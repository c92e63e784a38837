"""What all sessions share: the models, and the threads that work for them."""

from __future__ import annotations

from dataclasses import dataclass

from qa_service.asr_server.emotion_recogniser import EmotionRecogniser
from qa_service.asr_server.engines import Engine
from qa_service.asr_server.scheduler import Scheduler
from qa_service.asr_server.voice_activity import VoiceDetector
from qa_service.asr_server.voice_batches import VoiceBatches


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What is loaded once and shared by all sessions; ``emotions`` None where there is no emotion model."""

    engine: Engine
    detector: VoiceDetector
    emotions: EmotionRecogniser | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """Where the work of all sessions is done."""

    models: Models
    scheduler: Scheduler
    voices: VoiceBatches
