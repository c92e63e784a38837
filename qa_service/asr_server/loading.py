"""Loading the models of the asr-server and trying them out before anybody relies on them."""

from __future__ import annotations

from typing import Final

import numpy as np
import structlog

from qa_service.asr_server.config import ServerConfig
from qa_service.asr_server.emotion import WEIGHTS_PATH, EmotionModel
from qa_service.asr_server.emotion_recogniser import VoiceEmotions
from qa_service.asr_server.engines import SAMPLE_RATE_HZ, Hints, Segment
from qa_service.asr_server.engines.scripted import ScriptedEngine, markers
from qa_service.asr_server.engines.whisper import WhisperEngine
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.session import Models
from qa_service.asr_server.voice_activity import FRAME_SAMPLES, LoudnessDetector, SileroDetector
from qa_service.models import FetchError, default_cache_dir, ensure

_log = structlog.get_logger(__name__)

_WHISPER: Final = "whisper-base"
_WHISPER_LAYER3: Final = "whisper-base-layer3"
_SILERO: Final = "silero-vad"


def load(config: ServerConfig) -> Models:
    """Load what ``config`` asks for, fetching model files that are not there; takes seconds.

    Raises:
        EngineError: a model cannot be had or loaded.
    """
    if config.engine == "scripted":
        return Models(engine=ScriptedEngine(), detector=LoudnessDetector())
    try:
        cache_dir = config.cache_dir or default_cache_dir()
        report = _report_progress
        detector = SileroDetector(ensure(_SILERO, cache_dir, report))
        engine = WhisperEngine(ensure(_WHISPER, cache_dir, report), model=_WHISPER, threads=config.threads)
        encoder = ensure(_WHISPER_LAYER3, cache_dir, report) if config.emotion else None
        emotions = VoiceEmotions(EmotionModel.load(WEIGHTS_PATH, encoder)) if encoder else None
    except (FetchError, ValueError, RuntimeError) as error:
        raise EngineError(str(error)) from error
    return Models(engine=engine, detector=detector, emotions=emotions)


def warm_up(models: Models) -> None:
    """Have each model do its work once: evidence that they can, and the first client does not wait for it.

    Raises:
        EngineError: one of them cannot.
    """
    sound = markers(("w0", "w1", "w2"), rate_hz=SAMPLE_RATE_HZ)
    models.engine.transcribe(Segment(samples=sound), Hints())
    models.detector.open().push(np.zeros(FRAME_SAMPLES, dtype=np.float32))
    if models.emotions is not None:
        models.emotions.hear(sound[::2])


def _report_progress(line: str) -> None:
    _log.info("model_fetching", detail=line)
