"""The trained models: which ones, by digest, and how they come onto this machine.

    path = ensure("whisper-base", default_cache_dir())

Models of the catalogue: `whisper-base` (a folder for CTranslate2), `whisper-base-layer3` (the same, encoder
only) and `silero-vad` (an ONNX file). Other speech models come from the hub, by name: `ensure_named`.
"""

from __future__ import annotations

from qa_service.fetching import FetchError, default_cache_dir
from qa_service.models.catalogue import CATALOGUE, Model, ModelFile
from qa_service.models.naming import ensure_named, model_names, speech_model, verify_named
from qa_service.models.results import Result, State
from qa_service.models.store import ensure, fetch_all, verify, verify_all

__all__ = [
    "CATALOGUE",
    "FetchError",
    "Model",
    "ModelFile",
    "Result",
    "State",
    "default_cache_dir",
    "ensure",
    "ensure_named",
    "fetch_all",
    "model_names",
    "speech_model",
    "verify",
    "verify_all",
    "verify_named",
]
