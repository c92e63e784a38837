"""Whisper models of the Hugging Face hub, in the form that faster-whisper uses, by any of their names.

    folder = ensure_from_hub(HubModel.parse("small"), default_cache_dir())

Decided here: a model comes into the cache whole or not at all, by the digests that the hub itself states for
the commit that was fetched: SHA-256 for large files, git's own for small ones. All are then written down
beside them, as ``SHA256SUMS``, and checked whenever the model is used, without asking the network.

The hub's own client does the transfer: it goes on where a connection broke off, and knows the environment
variables of the hub (``HF_ENDPOINT`` for a mirror, ``HF_TOKEN``, ``HF_HUB_OFFLINE``) and of proxies.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from qa_service.fetching import (
    DigestMismatchError,
    FetchError,
    Report,
    UnavailableError,
    exclusive,
    sha256_of,
)
from qa_service.fetching.cache import unwritable
from qa_service.models.results import Result, State
from qa_service.models.sums import SUMS, SumsError, check_sums, write_sums

if TYPE_CHECKING:
    from huggingface_hub.hf_api import HfApi, RepoSibling

SIZES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **{
            size: f"Systran/faster-whisper-{size}"
            for size in (
                *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
                *("large-v1", "large-v2", "large-v3"),
            )
        },
        **{
            size: f"Systran/faster-{size.replace('distil-', 'distil-whisper-')}"
            for size in ("distil-small.en", "distil-medium.en", "distil-large-v2", "distil-large-v3")
        },
        "large": "Systran/faster-whisper-large-v3",
        "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    }
)
"""The short names that faster-whisper gives to models, and where they are."""

_NEEDED: Final = ("model.bin", "config.json", "tokenizer.json")
_WANTED: Final = (*_NEEDED, "preprocessor_config.json", "vocabulary.json", "vocabulary.txt")
# The hub allows neither "--" nor ".." in a name, nor a dot or hyphen at its ends.
_PART: Final = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?!.*(?:--|\.\.))({_PART}/{_PART})(?:@({_PART}))?", re.ASCII)
_TIMEOUT_S: Final = 10.0  # for the list of files; the client has its own for their content
_REMEDY: Final = (
    "fetch it where there is a network and name the folder in QA_SERVER_MODEL_PATH, or set HTTPS_PROXY, or "
    "HF_ENDPOINT for a mirror"
)


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository of the hub, and a branch, tag or commit of it; None: what its owner offers at present."""

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, name: str) -> HubModel:
        """The model called ``small``, ``owner/name`` or ``owner/name@revision``.

        Raises:
            FetchError: it is no name of a model.
        """
        match = _NAME.fullmatch(SIZES.get(name, name))
        if match is None:
            raise FetchError(
                f"no speech model {name!r}: use a size ({', '.join(SIZES)}) or a name on the hub, owner/name"
            )
        return cls(match[1], match[2])

    @property
    def name(self) -> str:
        """The name that `parse` takes."""
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    def folder_in(self, cache_dir: Path) -> Path:
        """Where its files are, if they are."""
        # No name has "--" in it, so two models never share a folder.
        return cache_dir / "models" / "hub" / self.name.replace("/", "--")


def ensure_from_hub(model: HubModel, cache_dir: Path, progress: Report | None = None) -> Path:
    """The model's folder, fetched if it is not in the cache, its digests checked in any case.

    Safe to call from several processes at once.

    Raises:
        FetchError: the hub cannot be reached or has no such model, or the cache cannot be written.
    """
    folder = model.folder_in(cache_dir)
    if verify_from_hub(model, cache_dir).state is not State.OK:
        with exclusive(cache_dir, f"model-{folder.name}", progress):
            if verify_from_hub(model, cache_dir).state is not State.OK:
                _fetch(model, folder, progress or _say_nothing)
    return folder


