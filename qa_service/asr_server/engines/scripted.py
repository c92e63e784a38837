"""An engine without a model: it reads words from tone markers in the sound.

For tests and demonstrations that need to know exactly what a recogniser will say, without model files. A
word is a number from 0 to 255 in a vocabulary. It sounds as two chords of two tones each: the first, out of
the grid of telephone key tones, carries the upper four bits, the second, out of another grid, the lower
four. Each chord lasts 80 ms, a gap of 40 ms follows. A chord without its partner is no word, so audio cut
inside a word loses that word and invents none. All tones are within the telephone band and survive G.711 and
both sampling rates.

    sound = markers(("hello", "world"), rate_hz=8000)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.engines import SAMPLE_RATE_HZ, Capabilities, Hints, Segment, Transcript

WORDS: Final = tuple(f"w{number}" for number in range(256))
"""The default vocabulary: ``w0`` to ``w255``."""

CHORD_S: Final = 0.08
GAP_S: Final = 0.04
WORD_S: Final = 2 * CHORD_S + GAP_S
"""Seconds that one word takes, gap included."""

_AMPLITUDE: Final = 0.125  # of each tone; a chord peaks at -12 dBFS
_FADE_S: Final = 0.005  # keeps the edges of a chord from spreading over the band

# Hz. The first grid is that of telephone keys (ITU-T Q.23); the second lies between and above it.
_GRIDS: Final = (
    ((697.0, 770.0, 852.0, 941.0), (1209.0, 1336.0, 1477.0, 1633.0)),
    ((400.0, 470.0, 540.0, 610.0), (1900.0, 2100.0, 2300.0, 2500.0)),
)
_TONES_HZ: Final = tuple(tone for grid in _GRIDS for group in grid for tone in group)
_GROUP_SIZE: Final = 4

_WINDOW: Final = 640  # samples, 40 ms: resolves 70 Hz and fits twice into a chord
_HOP: Final = 160  # samples, 10 ms
_MIN_FRAMES: Final = 3  # hops that must agree on a chord
_MIN_SHARE: Final = 0.2  # of a frame's energy that each tone of a chord holds at least; half is the ideal
_MIN_ENERGY: Final = 1e-4  # mean square; 22 dB under a chord

Float32 = npt.NDArray[np.float32]


def markers(words: Sequence[str], *, rate_hz: int, vocabulary: Sequence[str] = WORDS) -> Float32:
    """The sound that the engine hears as ``words``: float32 in ±1 at ``rate_hz``.

    Raises:
        ValueError: a word is not in the vocabulary.
    """
    if unknown := [word for word in words if word not in vocabulary]:
        raise ValueError(f"not in the vocabulary: {', '.join(unknown)}")
    numbers = [vocabulary.index(word) for word in words]
    gap = np.zeros(round(GAP_S * rate_hz), dtype=np.float32)
    parts = [
        part
        for number in numbers
        for part in (_chord(0, number // 16, rate_hz), _chord(1, number % 16, rate_hz), gap)
    ]
    return np.concatenate(parts) if parts else gap[:0]


def read_markers(samples: Float32) -> list[int]:
    """The numbers of the words in 16 kHz sound, in order."""
    numbers: list[int] = []
    upper: int | None = None
    for grid, symbol in _chords(samples):
        if grid == 0:
            upper = symbol
        elif upper is not None:
            numbers.append(upper * 16 + symbol)
            upper = None
    return numbers


class ScriptedEngine:
    """Says the words that are marked in the sound.

    ``language`` is what it claims to have detected; ``latency_s`` is how long each recognition takes, for
    tests of overload.
    """

    def __init__(
        self, vocabulary: Sequence[str] = WORDS, *, language: str = "en", latency_s: float = 0.0
    ) -> None:
        self._vocabulary = tuple(vocabulary)
        self._language = language
        self._latency_s = latency_s

    @property
    def capabilities(self) -> Capabilities:
        """A scripted engine takes segments of any length and has nothing to detect."""
        return Capabilities(
            engine="scripted",
            model="tone-markers",
            max_segment_s=float("inf"),
            detects_language=False,
            takes_corpus=False,
        )

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        """The marked words, with blanks between them; numbers beyond the vocabulary are left out."""
        if self._latency_s:
            time.sleep(self._latency_s)
        numbers = read_markers(segment.samples)
        words = [self._vocabulary[number] for number in numbers if number < len(self._vocabulary)]
        return Transcript(text=" ".join(words), language=hints.language or self._language)


def _chord(grid: int, symbol: int, rate_hz: int) -> Float32:
    low, high = _GRIDS[grid]
    t = np.arange(round(CHORD_S * rate_hz)) / rate_hz
    tones = np.sin(2 * np.pi * low[symbol // 4] * t) + np.sin(2 * np.pi * high[symbol % 4] * t)
    fade = np.clip(np.minimum(t, t[::-1]) / _FADE_S, 0.0, 1.0)
    return (_AMPLITUDE * tones * fade).astype(np.float32)


def _chords(samples: Float32) -> list[tuple[int, int]]:
    """The chords in 16 kHz sound: (grid, symbol), each once, however long it lasts."""
    if len(samples) < _WINDOW:
        return []
    found: list[tuple[int, int]] = []
    run: tuple[int, int] | None = None
    length = 0
    for chord in _chords_by_frame(np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]):
        length = length + 1 if chord == run else 1
        run = chord
        if chord is not None and length == _MIN_FRAMES:
            found.append(chord)
    return found


def _chords_by_frame(frames: Float32) -> list[tuple[int, int] | None]:
    """The chord that sounds throughout each frame, if any does; ``frames`` has shape (n, 640)."""
    energy = np.mean(frames**2, axis=1)
    # |<frame, tone>|² scaled so that a pure tone gives the frame's whole energy.
    power = 2 * np.abs(frames @ _CARRIERS / _WINDOW) ** 2 / np.maximum(energy, _MIN_ENERGY)[:, np.newaxis]
    groups = power.reshape(-1, len(_GRIDS), 2, _GROUP_SIZE)
    grids = groups.sum(axis=(2, 3)).argmax(axis=1)
    chosen = groups[np.arange(len(groups)), grids]
    clear = (energy >= _MIN_ENERGY) & (chosen.max(axis=2).min(axis=1) >= _MIN_SHARE)
    tones = chosen.argmax(axis=2)
    symbols = tones[:, 0] * _GROUP_SIZE + tones[:, 1]
    return [
        (int(grid), int(symbol)) if heard else None
        for heard, grid, symbol in zip(clear, grids, symbols, strict=True)
    ]


_CARRIERS: Final = np.exp(-2j * np.pi * np.outer(np.arange(_WINDOW), _TONES_HZ) / SAMPLE_RATE_HZ).astype(
    np.complex64
)
