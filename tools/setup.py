"""Make .venv hold exactly what the lock says, and the project itself; do nothing if it already does.

Run by `make setup` with whatever Python is there: this file has to be readable to Python 3.7, so that an old
one gets as far as saying which is needed. Several runs at once wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NEWEST_MINOR = 14

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.txt"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup-stamp"


def main() -> None:
    """Build .venv unless its stamp says that it is up to date."""
    wanted = wanted_stamp()
    if present_stamp() == wanted:
        return
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        present = present_stamp()  # another run may have done it meanwhile
        if present != wanted:
            build(present, wanted)
            print("setup: done; see .venv/bin/qa-service --help", flush=True)


def wanted_stamp() -> list[str]:
    """What .venv depends on: its place, which its scripts are tied to, and the lock with the metadata."""
    digest = hashlib.sha256(LOCK.read_bytes())
    digest.update((ROOT / "pyproject.toml").read_bytes())
    return [str(VENV), digest.hexdigest()]


def present_stamp() -> list[str]:
    """The stamp of the last setup that went through, if its interpreter still runs."""
    if STAMP.exists() and succeeds(PYTHON, "-c", ""):
        return STAMP.read_text(encoding="utf-8").splitlines()
    return []


def build(present: list[str], wanted: list[str]) -> None:
    """Install everything; the stamp is written last."""
    if present[:1] != wanted[:1]:
        python = find_python()
        print(f"setup: creating .venv with {python}", flush=True)
        call(python, "-m", "venv", "--clear", VENV)
    else:
        STAMP.unlink()
    print("setup: installing the locked packages", flush=True)
    pip = (PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    call(*pip, "--require-hashes", "--requirement", LOCK)
    call(*pip, "--no-build-isolation", "--no-deps", "--editable", ROOT)
    STAMP.write_text("\n".join(wanted), encoding="utf-8")


def find_python() -> str:
    """This interpreter if it will do, else the newest other one on PATH that does."""
    if sys.version_info >= OLDEST:
        return sys.executable
    for minor in range(NEWEST_MINOR, OLDEST[1] - 1, -1):
        candidate = shutil.which(f"python3.{minor}")
        # A version manager's shim may be there without the version behind it: ask it.
        if candidate and succeeds(candidate, "-c", ""):
            return candidate
    sys.exit(
        "make setup: Python {}.{} or newer is needed, {} is {}.{}: install one, "
        "or name it: make PYTHON=/path/to/python3 setup".format(
            *OLDEST, sys.executable, *sys.version_info[:2]
        )
    )


def succeeds(*command: str | Path) -> bool:
    """Whether a command can be started and ends well."""
    try:
        words = [str(word) for word in command]
        done = subprocess.run(words, check=False, capture_output=True)  # noqa: S603 - our own words
    except OSError:
        return False
    return done.returncode == 0


def call(*command: str | Path) -> None:
    """Run a command from the root of the tree; end if it fails, after what it said itself."""
    words = [str(word) for word in command]
    if subprocess.run(words, check=False, cwd=str(ROOT)).returncode:  # noqa: S603 - our own words
        sys.exit("make setup: this failed: " + " ".join(words))


main()
