"""How a client reads server events: one typed pass, tolerant where real servers differ (section 8.2).

Null and absent members mean the same (but for ``turn_detection``), unknown members are skipped, an event of
an unknown type is `Unknown`. A missing ``item_id`` is "" here; the session knows which item is meant.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar, get_args

import msgspec

from qa_service.protocol.config import LANGUAGES, SAMPLE_RATES, Extensions, SessionConfig, TurnDetection
from qa_service.protocol.errors import InvalidValue, MalformedMessage
from qa_service.protocol.events import (
    Cleared,
    Committed,
    Completed,
    ErrorEvent,
    Failed,
    ItemCreated,
    LegStateAnswer,
    Partial,
    Progress,
    ResultDetail,
    ServerEvent,
    SessionCreated,
    SessionFinished,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    Unknown,
)

_T = TypeVar("_T")


def read_event(text: str | bytes) -> ServerEvent:
    """The event that ``text`` holds; raises `MalformedMessage` if it holds none."""
    try:
        return _decoder.decode(text).event()
    except msgspec.ValidationError as fault:
        event_type = _type_of(text)
        if event_type in _KNOWN_TYPES:
            raise MalformedMessage(f"The server's {event_type} event is malformed: {fault}.") from fault
        return Unknown(event_type)
    except (ValueError, RecursionError) as fault:
        raise MalformedMessage(f"The server's message is not JSON: {fault}.") from fault


class _Head(msgspec.Struct):
    type: str


def _type_of(text: str | bytes) -> str:
    try:
        return msgspec.json.decode(text, type=_Head).type
    except (ValueError, RecursionError) as fault:
        raise MalformedMessage(f"The server's message is not an object with a type: {fault}.") from fault


class _Turn(msgspec.Struct):
    threshold: float | None = None
    silence_duration_ms: int | None = None
    prefix_padding_ms: int | None = None

    def turn_detection(self) -> TurnDetection:
        told = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        try:
            return TurnDetection(**told)
        except InvalidValue:
            return TurnDetection()


class _Corpus(msgspec.Struct):
    text: str | None = None


class _Transcription(msgspec.Struct):
    language: str | None = None
    corpus: _Corpus | None = None


class _Session(msgspec.Struct):
    """A server's session object, which need not make sense: documented examples do not (section 4.1)."""

    id: str | None = None
    model: str | None = None
    input_audio_format: str | None = None
    sample_rate: int | None = None
    input_audio_transcription: _Transcription | None = None
    turn_detection: _Turn | msgspec.UnsetType | None = msgspec.UNSET
    qa: Any = None

    def config(self) -> SessionConfig:
        asked = self.input_audio_transcription or _Transcription()
        return SessionConfig(
            input_audio_format="opus" if self.input_audio_format == "opus" else "pcm",
            sample_rate=self.sample_rate if self.sample_rate in SAMPLE_RATES else SessionConfig().sample_rate,
            language=asked.language if asked.language in LANGUAGES else None,
            corpus_text=asked.corpus.text if asked.corpus else None,
            turn_detection=self._turn_detection(),
            extensions=_extension(self.qa, Extensions) or Extensions(),
        )

    def _turn_detection(self) -> TurnDetection | None:
        if self.turn_detection is msgspec.UNSET:
            return TurnDetection()
        return self.turn_detection.turn_detection() if self.turn_detection else None


def _extension(value: object, extension: type[_T]) -> _T | None:
    # A foreign server may use the name for something of its own, so what does not fit is no extension.
    if value is None:
        return None
    try:
        return msgspec.convert(value, extension)
    except msgspec.ValidationError:
        return None


class _Created(msgspec.Struct, tag_field="type", tag="session.created"):
    session: _Session | None = None

    def event(self) -> SessionCreated:
        session = self.session or _Session()
        return SessionCreated(session.id or "", session.model or "", session.config())


class _Updated(msgspec.Struct, tag_field="type", tag="session.updated"):
    session: _Session | None = None

    def event(self) -> SessionUpdated:
        session = self.session or _Session()
        return SessionUpdated(session.id or "", session.model or "", session.config())


