"""What the emotion model has learnt of its service, kept in a file over restarts.

Decided here: the form of the file, when it is written, and that it is never worth a failed start. A file of
other weights is replaced by and by; one that cannot be understood is set aside under another name, counted
and told, and the server begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Annotated, Final

import msgspec
import numpy as np
import structlog

from qa_service import metrics
from qa_service.asr_server.emotion.norms import ServiceNorm
from qa_service.asr_server.emotion.ranks import TRAFFIC_HOURS, WINDOW, RecentScores, Traffic
from qa_service.asr_server.emotion_recogniser import ServicePast, VoiceEmotions

_log = structlog.get_logger(__name__)

FILE_NAME: Final = "emotion-service.json"
SAVE_EVERY_S: Final = 60.0
"""At most so many seconds of learning are lost with a server that is killed."""
_VERSION: Final = 1

_Count = Annotated[int, msgspec.Meta(ge=0)]


class StoredPast(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds: a `ServicePast`, and which weights it was learnt by."""

    version: int = _VERSION
    weights: str
    """SHA-256 of the weights, in hexadecimal."""
    judged: _Count
    norm_count: _Count
    norm_mean: list[float]
    norm_variance: list[Annotated[float, msgspec.Meta(gt=0)]]
    scores: Annotated[list[float], msgspec.Meta(max_length=WINDOW)]
    """Oldest first."""
    since_s: float | None
    hours: Annotated[dict[int, _Count], msgspec.Meta(max_length=TRAFFIC_HOURS)]


class EmotionMemory:
    """Keeps what ``emotions`` learns of the service in a file of ``folder``."""

    def __init__(self, emotions: VoiceEmotions, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._emotions = emotions
        self._saved = 0  # utterances judged when it was written
        self._failing = False

    def load(self) -> None:
        """Take up what an earlier server has learnt, if there is something that can be used."""
        try:
            stored = read(self.path)
            if stored is None:
                return
            if stored.weights != self._emotions.weights_digest.hex():
                _log.warning("emotion_memory_of_other_weights", path=str(self.path))
                return
            self._emotions.past = restored(stored, self._emotions.past)
        except ValueError as error:
            self._set_aside(error)
            return
        except OSError as error:
            self._tell_failure(error)
            return
        self._saved = stored.judged
        _log.info("emotion_memory_loaded", path=str(self.path), utterances=stored.judged)

    async def keep(self) -> None:
        """Save what is new now and then, until cancelled."""
        while True:
            await asyncio.sleep(SAVE_EVERY_S)
            await self.save()

    async def save(self) -> None:
        """Save what is new, if anything is."""
        past = self._emotions.past
        if past.judged == self._saved:
            return
        content = msgspec.json.encode(_stored(past, self._emotions.weights_digest))
        try:
            await asyncio.to_thread(_replace, self.path, content)
        except OSError as error:
            self._tell_failure(error)
        else:
            self._saved, self._failing = past.judged, False

    def _set_aside(self, error: ValueError) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        with contextlib.suppress(OSError):  # then it will be written over
            self.path.replace(aside)
        metrics.SERVER_EMOTION_MEMORY_FAILURES["damaged"].inc()
        _log.error("emotion_memory_damaged", path=str(self.path), set_aside=str(aside), error=str(error))

    def _tell_failure(self, error: OSError) -> None:
        metrics.SERVER_EMOTION_MEMORY_FAILURES["not_accessible"].inc()
        if self._failing:
            return  # told already
        self._failing = True
        _log.error("emotion_memory_failed", path=str(self.path), error=str(error))


def read(path: Path) -> StoredPast | None:
    """What a file holds; None if there is no file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    stored = msgspec.json.decode(content, type=StoredPast)
    if stored.version != _VERSION:
        raise ValueError(f"version {stored.version} is not known")
    if len(stored.norm_mean) != len(stored.norm_variance):
        raise ValueError("mean and variance are of different lengths")
    return stored


def _stored(past: ServicePast, weights_digest: bytes) -> StoredPast:
    return StoredPast(
        weights=weights_digest.hex(),
        judged=past.judged,
        norm_count=past.norm.count,
        norm_mean=past.norm.mean.tolist(),
        norm_variance=past.norm.variance.tolist(),
        scores=list(past.scores.by_age),
        since_s=past.traffic.since_s,
        hours=dict(past.traffic.hours),
    )


def restored(stored: StoredPast, empty: ServicePast) -> ServicePast:
    """The past that was stored; ``empty`` is one of the same weights.

    Raises:
        ValueError: it was learnt of other measurements.
    """
    if len(stored.norm_mean) != empty.norm.mean.size:
        raise ValueError(f"a voice is {empty.norm.mean.size} values, not {len(stored.norm_mean)}")
    norm = ServiceNorm(
        stored.norm_count,
        np.array(stored.norm_mean, np.float32),
        np.array(stored.norm_variance, np.float32),
    )
    scores = RecentScores(empty.scores.prior, stored.scores)
    return ServicePast(norm, scores, Traffic(stored.since_s, stored.hours), stored.judged)


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
