"""Altered copies of a clip: what lines, codecs, rooms, microphones and talkers add that must not matter.

Training learns from the copies twice: as examples, and as the measure of what alters without meaning
(`fitting`). `over_bad_line` is for measuring alone.
"""

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
_COLOUR_DB: Final = 8.0
_COLOUR_KNOTS: Final = 6
_COLOUR_RANGE_HZ: Final = (150.0, 4000.0)
_LOUDNESS_FLOOR: Final = 1e-9


def speed(clip: Float32, draw: Draw) -> Float32:
    """Faster or slower by up to an eighth, pitch included."""
    return np.asarray(soxr.resample(clip, LINE_RATE_HZ * draw.uniform(0.88, 1.13), LINE_RATE_HZ))


def noise(clip: Float32, draw: Draw) -> Float32:
    """White to brown noise, 5 to 25 dB under the speech."""
    return _with_noise(clip, draw, -draw.uniform(5, 25))


def gain(clip: Float32, draw: Draw) -> Float32:
    """From near the floor of G.711 to clipping."""
    return np.asarray(np.clip(clip * np.float32(10 ** (draw.uniform(-22, 18) / 20)), -1, 1))


def crop(clip: Float32, draw: Draw) -> Float32:
    """A piece of 0.8 to 2 s."""
    length = min(int(draw.uniform(0.8, 2.0) * LINE_RATE_HZ), len(clip))
    start = int(draw.integers(0, len(clip) - length + 1))
    return clip[start : start + length]


def colour(clip: Float32, draw: Draw) -> Float32:
    """Another microphone: each of six points of the spectrum raised or lowered by up to 8 dB."""
    low, high = np.log2(_COLOUR_RANGE_HZ)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(clip), 1 / LINE_RATE_HZ), 1.0))
    points = draw.uniform(-_COLOUR_DB, _COLOUR_DB, _COLOUR_KNOTS)
    response = 10 ** (np.interp(octaves, np.linspace(low, high, _COLOUR_KNOTS), points) / 20)
    coloured = np.fft.irfft(np.fft.rfft(clip) * response, len(clip)).astype(np.float32)
    loudness = float(np.std(clip)) / max(float(np.std(coloured)), _LOUDNESS_FLOOR)
    return coloured * np.float32(loudness)


def opus(clip: Float32, draw: Draw) -> Float32:
    """Through Opus at 6 to 12 kbit/s, as a leg over the internet."""
    highest, lowest = _OPUS_KBPS_RANGE
    level = (highest - draw.uniform(6, 12)) / (highest - lowest)
    coded = io.BytesIO()
    soundfile.write(coded, clip, LINE_RATE_HZ, format="OGG", subtype="OPUS", compression_level=level)
    coded.seek(0)
    decoded, rate = soundfile.read(coded, dtype="float32")
    heard = decoded if rate == LINE_RATE_HZ else soxr.resample(decoded, rate, LINE_RATE_HZ)
    return np.asarray(heard, np.float32)


def band_edges(draw: Draw) -> Band:
    """The band of another line."""
    return draw.uniform(200, 500), draw.uniform(2700, 3650)


Step = Callable[[Float32, Draw], Float32]
# Copy number -> its name, and what is done before the line; the line's own band is altered as well in
# "band edges" and in the mixture, which draws two to four of all steps.
_COPIES: Final[tuple[tuple[str, tuple[Step, ...]], ...]] = (
    ("unaltered", ()),
    ("speed", (speed,)),
    ("noise", (noise,)),
    ("gain", (gain,)),
    ("opus", (opus,)),
    ("band edges", ()),
    ("crop", (crop,)),
    ("colour", (colour,)),
    ("mixture", ()),
)
_MIXED: Final[tuple[Step, ...]] = (crop, speed, colour, gain, noise, opus)
COPY_NAMES: Final = tuple(name for name, _ in _COPIES)
COPIES: Final = len(_COPIES)
_BAND_EDGES: Final = COPY_NAMES.index("band edges")
MIXTURE: Final = COPY_NAMES.index("mixture")
BAD_LINE: Final = COPIES
"""A copy number of its own, for `over_bad_line`."""


def altered(clip: Float32, copy: int, draw: Draw) -> Float32:
    """Copy number `copy` (0 is the unaltered one) of `clip` (8 kHz), after the telephone line."""
    steps = _COPIES[copy][1]
    if copy == MIXTURE:
        chosen = draw.permutation(len(_MIXED))[: draw.integers(2, 5)]
        steps = tuple(step for number, step in enumerate(_MIXED) if number in chosen)
    band = band_edges(draw) if copy in {_BAND_EDGES, MIXTURE} else LINE_BAND_HZ
    for step in steps:
        clip = step(clip, draw)
    return to_float(through_line(clip, LINE_RATE_HZ, band))


def over_bad_line(clip: Float32, draw: Draw) -> Float32:
    """Noise 5 to 15 dB under the speech, then Opus at 6 to 12 kbit/s, then a narrow band, all at once."""
    coded = opus(_with_noise(clip, draw, -draw.uniform(5, 15)), draw)
    narrow = (draw.uniform(300, 500), draw.uniform(2700, 3200))
    return to_float(through_line(coded, LINE_RATE_HZ, narrow))


def _with_noise(clip: Float32, draw: Draw, level_db: float) -> Float32:
    """`clip` with noise at a level relative to its own."""
    spectrum = np.fft.rfft(draw.standard_normal(len(clip)))
    slope = draw.uniform(0.0, 1.0)  # of the amplitude over frequency
    coloured = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** slope, len(clip))
    wanted = float(np.std(clip)) * 10 ** (level_db / 20)
    added = np.float32(wanted / np.std(coloured)) * coloured.astype(np.float32)
    return np.asarray(clip + added, np.float32)
