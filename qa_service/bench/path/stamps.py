"""When a frame was sent, written into its audio: it survives every repackaging on the way.

Eight µ-law codes at the beginning of a frame hold a time in tenths of a millisecond, four bits each. Codes
are taken whose samples are told apart after decoding, so a recogniser that gets PCM reads it back.
"""

from __future__ import annotations

import struct
import time
from typing import Final

from qa_service.audio.g711 import decode_ulaw

FRAME_SAMPLES: Final = 160
"""20 ms at 8 kHz, a byte each in µ-law."""
STAMP_SAMPLES: Final = 8
TICKS_A_MS: Final = 10

_CODES: Final = bytes(range(0x80, 0xC0, 4))
_SAMPLES: Final[tuple[int, ...]] = tuple(decode_ulaw(_CODES).tolist())
_NIBBLES: Final = {sample: nibble for nibble, sample in enumerate(_SAMPLES)}
_BYTES: Final = tuple(bytes((_CODES[value >> 4], _CODES[value & 15])) for value in range(256))
_READ: Final = struct.Struct(f"<{STAMP_SAMPLES}h").unpack_from
_WRAP: Final = 1 << 32
_SAMPLE_BYTES: Final = 2


def now_ticks() -> int:
    """The time that stamps are in: tenths of a millisecond of the machine's monotonic clock."""
    return time.monotonic_ns() // 100_000


def write_stamp(ticks: int) -> bytes:
    """A stamp, as the first codes of a frame."""
    return b"".join(_BYTES[byte] for byte in (ticks % _WRAP).to_bytes(4))


def age_ms(pcm: bytes, now: int) -> float | None:
    """How long ago the newest whole frame of ``pcm`` was sent; None if it bears no stamp."""
    begin = len(pcm) - FRAME_SAMPLES * _SAMPLE_BYTES
    if begin < 0:
        return None
    value = 0
    for sample in _READ(pcm, begin):
        nibble = _NIBBLES.get(sample)
        if nibble is None:
            return None
        value = value << 4 | nibble
    return (now - value) % _WRAP / TICKS_A_MS
