"""A cheap gate that hears whether there may be speech, for recognisers that do not report progress.

Energy against an adaptive noise floor, over stretches of about 100 ms. It errs towards hearing speech: what
it lets pass as quiet is only inferred to hold none, and rows say so.
"""

from __future__ import annotations

import math

import numpy as np

SPEECH_ABOVE_FLOOR_DB = 9.0
"""Speech on a telephone line stands 15 dB and more above its noise; half of that, to err to the safe side."""
QUIETEST_SPEECH_DBFS = -52.0
"""Below this no telephone speech is intelligible (nominal active level is about -26 dBFS, ITU-T P.56)."""
FLOOR_RISE_DB_PER_S = 1.5
"""How fast the noise floor follows a rising noise; it falls at once."""


class VoiceGate:
    """Follows one leg; feed it each batch that is sent to the recogniser."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._floor_db = -60.0

    def hears_speech(self, pcm: bytes) -> bool:
        """Judge one batch of 16-bit PCM, 20 ms or longer."""
        samples = np.frombuffer(pcm, dtype="<i2")
        if not samples.size:
            return False
        mean_square = float(np.dot(samples.astype(np.float32), samples.astype(np.float32))) / samples.size
        level_db = 10 * math.log10(mean_square / 2**30 + 1e-10)  # relative to a full-scale square wave
        seconds = samples.size / self._rate
        self._floor_db = min(level_db, self._floor_db + FLOOR_RISE_DB_PER_S * seconds)
        return level_db > max(self._floor_db + SPEECH_ABOVE_FLOOR_DB, QUIETEST_SPEECH_DBFS)
