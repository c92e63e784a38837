"""The cache folder: where it is, its locks and its digests."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from qa_service.fetching.errors import FetchError

Report = Callable[[str], None]
"""Takes one line for a person about what goes on."""


def default_cache_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder that fetched files are kept in.

    `QA_CACHE_DIR`, else `qa-service` in the user's cache folder (XDG base directories; a relative
    `XDG_CACHE_HOME` is ignored, as that specification asks).

    Raises:
        FetchError: the user has no home folder and neither variable is set.
    """
    environ = os.environ if environ is None else environ
    if chosen := environ.get("QA_CACHE_DIR"):
        return Path(chosen).expanduser().absolute()
    xdg = Path(environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():
        return xdg / "qa-service"
    try:
        return Path.home() / ".cache" / "qa-service"
    except RuntimeError:
        raise FetchError(
            "no home folder to keep model files in: set QA_CACHE_DIR to a writable folder"
        ) from None


@contextmanager
def exclusive(cache_dir: Path, name: str, report: Report | None = None) -> Iterator[None]:
    """Hold the lock called `name`, waiting for any other process (or thread) that holds it.

    The lock is the operating system's (`flock`): a process that dies lets go of it.

    Raises:
        FetchError: the cache folder cannot be written.
    """
    path = cache_dir / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unwritable(cache_dir, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if report:
                report(f"waiting for another process that is fetching {name}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def unwritable(folder: Path, error: OSError) -> FetchError:
    """The error for a cache that cannot be written."""
    reason = error.strerror or str(error)
    return FetchError(
        f"cannot write to the cache folder {folder} ({reason}): set QA_CACHE_DIR to another one"
    )


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_digest_of(path: Path, accepted: tuple[str, ...]) -> bool:
    """Whether `path` is a file with one of the `accepted` SHA-256 digests."""
    return path.is_file() and sha256_of(path) in accepted
