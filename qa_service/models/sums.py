"""The file ``SHA256SUMS`` of a model folder: what its files must be."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from qa_service.fetching import is_digest_of, sha256_of

SUMS: Final = "SHA256SUMS"
# As sha256sum writes it: a digest, a blank, a blank or an asterisk, the name.
_SUM: Final = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


class SumsError(Exception):
    """A model folder is not what its sums say, or they cannot be read; one line that names the file."""


def check_sums(folder: Path) -> bool:
    """Check all that the folder's own sums name; False if it has none.

    Raises:
        SumsError: a file is missing or another one, or a line is none of ``sha256sum``.
    """
    sums = folder / SUMS
    if not sums.is_file():
        return False
    for number, line in enumerate(sums.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = _SUM.fullmatch(line)
        if match is None:
            raise SumsError(f"{sums}:{number}: expected a SHA-256, two blanks and a file name")
        if not is_digest_of(folder / match[2], (match[1].lower(),)):
            raise SumsError(f"{folder / match[2]} is not what {SUMS} says")
    return True


def write_sums(folder: Path, names: Iterable[str]) -> None:
    """Write down what the files are now."""
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
