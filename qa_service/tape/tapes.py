"""The file of a tape: Kafka records as they were read, one after another.

Layout: the line ``qa-tape 1``; then messages, each a length (four bytes, big endian) and so many bytes of
MessagePack. The first message is the :class:`Label`, every further one a :class:`TapeRecord` as an array in
the order of its fields. A file that ends inside a message was cut short and is refused.

A tape holds raw audio. Whatever was said is in it, card numbers too: nothing is redacted before recognition.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from qa_service.contract.records import MAX_VALUE_BYTES

MAGIC: Final = b"qa-tape "
VERSION: Final = 1
_LENGTH_BYTES: Final = 4
_MAX_MESSAGE_BYTES: Final = 2 * MAX_VALUE_BYTES
"""A record's value and all its headers fit in well; more is no record but a damaged file."""
_PRIVATE: Final = 0o600


class TapeDamaged(Exception):  # noqa: N818 - named after what was met
    """A file is no tape, or not a whole one; the message names the file and the remedy."""


class Label(Struct, frozen=True, kw_only=True):
    """What a tape holds."""

    call_id: str
    topic: str
    partition: int
    recorded_ms: int
    """Unix ms."""


class TapeRecord(Struct, frozen=True, array_like=True):
    """One Kafka record."""

    offset: int
    timestamp: int
    """Unix ms; the producer's."""
    key: bytes
    headers: tuple[tuple[str, bytes], ...]
    value: bytes | None


class Tape(Struct, frozen=True):
    """A tape that has been read."""

    label: Label
    records: tuple[TapeRecord, ...]


def write_tape(path: Path, label: Label, records: Iterable[TapeRecord]) -> None:
    """Write a tape that only its owner may read; a file of that name is replaced once it is whole."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(MAGIC + str(VERSION).encode() + b"\n")
        for message in (label, *records):
            encoded = msgspec.msgpack.encode(message)
            file.write(len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded)
    unfinished.replace(path)


def read_tape(path: Path) -> Tape:
    """Read a tape whole; raises TapeDamaged, OSError."""
    with path.open("rb") as file:
        _check_version(path, file)
        messages = _read_messages(path, file)
        try:
            label = msgspec.msgpack.decode(next(messages, b""), type=Label)
            records = tuple(map(msgspec.msgpack.Decoder(TapeRecord).decode, messages))
        except msgspec.MsgspecError as error:
            raise TapeDamaged(f"{path} is damaged: {error}; record the call anew") from error
    return Tape(label, records)


def _check_version(path: Path, file: BinaryIO) -> None:
    first = file.readline(len(MAGIC) + 8)
    if not first.startswith(MAGIC) or not first.endswith(b"\n"):
        raise TapeDamaged(f"{path} is no tape; make one with `qa-service tape record`")
    version = first.removeprefix(MAGIC).strip().decode("ascii", errors="replace")
    if version != str(VERSION):
        raise TapeDamaged(
            f"{path} is a tape of version {version}, this program reads {VERSION}: use the one that made it"
        )


def _read_messages(path: Path, file: BinaryIO) -> Iterator[bytes]:
    while prefix := file.read(_LENGTH_BYTES):
        length = int.from_bytes(prefix, "big")
        message = file.read(min(length, _MAX_MESSAGE_BYTES))
        if len(prefix) < _LENGTH_BYTES or len(message) < length:
            raise TapeDamaged(f"{path} ends in the middle of a record: it was cut short; record it anew")
        yield message
