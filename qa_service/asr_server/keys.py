"""The API keys that open sessions, known by their SHA-256 digests alone.

Decided here: a key may be configured as it is or as ``sha256:`` and 64 hexadecimal digits; either way only
its digest is kept, in memory as at rest. One round of SHA-256 is enough for keys from `new_key` (192 random
bits), and not for words that people think of. A key file is read again when it has changed; one that cannot
be read, or not in full, changes nothing, since a slip must not lock everybody out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog

from qa_service.asr_server.errors import StartError

_log = structlog.get_logger(__name__)

_DIGEST_PREFIX: Final = "sha256:"
_DIGEST_BYTES: Final = 32
_KEY_BYTES: Final = 24
_ID_CHARACTERS: Final = 8  # of a digest: tell some thousand keys apart, and nothing about any of them


def new_key() -> str:
    """A key that nobody can guess; it begins with ``sk-``, which log lines mask."""
    return f"sk-{secrets.token_hex(_KEY_BYTES)}"


def digest_of(key: str) -> bytes:
    """The digest of a key."""
    return hashlib.sha256(key.encode()).digest()


def digest_text(digest: bytes) -> str:
    """A digest as settings and key files name it."""
    return _DIGEST_PREFIX + digest.hex()


def key_id(digest: bytes) -> str:
    """What log lines call a key: the first digits of its digest."""
    return digest.hex()[:_ID_CHARACTERS]


def read_entry(entry: str) -> bytes:
    """The digest that ``entry`` names, a key or a digest; raises ValueError for a digest that is none."""
    if not entry.startswith(_DIGEST_PREFIX):
        return digest_of(entry)
    digits = entry.removeprefix(_DIGEST_PREFIX)
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise ValueError(f"a digest is {_DIGEST_PREFIX} and 64 hexadecimal digits")
    return digest


def read_key_file(path: Path) -> frozenset[bytes]:
    """The digests in a key file: one key or digest a line, a remark after a blank, ``#`` for comments.

    Raises ValueError with one line that names the file, and the line at fault but not what stands there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(
            f"cannot read the key file {path}: {reason}; check QA_SERVER_API_KEYS_FILE"
        ) from error
    return frozenset(_read_lines(path, lines))


class KeyRing:
    """The keys that are good at present: configured ones, and those of a file that may change.

    Raises `StartError` if an entry or the file cannot be read.
    """

    def __init__(self, entries: Iterable[str] = (), file: Path | None = None) -> None:
        self._file = file
        self._file_state = None if file is None else _state_of(file)
        try:
            self._configured = frozenset(map(read_entry, entries))
            self._digests = self._configured | (frozenset() if file is None else read_key_file(file))
        except ValueError as error:
            raise StartError(str(error)) from error

    def find(self, key: str) -> bytes | None:
        """The digest of ``key`` if it is good."""
        asked = digest_of(key)
        # All are compared, so that the time taken tells nothing.
        found = [known for known in self._digests if hmac.compare_digest(asked, known)]
        return found[0] if found else None

    def holds(self, digest: bytes) -> bool:
        """Whether a key that was good still is."""
        return digest in self._digests

    def refresh(self) -> None:
        """Read the file again if it has changed; log what came of it."""
        if self._file is None or (state := _state_of(self._file)) == self._file_state:
            return
        self._file_state = state
        try:
            digests = self._configured | read_key_file(self._file)
        except ValueError as error:
            _log.error("server_keys_unreadable", error=str(error), keys=len(self._digests))
            return
        added, removed = digests - self._digests, self._digests - digests
        self._digests = digests
        _log.info(
            "server_keys_changed",
            keys=len(digests),
            added=sorted(map(key_id, added)),
            removed=sorted(map(key_id, removed)),
        )


def _read_lines(path: Path, lines: Iterable[str]) -> Iterable[bytes]:
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            yield read_entry(words[0])
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error


def _state_of(file: Path) -> tuple[int, int, int] | None:
    """What differs after a file was written or replaced; None if it is not there."""
    try:
        status = file.stat()  # follows links: mounted secrets are replaced by moving one
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
