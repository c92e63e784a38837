"""Loading the models of the asr-server and trying them out before anybody relies on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import structlog

from qa_service.asr_server.config import ServerConfig
from qa_service.asr_server.emotion import WEIGHTS_PATH, EmotionModel
from qa_service.asr_server.emotion_recogniser import VoiceEmotions
from qa_service.asr_server.engines import SAMPLE_RATE_HZ, Engine, Hints, Segment
from qa_service.asr_server.engines.model_folder import check_model_folder
from qa_service.asr_server.engines.plugins import EngineFactory, EngineOptions, open_engine
from qa_service.asr_server.engines.scripted import ScriptedEngine, markers
from qa_service.asr_server.engines.whisper import WhisperEngine
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.native_heap import bound_kept_memory
from qa_service.asr_server.voice_activity import FRAME_SAMPLES, LoudnessDetector, SileroDetector
from qa_service.asr_server.workplace import Models
from qa_service.models import FetchError, default_cache_dir, ensure, ensure_named, speech_model

_log = structlog.get_logger(__name__)

_WHISPER: Final = "whisper-base"
_WHISPER_LAYER3: Final = "whisper-base-layer3"
_SILERO: Final = "silero-vad"


def load(config: ServerConfig) -> Models:
    """Load what ``config`` asks for, fetching model files that are not there; takes seconds.

    Raises:
        EngineError: a model cannot be had or loaded.
    """
    if config.model is not None and config.model_path is not None:
        raise EngineError("both QA_SERVER_MODEL and QA_SERVER_MODEL_PATH name a model: unset one of them")
    options = EngineOptions(
        threads=config.threads,
        cache_dir=config.cache_dir or default_cache_dir(),
        model=config.model,
        model_path=config.model_path,
        report=_report_progress,
    )
    bound_kept_memory()  # before the first model is in memory
    try:
        engine = open_engine(config.engine, options, _BUILT_IN)
        if isinstance(engine, ScriptedEngine):
            return Models(engine=engine, detector=LoudnessDetector())
        detector = SileroDetector(ensure(_SILERO, options.cache_dir, options.report))
        encoder = ensure(_WHISPER_LAYER3, options.cache_dir, options.report) if config.emotion else None
        emotions = (
            VoiceEmotions(EmotionModel.load(config.emotion_weights or WEIGHTS_PATH, encoder))
            if encoder
            else None
        )
    except (FetchError, ValueError, RuntimeError) as error:
        raise EngineError(str(error)) from error
    return Models(engine=engine, detector=detector, emotions=emotions)


def _open_whisper(options: EngineOptions) -> Engine:
    if options.model_path is not None:
        folder, name = options.model_path, check_model_folder(options.model_path)
    else:
        name = speech_model(options.model or _WHISPER)
        folder = ensure_named(name, options.cache_dir, options.report)
    return WhisperEngine(folder, model=name, threads=options.threads)


def _open_scripted(_options: EngineOptions) -> Engine:
    return ScriptedEngine()


_BUILT_IN: Final[Mapping[str, EngineFactory]] = {"whisper": _open_whisper, "scripted": _open_scripted}


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
