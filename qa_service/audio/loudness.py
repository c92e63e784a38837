"""How loud somebody speaks: the active level of a stretch of speech.

After ITU-T P.56, method B, in windows rather than an envelope: the mean power of those 100-ms windows that
lie at most 15.9 dB (its *margin*) below that very mean. So pauses, breath and the line's noise do not make a
speaker seem quiet. A pure function of the samples; levels are relative to a full-scale square wave (dBov of
ITU-T G.100.1, as in :mod:`.voice_gate`), in which a full-scale sine is -3 dB and telephone speech about -26.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

WINDOW_MS: Final = 100
MARGIN: Final = 10 ** (15.9 / 10)
"""Ratio of powers: 15.9 dB, the margin of ITU-T P.56."""
FULL_SCALE: Final = 2.0**30
"""Mean square of a full-scale square wave of 16-bit samples."""
SILENT: Final = 1.0
"""Mean square of a signal of one step: below is digital silence (-90 dB), and has no level."""


def active_level_dbfs(pcm: bytes, rate: int) -> float | None:
    """Measure 16-bit PCM of one utterance; dB to one decimal, None for digital silence."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    size = min(rate * WINDOW_MS // 1000, samples.size)
    if not size:
        return None
    windows = samples[: samples.size // size * size].reshape(-1, size)
    powers = np.einsum("ij,ij->i", windows, windows).astype(np.float64) / size
    level = _mean_of_active(powers)
    return round(10 * math.log10(level / FULL_SCALE), 1) if level >= SILENT else None


def _mean_of_active(powers: np.ndarray) -> float:
    """Leave windows out until none lies further than the margin below the mean of the rest."""
    while True:
        mean = float(powers.mean())
        active = powers[powers * MARGIN >= mean]
        if active.size == powers.size:
            return mean
        powers = active
