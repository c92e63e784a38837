"""What a platform tells about a leg: the JSON values of ``start`` and ``update`` records.

Unknown members are ignored, so a platform may send more than this version knows. An ``update`` is a merge
patch (RFC 7396) of the ``start``: absent members stay, ``null`` clears, attributes are merged by name.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from qa_service.contract.errors import ContractViolation, Reason, shorten

Role: TypeAlias = Literal["customer", "agent", "other"]
Direction: TypeAlias = Literal["inbound", "outbound", "internal"]
AttributeValue: TypeAlias = str | int | float | bool

_MAX_INT = 2**63 - 1
"""The largest integer that a bigint column or another language's long can hold."""

Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
AttributeName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
UnixMs: TypeAlias = Annotated[int, Meta(ge=0, le=_MAX_INT)]
# 35 characters are what RFC 5646 (section 4.4.1) asks implementations to be able to store.
Language: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)]


class Consent(Struct, frozen=True, kw_only=True, gc=False):
    """What the caller agreed to; None where nobody asked."""

    recording: bool | None = None
    emotion: bool | None = None
    """False: opted out, the recogniser must not infer this caller's emotion."""


class LegInfo(Struct, frozen=True, kw_only=True):
    """Who is on a leg and under which circumstances, as far as the platform said."""

    role: Role
    tenant: Text | None = None
    agent_id: Text | None = None
    queue: Text | None = None
    direction: Direction | None = None
    call_start: UnixMs | None = None
    language: Language | None = None
    """BCP 47, where the platform knows it."""
    consent: Consent = Consent()
    subject: Text | None = None
    """Pseudonymous id of the person spoken to; what erasure goes by."""
    attributes: dict[AttributeName, AttributeValue] = {}


class ConsentChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of a consent that changed."""

    recording: bool | UnsetType | None = UNSET
    emotion: bool | UnsetType | None = UNSET


class LegChange(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The members of a :class:`LegInfo` that changed; UNSET stays as it was, None is cleared."""

    role: Role | UnsetType = UNSET
    tenant: Text | UnsetType | None = UNSET
    agent_id: Text | UnsetType | None = UNSET
    queue: Text | UnsetType | None = UNSET
    direction: Direction | UnsetType | None = UNSET
    call_start: UnixMs | UnsetType | None = UNSET
    language: Language | UnsetType | None = UNSET
    consent: ConsentChange | UnsetType = UNSET
    subject: Text | UnsetType | None = UNSET
    attributes: dict[AttributeName, AttributeValue | None] | UnsetType = UNSET


def apply_change(info: LegInfo, change: LegChange) -> LegInfo:
    """Return what is known of a leg after an ``update``."""
    changed = _set_fields(change)
    if not isinstance(change.consent, UnsetType):
        changed["consent"] = msgspec.structs.replace(info.consent, **_set_fields(change.consent))
    if not isinstance(change.attributes, UnsetType):
        merged = info.attributes | change.attributes
        changed["attributes"] = {name: value for name, value in merged.items() if value is not None}
    return msgspec.structs.replace(info, **changed)


def decode_info(value: bytes | None) -> LegInfo:
    """Decode the value of a ``start``; raises ContractViolation (``bad_json``) naming the member."""
    info = _decode(_INFO_DECODER, "start", value)
    _check_storable(info)
    return info


def decode_change(value: bytes | None) -> LegChange:
    """Decode the value of an ``update``; raises ContractViolation (``bad_json``) naming the member."""
    change = _decode(_CHANGE_DECODER, "update", value)
    _check_storable(change)
    return change


def encode_info(info: LegInfo | LegChange) -> bytes:
    """Return the JSON value of a ``start`` or ``update``; raises ContractViolation as decoding it would."""
    value = _ENCODER.encode(info)
    if isinstance(info, LegInfo):
        decode_info(value)
    else:
        decode_change(value)
    return value


_INFO_DECODER = msgspec.json.Decoder(LegInfo)
_CHANGE_DECODER = msgspec.json.Decoder(LegChange)
_ENCODER = msgspec.json.Encoder()

T = TypeVar("T")


def _decode(decoder: msgspec.json.Decoder[T], kind: str, value: bytes | None) -> T:
    if not value:
        raise ContractViolation(Reason.BAD_JSON, f"'{kind}' record has no value: send a JSON object")
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise ContractViolation(
            Reason.BAD_JSON, f"value of a '{kind}' record: {error}; see the JSON Schema leg-{kind}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractViolation(
            Reason.BAD_JSON,
            f"value of a '{kind}' record is not JSON in UTF-8 ({error}): {shorten(value)}; "
            "send a JSON object",
        ) from error


def _set_fields(change: Struct) -> dict[str, object]:
    return {
        name: value
        for name in change.__struct_fields__
        if not isinstance(value := getattr(change, name), UnsetType)
    }


def _check_storable(info: LegInfo | LegChange) -> None:
    """Refuse what JSON can hold and a database cannot: NUL characters and integers over 64 bits."""
    for name in ("tenant", "agent_id", "queue", "subject"):
        _check_scalar(f"$.{name}", getattr(info, name))
    attributes = info.attributes
    if not isinstance(attributes, UnsetType):
        for name, value in attributes.items():
            _check_scalar("the name of a member of $.attributes", name)
            _check_scalar(f"$.attributes.{name}", value)


def _check_scalar(path: str, value: object) -> None:
    if isinstance(value, str) and "\0" in value:
        raise ContractViolation(
            Reason.BAD_JSON, f"{path} is {shorten(value)}: remove the NUL character, it cannot be stored"
        )
    if isinstance(value, int) and abs(value) > _MAX_INT:
        raise ContractViolation(
            Reason.BAD_JSON, f"{path} is {shorten(value)}: send integers over 64 bits as text"
        )
