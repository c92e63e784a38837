"""How a server reads client events, and what an update makes of a configuration (section 3).

Tolerant exactly where real clients need it (section 3.1, rules 1 to 6), strict elsewhere; an update is
applied whole or not at all, because it is checked by building the configuration that it asks for.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from qa_service.protocol.config import SAMPLE_RATES, AudioFormat, Extensions, SessionConfig, TurnDetection
from qa_service.protocol.errors import InvalidValue, MalformedMessage

Members = Mapping[str, Any]

# What clients call the formats; "pcm16" is what SDKs send unless told otherwise (section 3.1, rule 5).
_FORMAT_NAMES: Final[Mapping[str, AudioFormat]] = {"pcm": "pcm", "pcm16": "pcm", "opus": "opus"}


class _Append(msgspec.Struct, tag_field="type", tag="input_audio_buffer.append"):
    audio: bytes


_append_decoder: Final = msgspec.json.Decoder(_Append)


def read_append(text: str | bytes) -> bytes | None:
    """The audio of a well-formed append, in one decoding pass; None leaves it to `read_request`."""
    try:
        return _append_decoder.decode(text).audio
    except (ValueError, RecursionError):
        return None


class Request(msgspec.Struct, frozen=True):
    """A client event as it came: its type, its id if that is a string, all its members."""

    type: str
    event_id: str | None
    members: Members

    def given(self, name: str) -> object:
        """The member ``name``; None if absent or null, which mean the same."""
        return self.members.get(name)


def read_request(text: str | bytes) -> Request:
    """Any client event; raises `MalformedMessage` for what is not an object with a ``type`` (section 3.6)."""
    try:
        members = msgspec.json.decode(text)
    except (ValueError, RecursionError) as fault:
        raise MalformedMessage(f"The message is not JSON: {fault}.") from fault
    if not isinstance(members, dict):
        raise MalformedMessage("The message is not a JSON object.")
    request_type = members.get("type")
    if not isinstance(request_type, str):
        raise MalformedMessage("The message has no type.")
    event_id = members.get("event_id")
    return Request(request_type, event_id if isinstance(event_id, str) else None, members)


def audio_of(request: Request) -> bytes:
    """The audio of an append that `read_append` left: base64 without padding, or else an `InvalidValue`."""
    encoded = request.given("audio")
    if encoded is None:
        raise InvalidValue("audio", "is required", missing=True)
    if not isinstance(encoded, str) or "=" in encoded:
        raise InvalidValue("audio", "must be a string of base64")
    try:
        return binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4), strict_mode=True)
    except ValueError as fault:
        raise InvalidValue("audio", "must be a string of base64") from fault


def updated_config(config: SessionConfig, request: Request) -> SessionConfig:
    """``config`` as a ``session.update`` changes it; raises `InvalidValue`, naming the member at fault."""
    session = _object(request.members, "session", "session")
    _check_modalities(session)
    changes: dict[str, Any] = {
        **_format_changes(session),
        **_transcription_changes(session),
        **_turn_changes(session),
    }
    if session.get("qa") is not None:
        changes["extensions"] = _extensions(session)
    return msgspec.structs.replace(config, **changes)


def asks_for_extensions(request: Request) -> bool:
    """Whether an update carries our extension object, which is then echoed."""
    session = request.given("session")
    return isinstance(session, dict) and session.get("qa") is not None


def _check_modalities(session: Members) -> None:
    if session.get("modalities") not in (None, ["text"]):
        raise InvalidValue("session.modalities", 'must be ["text"]')


def _format_changes(session: Members) -> Members:
    """Format and rate; the flat members win over the newer nested ones (section 3.1, rule 6)."""
    nested: Members = session
    path = "session"
    for name in ("audio", "input", "format"):
        path = f"{path}.{name}"
        nested = _object(nested, name, path)
    changes: dict[str, Any] = {}
    for value, place in (
        (nested.get("type"), f"{path}.type"),
        (session.get("input_audio_format"), "session.input_audio_format"),
    ):
        if value is not None:
            changes["input_audio_format"] = _audio_format(value, place)
    for value, place in (
        (nested.get("sample_rate"), f"{path}.sample_rate"),
        (session.get("sample_rate"), "session.sample_rate"),
    ):
        if value is not None:
            changes["sample_rate"] = _sample_rate(value, place)
    return changes


def _transcription_changes(session: Members) -> Members:
    """Language and corpus; null means none of both, absent keeps them (section 3.1, rules 2 and 3)."""
    if "input_audio_transcription" not in session:
        return {}
    path = "session.input_audio_transcription"
    asked = _object(session, "input_audio_transcription", path)
    language = asked.get("language")
    if not isinstance(language, str | None):
        raise InvalidValue(f"{path}.language", "must be a string")
    return {"language": language, "corpus_text": _corpus_text(asked.get("corpus"))}


def _corpus_text(corpus: object) -> str | None:
    # Sources disagree on this member, so no form of it is ever refused (section 3.1, note on corpus).
    text = corpus.get("text") if isinstance(corpus, dict) else None
    return text if isinstance(text, str) else None


def _turn_changes(session: Members) -> Members:
    """The mode: null is manual, absent keeps what is (section 3.1, rule 1)."""
    if "turn_detection" not in session:
        return {}
    if session["turn_detection"] is None:
        return {"turn_detection": None}
    path = "session.turn_detection"
    asked = _object(session, "turn_detection", path)
    if asked.get("type") is None:
        raise InvalidValue(f"{path}.type", "is required", missing=True)
    if asked["type"] != "server_vad":
        raise InvalidValue(f"{path}.type", "must be server_vad")
    given: dict[str, Any] = {}
    if asked.get("threshold") is not None:
        given["threshold"] = _number(asked["threshold"], f"{path}.threshold")
    if asked.get("silence_duration_ms") is not None:
        given["silence_duration_ms"] = _integer(asked["silence_duration_ms"], f"{path}.silence_duration_ms")
    return {"turn_detection": _padded(TurnDetection(**given), asked.get("prefix_padding_ms"))}


def _padded(turn_detection: TurnDetection, prefix_padding_ms: object) -> TurnDetection:
    """With the padding asked for, if it makes sense: not a documented member, so never an error (rule 4)."""
    try:
        milliseconds = _integer(prefix_padding_ms, "session.turn_detection.prefix_padding_ms")
        return msgspec.structs.replace(turn_detection, prefix_padding_ms=milliseconds)
    except InvalidValue:
        return turn_detection


def _extensions(session: Members) -> Extensions:
    members = _object(session, "qa", "session.qa")
    given = {name: members[name] for name in Extensions.__struct_fields__ if members.get(name) is not None}
    for name, value in given.items():
        if name == "leg_state" and isinstance(value, str):
            continue
        if not isinstance(value, bool):
            raise InvalidValue(f"session.qa.{name}", "must be true or false")
    return Extensions(**given)


def _audio_format(value: object, path: str) -> AudioFormat:
    if not isinstance(value, str) or value not in _FORMAT_NAMES:
        raise InvalidValue(path, "must be pcm or opus")
    return _FORMAT_NAMES[value]


def _sample_rate(value: object, path: str) -> int:
    if not isinstance(value, int | float) or value not in SAMPLE_RATES:
        raise InvalidValue(path, "must be 8000 or 16000")
    return int(value)


def _object(members: Members, name: str, path: str) -> Members:
    """The object that is the member ``name``, empty if absent or null."""
    value = members.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidValue(path, "must be an object")
    return value


def _number(value: object, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue(path, "must be a number")
    return value


def _integer(value: object, path: str) -> int:
    number = _number(value, path)
    if number != int(number):
        raise InvalidValue(path, "must be an integer")
    return int(number)
