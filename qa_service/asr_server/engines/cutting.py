"""Where a segment that is too long for an engine is cut: at its quietest moment.

Decided here: a cut depends only on the sound before the limit it was made for, so that a growing segment is
always cut at the same places and the text of earlier pieces can be kept.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.engines import SAMPLE_RATE_HZ

_SEARCH_SHARE: Final = 0.3  # of the longest piece, at its end, in which the quietest moment is looked for
_QUIET_S: Final = 0.1  # length of the moment: shorter than a pause, longer than a stop consonant


def pieces(samples: npt.NDArray[np.float32], max_s: float) -> list[tuple[int, int]]:
    """The spans (first sample, end) into which 16 kHz sound is cut so that none is longer than ``max_s``."""
    spans: list[tuple[int, int]] = []
    start = 0
    while (len(samples) - start) / SAMPLE_RATE_HZ > max_s:
        limit = round(max_s * SAMPLE_RATE_HZ)
        end = start + _quietest(samples[start : start + limit])
        spans.append((start, end))
        start = end
    return [*spans, (start, len(samples))]


def _quietest(samples: npt.NDArray[np.float32]) -> int:
    """The middle of the quietest moment near the end of ``samples``."""
    width = round(_QUIET_S * SAMPLE_RATE_HZ)
    begin = len(samples) - max(round(_SEARCH_SHARE * len(samples)), width)
    energy = np.cumsum(np.concatenate(([0.0], samples[begin:].astype(np.float64) ** 2)))
    return begin + int(np.argmin(energy[width:] - energy[:-width])) + width // 2
