"""Altered copies of a training clip: what lines, codecs, rooms and talkers add that must not matter."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from qa_service.audio.line import LINE_BAND_HZ, LINE_RATE_HZ, through_line, to_float

Float32 = npt.NDArray[np.float32]
Draw = np.random.Generator
Band = tuple[float, float]

# libsndfile maps its compression level 0..1 onto 256..6 kbit/s for one channel.
_OPUS_KBPS_RANGE: Final = (256.0, 6.0)


def speed(clip: Float32, draw: Draw) -> Float32:
    """Faster or slower by up to an eighth, pitch included."""
    return soxr.resample(clip, LINE_RATE_HZ * draw.uniform(0.88, 1.13), LINE_RATE_HZ)


def noise(clip: Float32, draw: Draw) -> Float32:
    """White to brown noise, 5 to 25 dB under the speech."""
    spectrum = np.fft.rfft(draw.standard_normal(len(clip)))
    slope = draw.uniform(0.0, 1.0)  # of the amplitude over frequency
    coloured = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** slope, len(clip))
    wanted = np.std(clip) * 10 ** (-draw.uniform(5, 25) / 20)
    return clip + np.float32(wanted / np.std(coloured)) * coloured.astype(np.float32)


def gain(clip: Float32, draw: Draw) -> Float32:
    """From near the floor of G.711 to clipping."""
    return np.clip(clip * np.float32(10 ** (draw.uniform(-22, 18) / 20)), -1, 1)


def crop(clip: Float32, draw: Draw) -> Float32:
    """A piece of 0.8 to 2 s."""
    length = min(int(draw.uniform(0.8, 2.0) * LINE_RATE_HZ), len(clip))
    start = int(draw.integers(0, len(clip) - length + 1))
    return clip[start : start + length]


def opus(clip: Float32, draw: Draw) -> Float32:
    """Through Opus at 6 to 12 kbit/s, as a leg over the internet."""
    highest, lowest = _OPUS_KBPS_RANGE
    level = (highest - draw.uniform(6, 12)) / (highest - lowest)
    coded = io.BytesIO()
    soundfile.write(coded, clip, LINE_RATE_HZ, format="OGG", subtype="OPUS", compression_level=level)
    coded.seek(0)
    decoded, rate = soundfile.read(coded, dtype="float32")
    return decoded if rate == LINE_RATE_HZ else soxr.resample(decoded, rate, LINE_RATE_HZ)


def band_edges(draw: Draw) -> Band:
    """The band of another line."""
    return draw.uniform(200, 500), draw.uniform(2700, 3650)


Step = Callable[[Float32, Draw], Float32]
# Copy number -> what is done before the line; the band of the line is altered in copies 5 and 7.
_STEPS: Final[tuple[tuple[Step, ...], ...]] = ((), (speed,), (noise,), (gain,), (opus,), (), (crop,))
COPIES: Final = len(_STEPS) + 1


def altered(clip: Float32, copy: int, draw: Draw) -> Float32:
    """Copy number `copy` (0 is the unaltered one) of `clip` (8 kHz), after the telephone line."""
    if copy < len(_STEPS):
        steps, band = _STEPS[copy], band_edges(draw) if copy == 5 else LINE_BAND_HZ
    else:
        mixture = draw.permutation(5)[: draw.integers(2, 4)]
        steps = tuple(
            step for number, step in enumerate((crop, speed, gain, noise, opus)) if number in mixture
        )
        band = band_edges(draw)
    for step in steps:
        clip = step(clip, draw)
    return to_float(through_line(clip, LINE_RATE_HZ, band))
