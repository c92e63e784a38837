"""Everything that one side of a session tells the other, as values; both sides use these same types.

Server events (section 4) are what a server's builders write and a client's `receive_text` returns; client
events (section 3) reach the server's shell as commands. How they look as JSON is decided in `writer`,
`reader` and `requests`.
"""

from __future__ import annotations

import enum
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from qa_service.protocol.config import SessionConfig

Emotion: TypeAlias = Literal["surprised", "neutral", "happy", "sad", "disgusted", "angry", "fearful"]
"""A label of the protocol (section 4.8); clients must expect others too."""
EMOTIONS: Final[tuple[Emotion, ...]] = get_args(Emotion)

NEUTRAL: Final = "neutral"
"""What a server says when it has not computed, or may not compute, an emotion (section 8.1.6)."""


class ErrorType(enum.StrEnum):
    """Whose fault an `ErrorEvent` is (section 6.2)."""

    INVALID_REQUEST = "invalid_request_error"
    SERVER = "server_error"


class ErrorCode(enum.StrEnum):
    """What went wrong, in the codes that our server uses (section 6.2)."""

    INVALID_VALUE = "invalid_value"
    MISSING_PARAMETER = "missing_required_parameter"
    COMMIT_EMPTY = "input_audio_buffer_commit_empty"
    INTERNAL = "internal_error"
    SESSION_EXPIRED = "session_expired"


class Event(msgspec.Struct, frozen=True):
    """Base of all server events."""


class SessionCreated(Event, frozen=True):
    """The session exists; first event of the server. ``config`` holds the server's defaults (section 4.1)."""

    session_id: str
    model: str
    config: SessionConfig


class SessionUpdated(Event, frozen=True):
    """An update was accepted; ``config`` is in force, its ``extensions`` are those the server honours."""

    session_id: str
    model: str
    config: SessionConfig


class SpeechStarted(Event, frozen=True):
    """Speech began (VAD mode); ``audio_start_ms`` of all audio appended, None if not told (section 4.3)."""

    item_id: str
    audio_start_ms: int | None = None


class SpeechStopped(Event, frozen=True):
    """Speech ended (VAD mode); ``audio_end_ms`` of all audio appended, None if not told (section 4.4)."""

    item_id: str
    audio_end_ms: int | None = None


class Committed(Event, frozen=True):
    """The audio of a turn is closed; ``previous_item_id`` None for the first (section 4.5)."""

    item_id: str
    previous_item_id: str | None = None


class ItemCreated(Event, frozen=True):
    """The turn has become a conversation item (section 4.6)."""

    item_id: str
    previous_item_id: str | None = None


class Cleared(Event, frozen=True):
    """Uncommitted audio was thrown away (section 4.7)."""


class ResultDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What our server adds to a result for a client that asked (member ``qa``).

    ``emotion_confidence`` is 0 to 1 or None; ``emotion_abstained`` says that the engine heard the utterance
    and would not decide; ``emotion_off`` that it was not allowed to look. In both cases the result's
    ``emotion`` stays ``neutral`` for clients that know no better. ``engine`` and ``model`` name who made it.

    ``emotion_distribution`` gives each label that can come its probability, and ``other`` what is left.
    ``anger_score`` is unbounded and means something only within one service: ``anger_rank`` is the share
    (0 to 1) of the service's recent utterances at least as angry, ``anger_daily`` how many that is a day.
    ``leg_state`` is for a later session of the same leg, see `Extensions`. Each is None where unknown.
    """

    emotion_confidence: float | None = None
    emotion_abstained: bool = False
    emotion_off: bool = False
    emotion_distribution: dict[str, float] | None = None
    anger_score: float | None = None
    anger_rank: float | None = None
    anger_daily: float | None = None
    engine: str = ""
    model: str = ""
    leg_state: str | None = None


class Partial(Event, frozen=True):
    """An intermediate result, cumulative for its item: show ``text + stash`` (section 4.8).

    ``text`` is confirmed, ``stash`` may change; ``language`` and ``emotion`` are None if not told.
    """

    item_id: str
    text: str = ""
    stash: str = ""
    language: str | None = None
    emotion: str | None = None
    detail: ResultDetail | None = None

    @property
    def judged_emotion(self) -> str | None:
        """The emotion, but None where the server tells that it abstained or was not allowed to judge."""
        return _judged(self.emotion, self.detail)


class Completed(Event, frozen=True):
    """The final result of an item, "" when nothing was understood (section 4.9)."""

    item_id: str
    transcript: str = ""
    language: str | None = None
    emotion: str | None = None
    detail: ResultDetail | None = None

    @property
    def judged_emotion(self) -> str | None:
        """The emotion, but None where the server tells that it abstained or was not allowed to judge."""
        return _judged(self.emotion, self.detail)


class Failed(Event, frozen=True):
    """Recognition of one item failed; it gets no `Completed`, the session goes on (section 4.10)."""

    item_id: str
    code: str | None = None
    message: str = ""
    param: str | None = None


class Progress(Event, frozen=True):
    """Our extension: audio up to ``processed_ms`` is recognised; no item can start before that any more."""

    processed_ms: int


class LegStateAnswer(Event, frozen=True):
    """Our extension: whether the session goes on with the leg state it was given; if not, ``reason`` why."""

    accepted: bool
    reason: str | None = None


class SessionFinished(Event, frozen=True):
    """All recognition is done; last event of the session (section 4.11)."""


class ErrorEvent(Event, frozen=True):
    """A fault of client or server; ``event_id`` is that of the client event at fault (section 4.12)."""

    type: str
    code: str | None = None
    message: str = ""
    param: str | None = None
    event_id: str | None = None

    @property
    def survivable(self) -> bool:
        """Whether the session goes on: only after faults of the client's request (section 8.2.8)."""
        return self.type == ErrorType.INVALID_REQUEST


class Unknown(Event, frozen=True):
    """An event of a type that this package does not know; to be ignored (section 4)."""

    type: str


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | SpeechStarted
    | SpeechStopped
    | Committed
    | ItemCreated
    | Cleared
    | Partial
    | Completed
    | Failed
    | Progress
    | LegStateAnswer
    | SessionFinished
    | ErrorEvent
    | Unknown
)


class Configure(msgspec.Struct, frozen=True):
    """Client event ``session.update``, applied: the configuration that audio from here on is under.

    ``leg_state`` is a state of the leg to go on with, as the client gave it; `ServerSession.leg_state_answer`
    tells what became of it.
    """

    config: SessionConfig
    leg_state: str | None = None


class AppendAudio(msgspec.Struct, frozen=True):
    """Client event ``input_audio_buffer.append``: PCM in whole samples, or bytes of an Opus stream."""

    audio: bytes


class Commit(msgspec.Struct, frozen=True):
    """Client event ``input_audio_buffer.commit`` (manual mode): the audio since the last is ``item_id``."""

    item_id: str


class Clear(msgspec.Struct, frozen=True):
    """Client event ``input_audio_buffer.clear``: forget uncommitted audio and any utterance still open."""


class Finish(msgspec.Struct, frozen=True):
    """Client event ``session.finish``: end what is open, give all finals, then finish the session."""


Command = Configure | AppendAudio | Commit | Clear | Finish


def _judged(emotion: str | None, detail: ResultDetail | None) -> str | None:
    if detail is not None and (detail.emotion_abstained or detail.emotion_off):
        return None
    return emotion
