"""The trained models: which ones, by digest, and how they come onto this machine.

    path = ensure("whisper-base", default_cache_dir())

Models: `whisper-base` (a folder for CTranslate2), `whisper-base-layer3` (the same, encoder only) and
`silero-vad` (an ONNX file).
"""

from __future__ import annotations

from qa_service.fetching import FetchError, default_cache_dir
from qa_service.models.catalogue import CATALOGUE, Model, ModelFile
from qa_service.models.store import Result, State, ensure, fetch_all, verify, verify_all

__all__ = [
    "CATALOGUE",
    "FetchError",
    "Model",
    "ModelFile",
    "Result",
    "State",
    "default_cache_dir",
    "ensure",
    "fetch_all",
    "verify",
    "verify_all",
]
