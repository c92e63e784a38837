"""The CTranslate2 model file: reading, writing, and cutting a Whisper encoder out of one.

Decided here: what is left of Whisper when only the output of an early encoder layer is wanted.

Format (version 6, little endian): `u32` version, spec name, `u32` spec revision; `u32` number of variables,
each name, `u8` rank, `u32` per dimension, `u8` data type, `u32` number of bytes, data; `u32` number of
aliases, each alias and name. A text is a `u16` length, which counts a closing NUL, and that many bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from typing import Final

_SUPPORTED_VERSION: Final = 6
_LAYER: Final = re.compile(r"(encoder|decoder)/layer_(\d+)/")
_EMBEDDINGS: Final = "decoder/embeddings/weight"


class ModelFormatError(ValueError):
    """The bytes are not a CTranslate2 model of the version known here."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One named tensor, its data kept as the file has it."""

    name: str
    shape: tuple[int, ...]
    dtype: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Ct2Model:
    """All of a model file."""

    spec: str
    revision: int
    variables: tuple[Variable, ...]
    aliases: tuple[tuple[str, str], ...]


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._at = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._content, self._at)
        self._at += struct.calcsize(f"<{kind}")
        return int(value)

    def raw(self, length: int) -> memoryview:
        if self._at + length > len(self._content):
            raise ModelFormatError("the model file is cut short")
        self._at += length
        return self._content[self._at - length : self._at]

    def text(self) -> str:
        return bytes(self.raw(self.number("H"))[:-1]).decode()

    def variable(self) -> Variable:
        name = self.text()
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        dtype = self.number("B")
        return Variable(name, shape, dtype, self.raw(self.number("I")))


def parse_model(content: bytes) -> Ct2Model:
    """Read a model file.

    Raises:
        ModelFormatError: not a model file of version 6, or one cut short.
    """
    reader = _Reader(content)
    try:
        version = reader.number("I")
        if version != _SUPPORTED_VERSION:
            raise ModelFormatError(f"model file version {version} is not {_SUPPORTED_VERSION}")
        spec, revision = reader.text(), reader.number("I")
        variables = tuple(reader.variable() for _ in range(reader.number("I")))
        aliases = tuple((reader.text(), reader.text()) for _ in range(reader.number("I")))
    except struct.error as error:
        raise ModelFormatError("the model file is cut short") from error
    return Ct2Model(spec, revision, variables, aliases)


def dump_model(model: Ct2Model) -> bytes:
    """Write a model file; the inverse of `parse_model`."""
    parts: list[bytes | memoryview] = [struct.pack("<I", _SUPPORTED_VERSION), _text(model.spec)]
    parts.append(struct.pack("<II", model.revision, len(model.variables)))
    for variable in model.variables:
        rank = len(variable.shape)
        header = struct.pack(f"<B{rank}IBI", rank, *variable.shape, variable.dtype, variable.data.nbytes)
        parts += [_text(variable.name), header, variable.data]
    parts.append(struct.pack("<I", len(model.aliases)))
    for alias, name in model.aliases:
        parts += [_text(alias), _text(name)]
    return b"".join(parts)


def _text(value: str) -> bytes:
    encoded = value.encode() + b"\0"
    return struct.pack("<H", len(encoded)) + encoded


def cut_encoder(whisper: Ct2Model, *, layers: int) -> Ct2Model:
    """The first `layers` layers of a Whisper encoder, as a model that CTranslate2 still loads as Whisper.

    The convolutions, positions and the closing layer norm stay; what `encode` then gives is the output of
    layer `layers` through that norm. The loader insists on a decoder, which `encode` never runs: it is left
    with one layer and one embedding (it could not decode), which takes Whisper base from 145 to 31 MB.
    """
    kept = {"encoder": layers, "decoder": 1}
    variables = tuple(
        _first_row(variable) if variable.name == _EMBEDDINGS else variable
        for variable in whisper.variables
        if not (match := _LAYER.match(variable.name)) or int(match[2]) < kept[match[1]]
    )
    return replace(whisper, variables=variables)


def _first_row(matrix: Variable) -> Variable:
    rows, *rest = matrix.shape
    return replace(matrix, shape=(1, *rest), data=matrix.data[: matrix.data.nbytes // rows])
