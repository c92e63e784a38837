"""A telephone line: what a call does to a voice before anyone here hears it.

Decided here: the one channel that every recording goes through before it is judged, shown in the demo or used
for training: 8 kHz, band-passed 300 to 3400 Hz, G.711 µ-law. Live call audio has been through a real one.

The Butterworth filter is applied as its frequency response, written down from the analogue prototype and the
bilinear transform (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.1): the same result as a
recursive filter that starts at rest, without a loop over samples.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from qa_service.audio.g711 import decode_ulaw, encode_ulaw

LINE_RATE_HZ: Final = 8_000
LINE_BAND_HZ: Final = (300.0, 3400.0)
_ORDER: Final = 4
_FULL_SCALE: Final = 32_768.0
# The response of a 200 Hz edge has died away by 120 dB within this many samples (0.25 s).
_TAIL_SAMPLES: Final = 2_048

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]


def through_line(
    samples: Float32 | Int16, rate_hz: int, band_hz: tuple[float, float] = LINE_BAND_HZ
) -> Int16:
    """Mono `samples` (16-bit, or float in ±1) at `rate_hz`, as they arrive over the telephone at 8 kHz."""
    floats = to_float(samples)
    at_line_rate = floats if rate_hz == LINE_RATE_HZ else soxr.resample(floats, rate_hz, LINE_RATE_HZ)
    return decode_ulaw(encode_ulaw(to_int16(band_pass(at_line_rate, band_hz))))


def band_pass(samples: Float32, band_hz: tuple[float, float] = LINE_BAND_HZ) -> Float32:
    """8 kHz `samples` through a Butterworth band-pass of order 4 (eight poles)."""
    length = len(samples) + _TAIL_SAMPLES
    spectrum = np.fft.rfft(samples, length)
    filtered = np.fft.irfft(spectrum * butterworth_response(length, band_hz), length)
    return filtered[: len(samples)].astype(np.float32)


def butterworth_response(length: int, band_hz: tuple[float, float]) -> npt.NDArray[np.complex128]:
    """The filter's complex response at the frequencies of a real FFT over `length` samples at 8 kHz."""
    # Twice the sample rate, the usual factor of the bilinear transform, cancels and is left out.
    low, high = (np.tan(np.pi * edge / LINE_RATE_HZ) for edge in band_hz)
    angles = 2 * np.pi * np.fft.rfftfreq(length)
    warped = np.tan(angles[1:] / 2)
    prototype = 1j * (warped**2 - low * high) / (warped * (high - low))
    poles = np.exp(1j * np.pi * (2 * np.arange(1, _ORDER + 1) + _ORDER - 1) / (2 * _ORDER))
    response = np.zeros(len(angles), dtype=np.complex128)  # nought at 0 Hz, where the prototype is infinite
    response[1:] = 1 / np.prod(prototype[:, None] - poles, axis=1)
    return response


def to_float(samples: Float32 | Int16) -> Float32:
    """Samples as float32 in ±1; floats are taken as they are."""
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(_FULL_SCALE)
    return samples.astype(np.float32, copy=False)


def to_int16(samples: Float32) -> Int16:
    """Float samples in ±1 as 16-bit, rounded, clipped."""
    scaled = np.rint(samples * np.float32(_FULL_SCALE))
    return np.asarray(np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1), dtype=np.int16)
