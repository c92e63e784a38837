"""Any codec of the audio contract to 16-bit PCM, the one format sent to recognisers."""

from __future__ import annotations

from typing import Final

import numpy as np

from qa_service.audio.g711 import decode_alaw, decode_ulaw

BYTES_PER_SAMPLE = 2  # 16-bit signed little-endian, mono
_PCM: Final = np.dtype("<i2")


def to_pcm(codec: str, audio: bytes) -> bytes:
    """Decode a payload to 16-bit signed little-endian samples at its own rate.

    Raises ValueError for a codec that needs a decoder with state.
    """
    match codec:
        case "pcmu":
            return decode_ulaw(audio).astype(_PCM, copy=False).tobytes()
        case "pcma":
            return decode_alaw(audio).astype(_PCM, copy=False).tobytes()
        case "pcm_s16le":
            return audio
        case _:
            raise ValueError(
                f"codec {codec!r} cannot be decoded packet by packet without a decoder of its own"
            )


def silence(samples: int) -> bytes:
    """Digital silence as 16-bit PCM."""
    return bytes(BYTES_PER_SAMPLE * samples)
