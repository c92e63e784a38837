"""A corpus as the model hears it: every recording through a telephone line, as raw voices.

Decided here: what keeps length and channel from standing for an emotion. Every clip goes through one line;
for training at most 2 s of each are used, trimmed, since in a corpus where only some recordings were cut the
cut would be learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from qa_service.asr_server.emotion.encoder import Ear
from qa_service.asr_server.emotion.model import VOICE_WIDTH, Abstention, hear_raw
from qa_service.asr_server.emotion.speech import find_speech
from qa_service.audio.line import LINE_RATE_HZ, through_line, to_float
from qa_service.emotion_training.alterations import BAD_LINE, COPIES, altered, over_bad_line
from qa_service.emotion_training.errors import ManifestError
from qa_service.emotion_training.manifest import Clip, Corpus

Float32 = npt.NDArray[np.float32]
Progress: TypeAlias = Callable[[int, int], None]
"""Called with how many clips are done, and of how many."""

LONGEST_CLIP_S: Final = 2.0
WHOLE: Final = -1  # stands for a copy number: the whole recording, unaltered
_SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Voices:
    """Raw voices, one a row, and what is known of each."""

    raw: Float32
    """Shape (voices, 638)."""
    emotion: npt.NDArray[np.int64]
    """Index into `CLASSES`."""
    speaker: npt.NDArray[np.str_]
    clip: npt.NDArray[np.int64]
    """Position in the corpus; copies of one recording share it."""
    copy: npt.NDArray[np.int64]
    """0: unaltered, at most 2 s; from 1: altered (`alterations`); -1: unaltered, whole."""

    def where(self, chosen: npt.NDArray[np.bool_]) -> Voices:
        """The voices of the `chosen` rows."""
        return Voices(
            self.raw[chosen], self.emotion[chosen], self.speaker[chosen], self.clip[chosen], self.copy[chosen]
        )


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of listening to a corpus."""

    voices: Voices
    refused: dict[Abstention, int]
    """Unaltered recordings that cannot be judged, by reason."""


def hear_corpus(corpus: Corpus, ear: Ear, copies: Sequence[int], progress: Progress) -> Heard:
    """Hear the `copies` (numbers as in `Voices.copy`) of every clip; what cannot be judged is left out.

    Raises:
        ManifestError: a recording cannot be read; the message names file and line.
    """
    rows: list[tuple[Float32, int, str, int, int]] = []
    refused: dict[Abstention, int] = {}
    for number, clip in enumerate(corpus.clips):
        samples, rate = _read(corpus, clip)
        for copy in copies:
            if copy == WHOLE and not clip.full_length:
                continue
            heard = hear_raw(_as_heard(samples, rate, copy, number), ear)
            if not isinstance(heard, Abstention):
                rows.append((heard, clip.emotion, clip.speaker, number, copy))
            elif copy == copies[0]:
                refused[heard] = refused.get(heard, 0) + 1
        progress(number + 1, len(corpus.clips))
    return Heard(_stack(rows), refused)


def _stack(rows: list[tuple[Float32, int, str, int, int]]) -> Voices:
    raw = np.stack([row[0] for row in rows]) if rows else np.zeros((0, VOICE_WIDTH), np.float32)
    numbers = np.array([(row[1], row[3], row[4]) for row in rows], np.int64).reshape(-1, 3)
    speaker = np.array([row[2] for row in rows], np.str_)
    return Voices(raw, numbers[:, 0], speaker, numbers[:, 1], numbers[:, 2])


def _read(corpus: Corpus, clip: Clip) -> tuple[Float32, int]:
    where = f"{corpus.manifest}, line {clip.line}: {clip.path}"
    try:
        samples, rate = soundfile.read(clip.path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise ManifestError(f"{where} cannot be read as audio: {error}") from error
    if samples.shape[1] != 1:
        raise ManifestError(f"{where} has {samples.shape[1]} channels: expected one, with one voice")
    return np.asarray(samples[:, 0], np.float32), rate


def _as_heard(samples: Float32, rate: int, copy: int, number: int) -> Float32:
    if copy == WHOLE:
        return to_float(through_line(samples, rate))
    at_line_rate: Float32 = soxr.resample(samples, rate, LINE_RATE_HZ)
    speech = find_speech(at_line_rate)
    if speech is None:
        return at_line_rate
    cut = speech.samples[: int(LONGEST_CLIP_S * LINE_RATE_HZ)]
    draw = np.random.default_rng((_SEED, number, copy))
    return over_bad_line(cut, draw) if copy == BAD_LINE else altered(cut, copy, draw)


TRAINING_COPIES: Final = tuple(range(COPIES))
