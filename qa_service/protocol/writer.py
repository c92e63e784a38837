"""How values become JSON text: server events (section 4) and client events (section 3).

Every member that some client cannot do without is written, even where it says nothing new (section 7.6).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from qa_service.protocol.config import SessionConfig, TurnDetection
from qa_service.protocol.events import (
    NEUTRAL,
    Cleared,
    Committed,
    Completed,
    ErrorEvent,
    Event,
    Failed,
    ItemCreated,
    LegStateAnswer,
    Partial,
    Progress,
    ResultDetail,
    SessionCreated,
    SessionFinished,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)

Members = dict[str, Any]

_encode: Final = msgspec.json.Encoder().encode


def write_event(event: Event, event_id: str, *, extensions_asked: bool = False) -> str:
    """The text of a server event; ``extensions_asked`` adds ``session.qa`` to a session object."""
    event_type, members_of = _SERVER_EVENTS[type(event)]
    members = members_of(event)
    if extensions_asked and isinstance(event, SessionCreated | SessionUpdated):
        members["session"]["qa"] = event.config.extensions
    return _encode({"event_id": event_id, "type": event_type, **members}).decode()


def write_update(config: SessionConfig, event_id: str, *, with_extensions: bool) -> str:
    """The text of ``session.update`` with a complete snapshot of ``config`` (section 8.2.2)."""
    session = _session_members(config)
    session["input_audio_transcription"] = session["input_audio_transcription"] or {}
    if with_extensions:
        session["qa"] = config.extensions
    return _encode({"event_id": event_id, "type": "session.update", "session": session}).decode()


def write_append(audio: bytes, event_id: str) -> str:
    """The text of ``input_audio_buffer.append``, from a template: this runs for every chunk of every leg."""
    encoded = binascii.b2a_base64(audio, newline=False).decode("ascii")
    return f'{{"event_id":"{event_id}","type":"input_audio_buffer.append","audio":"{encoded}"}}'


def write_bare(event_type: str, event_id: str) -> str:
    """The text of a client event that has no members of its own."""
    return _encode({"event_id": event_id, "type": event_type}).decode()


def _session_members(config: SessionConfig) -> Members:
    return {
        "modalities": ["text"],
        "input_audio_format": config.input_audio_format,
        "sample_rate": config.sample_rate,
        "input_audio_transcription": _transcription_members(config),
        "turn_detection": _turn_members(config.turn_detection),
    }


def _transcription_members(config: SessionConfig) -> Members | None:
    members: Members = {}
    if config.language is not None:
        members["language"] = config.language
    if config.corpus_text is not None:
        members["corpus"] = {"text": config.corpus_text}
    return members or None


def _turn_members(turn_detection: TurnDetection | None) -> Members | None:
    if turn_detection is None:
        return None
    return {"type": "server_vad", **msgspec.structs.asdict(turn_detection)}


def _session_event(event: SessionCreated | SessionUpdated) -> Members:
    identity = {"id": event.session_id, "object": "realtime.session", "model": event.model}
    return {"session": {**identity, **_session_members(event.config)}}


def _started(event: SpeechStarted) -> Members:
    return {"audio_start_ms": event.audio_start_ms, "item_id": event.item_id}


def _stopped(event: SpeechStopped) -> Members:
    return {"audio_end_ms": event.audio_end_ms, "item_id": event.item_id}


def _committed(event: Committed) -> Members:
    return {"previous_item_id": event.previous_item_id, "item_id": event.item_id}


def _item_created(event: ItemCreated) -> Members:
    item = {
        "id": event.item_id,
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_audio", "transcript": None}],
    }
    return {"previous_item_id": event.previous_item_id, "item": item}


def _result_members(event: Partial | Completed) -> Members:
    members: Members = {
        "item_id": event.item_id,
        "content_index": 0,
        "language": event.language or "",
        "emotion": event.emotion or NEUTRAL,
    }
    detail: ResultDetail | None = event.detail
    if detail is not None:
        members["qa"] = detail
    return members


def _partial(event: Partial) -> Members:
    return {**_result_members(event), "text": event.text, "stash": event.stash}


def _completed(event: Completed) -> Members:
    return {**_result_members(event), "transcript": event.transcript}


def _failed(event: Failed) -> Members:
    fault = {"code": event.code, "message": event.message, "param": event.param}
    return {"item_id": event.item_id, "content_index": 0, "error": fault}


def _progress(event: Progress) -> Members:
    return {"processed_ms": event.processed_ms}


def _leg_state(event: LegStateAnswer) -> Members:
    return {"accepted": event.accepted, "reason": event.reason}


def _error(event: ErrorEvent) -> Members:
    return {"error": msgspec.structs.asdict(event)}


def _nothing(_event: Event) -> Members:
    return {}


_SERVER_EVENTS: Final[Mapping[type[Event], tuple[str, Callable[[Any], Members]]]] = {
    SessionCreated: ("session.created", _session_event),
    SessionUpdated: ("session.updated", _session_event),
    SpeechStarted: ("input_audio_buffer.speech_started", _started),
    SpeechStopped: ("input_audio_buffer.speech_stopped", _stopped),
    Committed: ("input_audio_buffer.committed", _committed),
    ItemCreated: ("conversation.item.created", _item_created),
    Cleared: ("input_audio_buffer.cleared", _nothing),
    Partial: ("conversation.item.input_audio_transcription.text", _partial),
    Completed: ("conversation.item.input_audio_transcription.completed", _completed),
    Failed: ("conversation.item.input_audio_transcription.failed", _failed),
    Progress: ("qa.progress", _progress),
    LegStateAnswer: ("qa.leg_state", _leg_state),
    SessionFinished: ("session.finished", _nothing),
    ErrorEvent: ("error", _error),
}
