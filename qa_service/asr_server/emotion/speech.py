"""The speech in an utterance: its ends trimmed, its level set, its amount known.

Decided here: what counts as speech for the emotion model, the same in training and at work, so that neither
the length of a pause nor the loudness of a line can stand for an emotion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.audio.line import LINE_RATE_HZ

Float32 = npt.NDArray[np.float32]

_FRAME_SAMPLES: Final = LINE_RATE_HZ // 50  # 20 ms
_LOUD_PERCENTILE: Final = 98
_TRIM_BELOW_LOUD_DB: Final = 32.0
_FRAMES_KEPT_AT_ENDS: Final = 2
_ACTIVE_BELOW_LOUD_DB: Final = 25.0
_ACTIVE_LEVEL_DBFS: Final = -23.0
_SILENCE_DBFS: Final = -60.0  # G.711 resolves down to about -72; the quietest usable talkers are near -45
_POWER_FLOOR: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Speech:
    """Speech at 8 kHz, without its silent ends, its active frames at -23 dBFS."""

    samples: Float32
    active_s: float
    """Seconds of frames within 25 dB of the loud ones."""


def find_speech(samples: Float32) -> Speech | None:
    """The speech in `samples` (8 kHz, mono, ±1), or nothing if even the loudest frames are silence."""
    frames = samples[: len(samples) // _FRAME_SAMPLES * _FRAME_SAMPLES].reshape(-1, _FRAME_SAMPLES)
    if not len(frames):
        return None
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    level_db = 10 * np.log10(np.maximum(power, _POWER_FLOOR))
    loud_db = float(np.percentile(level_db, _LOUD_PERCENTILE))
    if loud_db < _SILENCE_DBFS:
        return None
    heard = np.flatnonzero(level_db >= loud_db - _TRIM_BELOW_LOUD_DB)
    first = max(int(heard[0]) - _FRAMES_KEPT_AT_ENDS, 0)
    last = int(heard[-1]) + _FRAMES_KEPT_AT_ENDS + 1
    active = level_db >= loud_db - _ACTIVE_BELOW_LOUD_DB
    active_db = 10 * np.log10(np.mean(power[active]))
    gain = np.float32(10 ** ((_ACTIVE_LEVEL_DBFS - active_db) / 20))
    kept = samples[first * _FRAME_SAMPLES : last * _FRAME_SAMPLES] * gain
    return Speech(kept, float(np.count_nonzero(active)) * _FRAME_SAMPLES / LINE_RATE_HZ)
