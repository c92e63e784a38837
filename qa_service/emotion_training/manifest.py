"""The manifest of a labelled folder: which recording, who speaks, in what emotion.

Decided here: the format (JSON Lines, paths relative to the manifest), and that a manifest is taken whole or
refused with the line at fault, before hours of listening begin.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from qa_service.asr_server.emotion.model import BOREDOM, CLASSES
from qa_service.emotion_training.errors import ManifestError
from qa_service.fetching import sha256_of

MANIFEST_NAME: Final = "manifest.jsonl"
_EXPECTED: Final = '{"file": "call-17.wav", "speaker": "c4", "emotion": "angry"}'
# Public corpora list boredom as the one emotion beyond the protocol's seven.
_ALIASES: Final = {"other": BOREDOM, "bored": BOREDOM}


class _Line(msgspec.Struct):
    file: str
    speaker: str | int
    emotion: str
    full_length: bool = True


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one utterance."""

    path: Path
    line: int
    """In the manifest, from 1; for messages."""
    speaker: str
    emotion: int
    """Index into `CLASSES`."""
    full_length: bool
    """False for a cut: its length says nothing about the utterance."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A labelled folder."""

    manifest: Path
    clips: tuple[Clip, ...]

    def counts(self) -> dict[str, int]:
        """How many clips each class has; only classes that occur, in the order of `CLASSES`."""
        number = Counter(clip.emotion for clip in self.clips)
        return {name: number[k] for k, name in enumerate(CLASSES) if number[k]}

    def digest(self) -> str:
        """SHA-256 over what is learnt from: each recording's bytes, speaker and emotion, in order."""
        total = hashlib.sha256()
        for clip in self.clips:
            total.update(f"{sha256_of(clip.path)} {clip.speaker} {CLASSES[clip.emotion]}\n".encode())
        return total.hexdigest()


def read_manifest(path: Path) -> Corpus:
    """Read a manifest; for a folder, the `manifest.jsonl` in it.

    Raises:
        ManifestError: unreadable, empty, or a line is not what is expected.
    """
    manifest = path / MANIFEST_NAME if path.is_dir() else path
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{manifest} cannot be read: {error}") from error
    clips = tuple(_clip(manifest, number, line) for number, line in enumerate(lines, 1) if line.strip())
    if not clips:
        raise ManifestError(f"{manifest} lists no recordings; expected a line for each like {_EXPECTED}")
    _refuse_repeats(manifest, clips)
    return Corpus(manifest, clips)


def _clip(manifest: Path, number: int, text: str) -> Clip:
    where = f"{manifest}, line {number}"
    try:
        line = msgspec.json.decode(text, type=_Line)
    except msgspec.DecodeError as error:
        raise ManifestError(f"{where}: {error}; expected {_EXPECTED}") from error
    emotion = _ALIASES.get(line.emotion, line.emotion)
    if emotion not in CLASSES:
        raise ManifestError(f"{where}: emotion {line.emotion!r}: expected one of {', '.join(CLASSES)}")
    path = manifest.parent / line.file
    if not path.is_file():
        raise ManifestError(f"{where}: no such file: {path} (paths are relative to the manifest)")
    if str(line.speaker) == "":
        raise ManifestError(f"{where}: speaker is empty: expected a name that all clips of one voice share")
    return Clip(path, number, str(line.speaker), CLASSES.index(emotion), line.full_length)


def _refuse_repeats(manifest: Path, clips: tuple[Clip, ...]) -> None:
    """One recording under two speakers would be in training and test at once."""
    first: dict[Path, int] = {}
    for clip in clips:
        if clip.path in first:
            before = first[clip.path]
            raise ManifestError(f"{manifest}, line {clip.line}: {clip.path.name} is in line {before} already")
        first[clip.path] = clip.line
