"""G.711: the two companding laws of digital telephony (ITU-T G.711), by table.

Decided here: 8-bit codes map to 16-bit linear samples and back. A code stands for an interval of samples and
decodes to its middle; the eight segments of each sign double the interval from one to the next.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

Int16 = npt.NDArray[np.int16]

_ULAW_BIAS: Final = 132  # 33 in the 14-bit arithmetic of G.711, at 16 bits
_ULAW_CLIP: Final = 32_635  # the largest magnitude that does not overflow once biased
_ALAW_TOGGLE: Final = 0x55  # even bits are inverted on the line


def decode_ulaw(codes: bytes) -> Int16:
    """µ-law codes to 16-bit samples, one for each byte."""
    return _ulaw_decoder().take(np.frombuffer(codes, dtype=np.uint8))


def decode_alaw(codes: bytes) -> Int16:
    """A-law codes to 16-bit samples, one for each byte."""
    return _alaw_decoder().take(np.frombuffer(codes, dtype=np.uint8))


def encode_ulaw(samples: Int16) -> bytes:
    """16-bit samples to µ-law codes, one byte for each."""
    return _ulaw_encoder()[samples.view(np.uint16)].tobytes()


def encode_alaw(samples: Int16) -> bytes:
    """16-bit samples to A-law codes, one byte for each."""
    return _alaw_encoder()[samples.view(np.uint16)].tobytes()


@cache
def _ulaw_decoder() -> Int16:
    code = ~np.arange(256, dtype=np.uint8)  # µ-law inverts all bits on the line
    segment, step = (code >> 4) & 7, (code & 15).astype(np.int32)
    magnitude = (((step << 3) + _ULAW_BIAS) << segment) - _ULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


@cache
def _alaw_decoder() -> Int16:
    code = np.arange(256, dtype=np.uint8) ^ _ALAW_TOGGLE
    segment, step = ((code >> 4) & 7).astype(np.int32), (code & 15).astype(np.int32)
    first = (step << 4) + 8
    magnitude = np.where(segment == 0, first, (first + 0x100) << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _every_sample() -> npt.NDArray[np.int32]:
    """All 16-bit samples, in the order of their bit patterns."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int32)


def _segment_of(magnitude: npt.NDArray[np.int32], first_end_bits: int) -> npt.NDArray[np.int32]:
    """The segment 0 to 7 of each magnitude; segment 0 ends below 2 ** `first_end_bits`."""
    bits = np.frexp(magnitude.astype(np.float64))[1].astype(np.int32)
    return np.clip(bits - first_end_bits, 0, 7)


@cache
def _ulaw_encoder() -> npt.NDArray[np.uint8]:
    sample = _every_sample()
    biased = np.minimum(np.abs(sample), _ULAW_CLIP) + _ULAW_BIAS
    segment = _segment_of(biased, 8)
    step = (biased >> (segment + 3)) & 15
    sign = np.where(sample < 0, 0x80, 0)
    return np.asarray(~(sign | (segment << 4) | step) & 0xFF, dtype=np.uint8)


@cache
def _alaw_encoder() -> npt.NDArray[np.uint8]:
    sample = _every_sample()
    # One's complement for negative samples, so that -1 falls into the first step below zero.
    magnitude = np.where(sample < 0, ~sample, sample)
    segment = _segment_of(magnitude, 8)
    step = (magnitude >> (np.maximum(segment, 1) + 3)) & 15
    sign = np.where(sample < 0, 0, 0x80)
    return np.asarray((sign | (segment << 4) | step) ^ _ALAW_TOGGLE, dtype=np.uint8)
