"""A cheap gate that hears where there may be speech, for recognisers that do not report progress.

Energy over windows of 100 ms against the quietest of the last seconds. It errs towards hearing speech: what
it lets pass as quiet is only inferred to hold none, and rows say so.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import numpy as np

WINDOW_MS: Final = 100
SPEECH_ABOVE_FLOOR_DB: Final = 9.0
"""Speech on a telephone line stands 15 dB and more above its noise; a good half of that, to be safe."""
QUIETEST_SPEECH_DBFS: Final = -52.0
"""Below this no telephone speech is intelligible (nominal active level is about -26 dBFS, ITU-T P.56)."""
FLOOR_WINDOWS: Final = 30
"""The floor is the quietest of 3 s: nobody speaks so long without a dip; a steady noise is its own floor."""
WARM_UP_WINDOWS: Final = 10
"""For the first second the floor is not known, and everything audible counts as speech."""


class VoiceGate:
    """Follows one leg; feed it everything that is sent to the recogniser."""

    def __init__(self, rate: int) -> None:
        self._window = rate * WINDOW_MS // 1000
        self._levels_db: deque[float] = deque(maxlen=FLOOR_WINDOWS)

    def find_speech(self, pcm: bytes) -> list[tuple[int, int]]:
        """Return where 16-bit PCM may hold speech: sample ranges, ascending, in whole windows."""
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
        found: list[tuple[int, int]] = []
        for start in range(0, samples.size, self._window):
            window = samples[start : start + self._window]
            if not self._hears(float(np.dot(window, window)) / window.size):
                continue
            end = start + window.size
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        return found

    def _hears(self, mean_square: float) -> bool:
        level_db = 10 * math.log10(mean_square / 2**30 + 1e-10)  # relative to a full-scale square wave
        self._levels_db.append(level_db)
        if level_db <= QUIETEST_SPEECH_DBFS:
            return False
        return (
            len(self._levels_db) <= WARM_UP_WINDOWS or level_db > min(self._levels_db) + SPEECH_ABOVE_FLOOR_DB
        )