def verify_from_hub(model: HubModel, cache_dir: Path) -> Result:
    """Check the files of a model against the digests that came with them; nothing is fetched."""
    folder = model.folder_in(cache_dir)
    remedy = f"`qa-service model fetch {model.name}`"
    if not folder.is_dir():
        detail = f"not fetched yet: run {remedy}"
        return Result(name=model.name, path=folder, state=State.ABSENT, detail=detail)
    try:
        fault = "" if check_sums(folder) else f"{SUMS} is missing"
    except SumsError as error:
        fault = str(error)
    if fault:
        detail = f"{fault}; {remedy} replaces it"
        return Result(name=model.name, path=folder, state=State.DAMAGED, detail=detail)
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return Result(name=model.name, path=folder, state=State.OK, detail=f"{megabytes:.1f} MB, of the hub")


def hub_models_in(cache_dir: Path) -> list[HubModel]:
    """The models of the hub that are in the cache."""
    found = sorted((cache_dir / "models" / "hub").glob("*--*"))
    return [HubModel.parse(path.name.replace("--", "/", 1)) for path in found if path.suffix != ".partial"]


def _say_nothing(_line: str) -> None:
    pass


def _fetch(model: HubModel, folder: Path, report: Report) -> None:
    from huggingface_hub import HfApi  # noqa: PLC0415 - slow to import, and rarely needed

    # Read now: the client itself reads it when it is imported.
    hub = HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None)
    # What an interrupted fetch has completed in it is not fetched again.
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        commit, files = _list_files(hub, model)
        partial.mkdir(parents=True, exist_ok=True)
        for file in files:
            report(f"fetching {file.rfilename} of {model.name} ({(file.size or 0) / 1e6:.1f} MB)")
            with _told_plainly(model):
                hub.hf_hub_download(model.repository, file.rfilename, revision=commit, local_dir=partial)
            _check(model, file, partial)
        # What the client has noted down for itself.
        shutil.rmtree(partial / ".cache", ignore_errors=True)
        write_sums(partial, [file.rfilename for file in files])
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
        report(f"{model.name}: commit {commit}, digests as the hub states them")
    except OSError as error:
        raise unwritable(folder.parent, error) from error


def _list_files(hub: HfApi, model: HubModel) -> tuple[str, list[RepoSibling]]:
    """The commit that is to be fetched, and those of its files that are of use."""
    with _told_plainly(model):
        info = hub.model_info(
            model.repository, revision=model.revision, files_metadata=True, timeout=_TIMEOUT_S
        )
    files = [file for file in info.siblings or () if file.rfilename in _WANTED]
    if missing := sorted({*_NEEDED} - {file.rfilename for file in files}):
        raise UnavailableError(
            f"{model.name} is no Whisper model for CTranslate2: {', '.join(missing)} missing; use one whose "
            "name has faster-whisper in it"
        )
    return info.sha or model.revision or "main", files


@contextmanager
def _told_plainly(model: HubModel) -> Iterator[None]:
    """Make one line, with the remedy, of the ways in which the hub's client fails."""
    from huggingface_hub import errors  # noqa: PLC0415 - as above

    # What its transport raises, which changes with its releases; named there and not exported.
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except errors.GatedRepoError as error:
        raise UnavailableError(
            f"{model.name} is given to registered users only: accept its terms on the hub and set HF_TOKEN"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise UnavailableError(
            f"the hub has no model {model.name} for all to use: check the name; HF_TOKEN opens a private one"
        ) from error
    except (http_error, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UnavailableError(f"cannot fetch {model.name} from the hub ({reason}): {_REMEDY}") from error


def _check(model: HubModel, file: RepoSibling, folder: Path) -> None:
    """Compare a file with the digest that the hub states; what differs is thrown away."""
    path = folder / file.rfilename
    found = sha256_of(path) if file.lfs is not None else _git_digest_of(path)
    stated = (file.lfs.sha256 if file.lfs is not None else file.blob_id) or "none"
    if found != stated:
        path.unlink()
        raise DigestMismatchError(
            f"{file.rfilename} of {model.name} has the digest {found[:12]}… instead of {stated[:12]}…, which "
            "the hub states: thrown away; try again, and mistrust the proxy or mirror if it stays so"
        )


def _git_digest_of(path: Path) -> str:
    """The name that git gives to a file's content."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
