"""A Whisper model in a folder that the operator names: whether it is whole, and which one it is.

Decided here: digests are checked where there are any to check against. Weights that the catalogue knows must
come with the files that belong to them; a file ``SHA256SUMS`` in the folder must hold for all it names. A
folder with neither is taken as it is, and the log says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from qa_service.asr_server.errors import EngineError
from qa_service.fetching import is_digest_of
from qa_service.models import CATALOGUE, Model
from qa_service.models.sums import SUMS, SumsError, check_sums

_log = structlog.get_logger(__name__)

WEIGHTS: Final = "model.bin"
_NEEDED: Final = (WEIGHTS, "config.json", "tokenizer.json")


def check_model_folder(folder: Path) -> str:
    """The name of the model in a folder of CTranslate2's, as faster-whisper uses them.

    The catalogue's name if the catalogue knows the weights, else the folder's.

    Raises:
        EngineError: files are missing, or are not what their digests say.
    """
    if missing := [name for name in _NEEDED if not (folder / name).is_file()]:
        raise EngineError(
            f"{folder} holds no Whisper model for CTranslate2: {', '.join(missing)} missing; "
            "set QA_SERVER_MODEL_PATH to a folder as faster-whisper uses them"
        )
    try:
        has_sums = check_sums(folder)
        known = next((model for model in CATALOGUE.values() if _has_weights_of(folder, model)), None)
    except OSError as error:
        raise EngineError(f"cannot read the model in {folder}: {error}") from error
    except SumsError as error:
        raise EngineError(f"{error}; copy the model again") from error
    if known is None:
        if not has_sums:
            _log.warning("model_not_verified", folder=str(folder), remedy=f"put a {SUMS} file into it")
        return folder.resolve().name
    if wrong := [file.name for file in known.files if not is_digest_of(folder / file.name, (file.sha256,))]:
        raise EngineError(
            f"{folder} holds the weights of {known.name} and not its {', '.join(wrong)}; copy the model again"
        )
    return known.name


def _has_weights_of(folder: Path, model: Model) -> bool:
    # The size first: digests of gigabytes take their time.
    return any(
        file.name == WEIGHTS
        and (folder / WEIGHTS).stat().st_size == file.size
        and is_digest_of(folder / WEIGHTS, (file.sha256,))
        for file in model.files
    )
