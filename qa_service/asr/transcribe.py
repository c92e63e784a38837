"""One audio file through a recogniser: ``qa-service transcribe``, the shortest way to try a server."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import soundfile
import soxr

from qa_service.asr.session import RecogniserSession, SessionLimits, SessionLost, make_http_session
from qa_service.protocol.limits import FINISH_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qa_service.asr.endpoint import RecogniserEndpoint
    from qa_service.protocol.config import SessionConfig
    from qa_service.protocol.events import ServerEvent

# The size that all samples of the protocol send (section 3.2).
_APPEND_MS: Final = 100
_BYTES_PER_SAMPLE: Final = 2  # 16-bit PCM
_FULL_SCALE: Final = 32767


class TranscriptionFailed(Exception):  # noqa: N818 - named for what happened
    """The file cannot be read or the session was lost; one line for the user."""


async def transcribe_file(
    path: Path,
    endpoint: RecogniserEndpoint,
    config: SessionConfig,
    *,
    realtime: bool,
    emit: Callable[[dict[str, Any]], None],
) -> None:
    """Send the audio of ``path`` and ``emit`` each server event as it comes (see :func:`describe_event`).

    The file is mixed to one channel and brought to the configured rate. ``realtime`` sends it as fast as it
    was spoken, else as fast as it is taken. Turns must end by voice activity detection. Raises
    :class:`TranscriptionFailed`.
    """
    pcm = await asyncio.to_thread(read_pcm, path, config.sample_rate)
    audio_s = len(pcm) / _BYTES_PER_SAMPLE / config.sample_rate
    # All of the file may wait, and a server may need as long as the file lasts to work it off.
    limits = SessionLimits(queue_bytes=len(pcm) + 1, finish_s=FINISH_TIMEOUT_S + 2 * audio_s)
    loop = asyncio.get_running_loop()
    began = loop.time()
    losses: list[SessionLost] = []
    async with make_http_session() as http:
        session = RecogniserSession(
            http,
            endpoint,
            config,
            on_event=lambda event: emit(describe_event(event, at_ms=round((loop.time() - began) * 1000))),
            on_lost=losses.append,
            limits=limits,
        )
        session.start()
        sender = asyncio.create_task(_send(session, pcm, config.sample_rate, realtime=realtime))
        try:
            await session.wait_closed()
        finally:
            sender.cancel()
            await session.close()
    if losses:
        raise TranscriptionFailed(f"{path}: {losses[0].detail}")


def describe_event(event: ServerEvent, *, at_ms: int) -> dict[str, Any]:
    """A server event as a dictionary: ``event`` (its name), ``at_ms`` (since the start), then its fields."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    return {"event": name, "at_ms": at_ms, **msgspec.to_builtins(event)}


def read_pcm(path: Path, rate: int) -> bytes:
    """The audio of a file as 16-bit PCM, mono, at ``rate`` Hz; raises :class:`TranscriptionFailed`."""
    try:
        samples, file_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise TranscriptionFailed(
            f"cannot read {path}: {error}; WAV, FLAC, OGG and MP3 files are understood"
        ) from error
    mono = soxr.resample(samples.mean(axis=1), file_rate, rate)
    pcm: bytes = np.round(np.clip(mono, -1.0, 1.0) * _FULL_SCALE).astype("<i2").tobytes()
    return pcm


async def _send(session: RecogniserSession, pcm: bytes, rate: int, *, realtime: bool) -> None:
    step = rate * _APPEND_MS // 1000 * _BYTES_PER_SAMPLE
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, start in enumerate(range(0, len(pcm), step)):
        if realtime:
            await asyncio.sleep(max(0.0, began + number * _APPEND_MS / 1000 - loop.time()))
        session.append(pcm[start : start + step])
    session.finish()
