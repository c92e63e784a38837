"""The third encoder layer of Whisper base as an ear: one vector of 512 values for an utterance.

Decided here: how much of an utterance is listened to and in windows of what length. The early layer is taken
because it still holds how something is said; later ones hold what is said (docs/emotion.md has the figures).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import ctranslate2
import numpy as np
import numpy.typing as npt
import soxr

from qa_service.audio.line import LINE_RATE_HZ
from qa_service.audio.mel import SAMPLE_RATE_HZ, log_mel

if TYPE_CHECKING:
    from pathlib import Path

Float32 = npt.NDArray[np.float32]

WIDTH: Final = 512
_POSITION_SAMPLES: Final = 320  # one encoder position: two mel frames, 20 ms
# (longest piece, window) in seconds: the window leaves room behind the speech, as the encoder is used to.
_SHORT: Final = (2.5, 3.0)
_LONG: Final = (4.5, 5.0)
_MOST_PIECES: Final = 4  # bounds the work on a monologue; the pieces are spread evenly over it


class Ear:
    """The encoder cut after layer 3, loaded.

    One thread per call; calls from several threads wait for each other. About 9 ms of CPU for a second heard.
    """

    def __init__(self, model_folder: Path) -> None:
        """Load the model that `qa_service.models.ensure("whisper-base-layer3", …)` gives."""
        self._whisper = ctranslate2.models.Whisper(
            str(model_folder), device="cpu", compute_type="int8", intra_threads=1, inter_threads=1
        )

    def listen(self, samples: Float32) -> Float32:
        """The mean over time of the layer's output for `samples` (8 kHz, ±1), shape (512,)."""
        wide = soxr.resample(samples, LINE_RATE_HZ, SAMPLE_RATE_HZ)
        window_s, pieces = _cut_into_pieces(wide)
        mel = np.stack([log_mel(piece, window_s) for piece in pieces])
        features = ctranslate2.StorageView.from_array(mel)
        output = np.array(self._whisper.encode(features, to_cpu=True), dtype=np.float32)
        heard = [math.ceil(len(piece) / _POSITION_SAMPLES) for piece in pieces]
        total = sum(
            (layer[:valid].sum(axis=0) for layer, valid in zip(output, heard, strict=True)), np.zeros(WIDTH)
        )
        return np.asarray(total / sum(heard), dtype=np.float32)


def _cut_into_pieces(wide: Float32) -> tuple[float, list[Float32]]:
    """The window in seconds, and the pieces of 16 kHz samples that go into one each."""
    duration_s = len(wide) / SAMPLE_RATE_HZ
    if duration_s <= _SHORT[0]:
        return _SHORT[1], [wide]
    longest_s, window_s = _LONG
    count = min(math.ceil(duration_s / longest_s), _MOST_PIECES)
    length = min(math.ceil(len(wide) / count), int(longest_s * SAMPLE_RATE_HZ))
    starts = np.linspace(0, len(wide) - length, count).astype(int)
    return window_s, [wide[start : start + length] for start in starts]
