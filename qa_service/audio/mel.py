"""The log-mel front end of the Whisper models.

Decided here: how 16 kHz samples become the mel bands that `ctranslate2.models.Whisper.encode` takes:
windows of 25 ms every 10 ms (periodic Hann, centred, edges reflected), power spectrum, 80 triangular bands
of equal area up to 8 kHz on Slaney's mel scale, base-10 logarithm, 8 decades under the peak kept, scaled to
about ±1. The models were trained on exactly this.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 16_000
FFT_SAMPLES: Final = 400  # 25 ms
HOP_SAMPLES: Final = 160  # 10 ms
MEL_BANDS: Final = 80  # of every size but large-v3, which has 128
FRAMES_PER_SECOND: Final = SAMPLE_RATE_HZ // HOP_SAMPLES

_POWER_FLOOR: Final = 1e-10
_DYNAMIC_RANGE: Final = 8.0  # decades kept under the loudest value

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
_LINEAR_HZ_PER_MEL: Final = 200 / 3
_BREAK_HZ: Final = 1000.0
_BREAK_MEL: Final = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP: Final = math.log(6.4) / 27

Float32 = npt.NDArray[np.float32]


def log_mel(samples: Float32, window_s: float, bands: int = MEL_BANDS) -> Float32:
    """The log-mel spectrogram of `samples`, as Whisper's encoder takes it.

    `samples`: 16 kHz mono, float32 in ±1. Padded with silence, or cut, to `window_s` seconds.
    Gives float32 of shape (bands, frames), 100 frames for each second of `window_s`, contiguous.
    """
    length = round(window_s * FRAMES_PER_SECOND) * HOP_SAMPLES
    padded = np.zeros(length + FFT_SAMPLES, dtype=np.float32)
    half = FFT_SAMPLES // 2
    used = min(len(samples), length)
    padded[half : half + used] = samples[:used]
    padded[:half] = padded[half + 1 : FFT_SAMPLES + 1][::-1]
    padded[half + length :] = padded[length - 1 : half + length - 1][::-1]

    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::HOP_SAMPLES][:-1]
    power = np.abs(np.fft.rfft(frames * _hann())) ** 2
    energies = _filterbank(bands) @ power.T.astype(np.float32)
    decades = np.log10(np.maximum(energies, _POWER_FLOOR))
    decades = np.maximum(decades, decades.max() - _DYNAMIC_RANGE)
    return np.ascontiguousarray((decades + 4.0) / 4.0, dtype=np.float32)


@cache
def _hann() -> Float32:
    """The periodic Hann window."""
    return np.hanning(FFT_SAMPLES + 1)[:-1].astype(np.float32)


@cache
def _filterbank(bands: int) -> Float32:
    """Triangles of equal area, shape (bands, 201): power spectrum to mel bands."""
    bins_hz = np.fft.rfftfreq(FFT_SAMPLES, 1 / SAMPLE_RATE_HZ)
    edges_hz = _hz_of_mel(np.linspace(0.0, _mel_of_hz(SAMPLE_RATE_HZ / 2), bands + 2))
    low, centre, high = (edges_hz[i : i + bands, None] for i in range(3))
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    triangles = np.clip(np.minimum(rising, falling), 0.0, None)
    return np.asarray(triangles * 2.0 / (high - low), dtype=np.float32)


def _mel_of_hz(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _hz_of_mel(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    linear = mel * _LINEAR_HZ_PER_MEL
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, linear, logarithmic)
