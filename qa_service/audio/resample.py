"""Changing the sampling rate of speech: whole segments at once, or a stream piece by piece.

Decided here: PCM bytes become float32 in ±1 once, at the edge, and soxr's HQ recipe does the rest. A stream's
output lags its input by a few tens of milliseconds but is aligned in time: the n-th sample out belongs to the
time n / ``to_hz``, so positions may be counted on either side.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

PCM_SAMPLE_BYTES: Final = 2  # 16-bit signed little-endian
_PCM_FULL_SCALE: Final = 32768.0

Float32 = npt.NDArray[np.float32]


def samples_of_pcm(pcm: bytes) -> Float32:
    """Samples in ±1 of 16-bit little-endian PCM; ``pcm`` must hold whole samples."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(_PCM_FULL_SCALE)


def pcm_of_samples(samples: Float32) -> bytes:
    """16-bit little-endian PCM of samples in ±1; what is louder is clipped."""
    scaled = np.rint(np.asarray(samples, dtype=np.float32) * np.float32(_PCM_FULL_SCALE))
    pcm: bytes = np.clip(scaled, -32768, 32767).astype("<i2").tobytes()
    return pcm


def resample(samples: Float32, from_hz: int, to_hz: int) -> Float32:
    """A whole segment at another rate; the very array if the rates agree."""
    if from_hz == to_hz or not len(samples):
        return samples
    resampled: Float32 = soxr.resample(samples, from_hz, to_hz).astype(np.float32, copy=False)
    return resampled


class StreamResampler:
    """One stream of samples brought from one rate to another as it comes.

    Holds the filter's memory, so that cuts between pieces cannot be heard. `push` gives what is ready,
    `finish` the rest; nothing may be pushed after that.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._stream = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")

    def push(self, samples: Float32) -> Float32:
        """Take the next samples; give those at the new rate that are ready."""
        return self._resample(samples, last=False)

    def finish(self) -> Float32:
        """Give what the filter still held back."""
        return self._resample(np.zeros(0, dtype=np.float32), last=True)

    def _resample(self, samples: Float32, *, last: bool) -> Float32:
        if self._stream is None:
            return samples
        resampled: Float32 = self._stream.resample_chunk(samples, last=last)
        return resampled
