"""Corrected utterances cut out of their recordings, and the manifest of them that training takes.

The recordings are the platform's: this service keeps no audio. One file a leg is needed, of one channel, that
begins where the leg began; position *n* of the leg is then *n* / rate seconds into it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import soundfile

from qa_service.emotion_training.errors import ManifestError
from qa_service.emotion_training.manifest import MANIFEST_NAME
from qa_service.storage.judgements import Correction

PLACES: Final = ("{call_id}", "{leg}")
"""What a template of a recording's path may hold."""


def write_corpus(
    corrections: Iterable[Correction], template: str, folder: Path, missing: Callable[[str], None]
) -> Path:
    """Cut each utterance into a file of its own and list them; returns the manifest.

    ``missing`` is told of each recording that cannot be used; its utterances are left out.

    Raises:
        ManifestError: the template names no call, or the folder cannot be written.
    """
    if not all(place in template for place in PLACES):
        raise ManifestError(f"the template {template!r} must hold {' and '.join(PLACES)}: one file a leg")
    lines = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for said in corrections:
            source = Path(template.replace("{call_id}", said.call_id).replace("{leg}", said.leg))
            name = f"{said.utterance_id}.wav"
            problem = _cut(source, said, folder / name)
            if problem is None:
                lines.append(json.dumps({"file": name, "speaker": said.speaker, "emotion": said.emotion}))
            else:
                missing(f"{source}: {problem}")
        manifest = folder / MANIFEST_NAME
        manifest.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise ManifestError(f"{folder} cannot be written: {error}") from error
    return manifest


def _cut(source: Path, said: Correction, target: Path) -> str | None:
    """Write the utterance's part of a recording; why not, if that cannot be."""
    try:
        with soundfile.SoundFile(source) as recording:
            if recording.channels != 1:
                return f"expected one channel, it has {recording.channels}"
            first, last = (pos * recording.samplerate // said.rate for pos in (said.start_pos, said.end_pos))
            if last > recording.frames:
                return f"ends before {said.end_pos / said.rate:.1f} s, where the utterance does"
            recording.seek(first)
            soundfile.write(target, recording.read(last - first, dtype="int16"), recording.samplerate)
    except soundfile.LibsndfileError as error:
        return str(error)
    return None