class _Started(msgspec.Struct, tag_field="type", tag="input_audio_buffer.speech_started"):
    item_id: str | None = None
    audio_start_ms: int | float | None = None

    def event(self) -> SpeechStarted:
        return SpeechStarted(self.item_id or "", _whole(self.audio_start_ms))


class _Stopped(msgspec.Struct, tag_field="type", tag="input_audio_buffer.speech_stopped"):
    item_id: str | None = None
    audio_end_ms: int | float | None = None

    def event(self) -> SpeechStopped:
        return SpeechStopped(self.item_id or "", _whole(self.audio_end_ms))


class _Committed(msgspec.Struct, tag_field="type", tag="input_audio_buffer.committed"):
    item_id: str | None = None
    previous_item_id: str | None = None

    def event(self) -> Committed:
        return Committed(self.item_id or "", self.previous_item_id or None)


class _Item(msgspec.Struct):
    id: str | None = None


class _ItemCreated(msgspec.Struct, tag_field="type", tag="conversation.item.created"):
    item: _Item | None = None
    previous_item_id: str | None = None

    def event(self) -> ItemCreated:
        item = self.item or _Item()
        return ItemCreated(item.id or "", self.previous_item_id or None)


class _Cleared(msgspec.Struct, tag_field="type", tag="input_audio_buffer.cleared"):
    def event(self) -> Cleared:
        return Cleared()


class _Partial(msgspec.Struct, tag_field="type", tag="conversation.item.input_audio_transcription.text"):
    item_id: str | None = None
    text: str | None = None
    stash: str | None = None
    language: str | None = None
    emotion: str | None = None
    qa: Any = None

    def event(self) -> Partial:
        return Partial(
            self.item_id or "",
            self.text or "",
            self.stash or "",
            self.language or None,
            self.emotion or None,
            _extension(self.qa, ResultDetail),
        )


class _Completed(
    msgspec.Struct, tag_field="type", tag="conversation.item.input_audio_transcription.completed"
):
    item_id: str | None = None
    transcript: str | None = None
    language: str | None = None
    emotion: str | None = None
    qa: Any = None

    def event(self) -> Completed:
        return Completed(
            self.item_id or "",
            self.transcript or "",
            self.language or None,
            self.emotion or None,
            _extension(self.qa, ResultDetail),
        )


class _Fault(msgspec.Struct):
    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None


class _Failed(msgspec.Struct, tag_field="type", tag="conversation.item.input_audio_transcription.failed"):
    item_id: str | None = None
    error: _Fault | None = None

    def event(self) -> Failed:
        fault = self.error or _Fault()
        return Failed(self.item_id or "", fault.code, fault.message or "", fault.param)


class _Progress(msgspec.Struct, tag_field="type", tag="qa.progress"):
    processed_ms: int

    def event(self) -> Progress:
        return Progress(self.processed_ms)


class _LegState(msgspec.Struct, tag_field="type", tag="qa.leg_state"):
    accepted: bool
    reason: str | None = None

    def event(self) -> LegStateAnswer:
        return LegStateAnswer(self.accepted, self.reason)


class _Finished(msgspec.Struct, tag_field="type", tag="session.finished"):
    def event(self) -> SessionFinished:
        return SessionFinished()


class _Error(msgspec.Struct, tag_field="type", tag="error"):
    error: _Fault | None = None

    def event(self) -> ErrorEvent:
        fault = self.error or _Fault()
        return ErrorEvent(fault.type or "", fault.code, fault.message or "", fault.param, fault.event_id)


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else int(milliseconds)


_Message = (
    _Created
    | _Updated
    | _Started
    | _Stopped
    | _Committed
    | _ItemCreated
    | _Cleared
    | _Partial
    | _Completed
    | _Failed
    | _Progress
    | _LegState
    | _Finished
    | _Error
)
_decoder: Final[msgspec.json.Decoder[_Message]] = msgspec.json.Decoder(_Message)
_KNOWN_TYPES: Final = frozenset(message.__struct_config__.tag for message in get_args(_Message))
