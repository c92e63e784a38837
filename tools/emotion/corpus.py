"""The EmoDB corpus as training data: its clips, heard through a telephone line, as raw voices."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from alterations import COPIES, altered

from qa_service.asr_server.emotion.encoder import Ear
from qa_service.asr_server.emotion.model import CLASSES, Abstention, hear_raw
from qa_service.asr_server.emotion.speech import find_speech
from qa_service.audio.line import LINE_RATE_HZ, through_line, to_float

# Part of the corpus exists only as cuts of 2 s, and which part follows the class: all clips are cut alike.
LONGEST_CLIP_S: Final = 2.0
FULL_LENGTH: Final = -1  # stands for a copy number: the whole clip, unaltered
_BOREDOM_LABEL: Final = "other"


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of the corpus."""

    path: Path
    speaker: str
    emotion: int
    """Index into `CLASSES`."""
    full_length: bool


@dataclass(frozen=True, slots=True)
class Voices:
    """Raw voices, one a row, and what is known of each."""

    raw: npt.NDArray[np.float32]
    emotion: npt.NDArray[np.int64]
    speaker: npt.NDArray[np.str_]
    copy: npt.NDArray[np.int64]
    """0: unaltered, at most 2 s; 1 to 7: altered; -1: unaltered, full length."""

    def where(self, chosen: npt.NDArray[np.bool_]) -> Voices:
        """The voices of the `chosen` rows."""
        return Voices(self.raw[chosen], self.emotion[chosen], self.speaker[chosen], self.copy[chosen])


def read_clips(folder: Path) -> list[Clip]:
    """The clips that the manifest lists, in its order."""
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    return [_clip(folder, json.loads(line)) for line in lines]


def _clip(folder: Path, entry: dict[str, str | bool]) -> Clip:
    label = "boredom" if entry["emotion"] == _BOREDOM_LABEL else str(entry["emotion"])
    return Clip(
        folder / str(entry["file"]), str(entry["speaker"]), CLASSES.index(label), bool(entry["full_length"])
    )


def hear_corpus(clips: list[Clip], ear: Ear, seed: int) -> Voices:
    """All copies of all clips; a copy that leaves too little speech is left out."""
    rows = []
    for number, clip in enumerate(clips):
        if number % 50 == 0:
            print(f"  heard {number} of {len(clips)} clips", file=sys.stderr)
        for copy in range(FULL_LENGTH, COPIES):
            if copy == FULL_LENGTH and not clip.full_length:
                continue
            heard = hear_raw(_sound(clip, copy, np.random.default_rng((seed, number, copy + 1))), ear)
            if not isinstance(heard, Abstention):
                rows.append((heard, clip.emotion, clip.speaker, copy))
    raw, emotion, speaker, copies = zip(*rows, strict=True)
    return Voices(np.stack(raw), np.array(emotion), np.array(speaker), np.array(copies))


def _sound(clip: Clip, copy: int, draw: np.random.Generator) -> npt.NDArray[np.float32]:
    samples, rate = soundfile.read(clip.path, dtype="float32")
    if copy == FULL_LENGTH:
        return to_float(through_line(samples, rate))
    speech = find_speech(soxr.resample(samples, rate, LINE_RATE_HZ))
    assert speech is not None, clip.path  # noqa: S101 - the corpus holds no silent recording
    return altered(speech.samples[: int(LONGEST_CLIP_S * LINE_RATE_HZ)], copy, draw)
