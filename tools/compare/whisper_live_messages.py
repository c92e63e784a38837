"""The messages of a WhisperLive session, as its own client sends and reads them (version 0.10).

The client's first message holds options, further ones are 32-bit floats at 16 kHz, the last is END_OF_AUDIO.
The server answers with a status (``WAIT``: it is full) or a word (``SERVER_READY``, ``DISCONNECT``), later
with segments: the newest ones, each marked when it is complete; only the last one may not be.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from tools.compare.captions import Caption

SAMPLE_RATE_HZ: Final = 16_000
PACKET_SAMPLES: Final = 4096
"""In one message, as its client sends them: the server copies its whole buffer for each."""
END_OF_AUDIO: Final = b"END_OF_AUDIO"
READY: Final = "SERVER_READY"

_ALL_SEGMENTS: Final = 500  # as many as the server keeps; its client asks for ten


class Segment(msgspec.Struct, frozen=True):
    """A stretch of speech and its text."""

    text: str
    completed: bool = False


class Message(msgspec.Struct, frozen=True):
    """Anything the server says; what is absent is None."""

    uid: str
    message: str | float | None = None
    status: str | None = None
    segments: tuple[Segment, ...] | None = None


def options(uid: str, language: str) -> str:
    """The client's first message: the defaults of WhisperLive's client, voice activity on, all segments."""
    return msgspec.json.encode(
        {
            "uid": uid,
            "language": language,
            "task": "transcribe",
            "model": "base",
            "use_vad": True,
            "send_last_n_segments": _ALL_SEGMENTS,
            "no_speech_thresh": 0.45,
            "clip_audio": False,
            "same_output_threshold": 10,
        }
    ).decode()


def parse(text: str | bytes) -> Message:
    """Read one message.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return msgspec.json.decode(text, type=Message)


def shown(messages: Iterable[tuple[float, Message]]) -> list[Caption]:
    """All text, with the time at which each message came."""
    return [
        Caption(at_ms, _join(message.segments)) for at_ms, message in messages if message.segments is not None
    ]


def completed(messages: Iterable[tuple[float, Message]]) -> list[Caption]:
    """The text that the server calls complete."""
    return [
        Caption(at_ms, _join(segment for segment in message.segments if segment.completed))
        for at_ms, message in messages
        if message.segments is not None
    ]


def _join(segments: Iterable[Segment]) -> str:
    return " ".join(segment.text.strip() for segment in segments)
