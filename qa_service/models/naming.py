"""Models by the name that a person gives them: of the catalogue, or of the hub.

Decided here: what the catalogue holds comes from there, by its own digests and with its other sources,
whichever of its names is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from qa_service.fetching import FetchError, Report
from qa_service.models.catalogue import CATALOGUE
from qa_service.models.hub import HubModel, ensure_from_hub, hub_models_in, verify_from_hub
from qa_service.models.results import Result
from qa_service.models.store import ensure, verify

_SPEECH: Final = "whisper-base"  # the one speech model of the catalogue
_OTHER_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {"base": _SPEECH, "Systran/faster-whisper-base": _SPEECH}
)


def ensure_named(name: str, cache_dir: Path, progress: Report | None = None) -> Path:
    """The model called ``name``, fetched if it is not in the cache, its digests checked in any case.

    Raises:
        FetchError: it cannot be had, or there is no such model.
    """
    if (known := _in_catalogue(name)) is not None:
        return ensure(known, cache_dir, progress)
    return ensure_from_hub(HubModel.parse(name), cache_dir, progress)


def verify_named(name: str, cache_dir: Path) -> Result:
    """Check the files of the model called ``name``; nothing is fetched.

    Raises:
        FetchError: there is no such model.
    """
    if (known := _in_catalogue(name)) is not None:
        return verify(known, cache_dir)
    return verify_from_hub(HubModel.parse(name), cache_dir)


def speech_model(name: str) -> str:
    """The name of a speech model as results and logs have it, whichever of its names is given.

    Raises:
        FetchError: there is no such model, or it is none of speech.
    """
    known = _in_catalogue(name)
    if known is None:
        return HubModel.parse(name).name
    if known != _SPEECH:
        raise FetchError(f"{name} recognises no speech: use {_SPEECH}, or a model of the hub")
    return known


def model_names(cache_dir: Path) -> list[str]:
    """The names of all models of the catalogue, and of those of the hub that are in the cache."""
    return [*CATALOGUE, *(model.name for model in hub_models_in(cache_dir))]


def _in_catalogue(name: str) -> str | None:
    other = _OTHER_NAMES.get(name, name)
    return other if other in CATALOGUE else None
