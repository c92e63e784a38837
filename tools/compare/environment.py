"""The environment that WhisperLive runs in: its own, in the cache, from pinned versions."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from qa_service.fetching import exclusive

PINS: Final = Path(__file__).with_name("requirements-whisper-live.txt")

_INSTALL_WITHIN_S: Final = 900.0


class EnvironmentUnavailableError(Exception):
    """The packages could not be installed; the message says why."""


def whisper_live_python(cache_dir: Path) -> Path:
    """The interpreter of the environment, made if it is not in the cache.

    Raises:
        EnvironmentUnavailableError: the packages could not be installed.
    """
    digest = hashlib.sha256(PINS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = cache_dir / "compare" / f"whisper-live-{digest}"
    with exclusive(cache_dir, f"compare-whisper-live-{digest}"):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            _run(sys.executable, "-m", "venv", home)
            # Without their dependencies: those that are wanted are pinned too (overrides-whisper-live.txt).
            pip = (home / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
            _run(*pip, "--no-deps", "--require-hashes", "--only-binary=:all:", "--requirement", PINS)
            (home / "complete").touch()
    return home / "bin" / "python"


def _run(*command: str | Path) -> None:
    try:
        # The command is made of paths and words of this file.
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_WITHIN_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise EnvironmentUnavailableError(f"pip has not ended after {_INSTALL_WITHIN_S:g} s") from None
    except subprocess.CalledProcessError as error:
        raise EnvironmentUnavailableError(f"{PINS.name}: {error.stderr.strip()}") from error
