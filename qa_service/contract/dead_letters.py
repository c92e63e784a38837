"""How a poisonous record looks on the dead-letter topic: as it came, with what was wrong beside it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from qa_service.contract.errors import ContractViolation
from qa_service.contract.records import ReceivedHeader

_PREFIX = "qa-dlq-"


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A record for the dead-letter topic; key and value are the origin's, byte for byte."""

    key: bytes | None
    headers: tuple[ReceivedHeader, ...]
    value: bytes | None


class DeadLetterCause(Struct, frozen=True, kw_only=True):
    """Why a record is on the dead-letter topic, and where it came from."""

    reason: str
    message: str
    topic: str
    partition: int
    offset: int


def encode_dead_letter(
    key: bytes | None,
    headers: Sequence[ReceivedHeader],
    value: bytes | None,
    *,
    violation: ContractViolation,
    topic: str,
    partition: int,
    offset: int,
) -> DeadLetter:
    """Return the record for the dead-letter topic; topic, partition and offset say where it came from."""
    cause = (
        ("reason", violation.reason.value),
        ("message", violation.message),
        ("topic", topic),
        ("partition", str(partition)),
        ("offset", str(offset)),
    )
    added = tuple((f"{_PREFIX}{name}", text.encode("utf-8", "backslashreplace")) for name, text in cause)
    return DeadLetter(key=key, headers=(*headers, *added), value=value)


def describe_dead_letter(headers: Sequence[ReceivedHeader]) -> DeadLetterCause:
    """Return why a record of the dead-letter topic is there; raises KeyError if it is no dead letter."""
    found = {name: value for name, value in headers if value is not None}
    return DeadLetterCause(
        reason=found[f"{_PREFIX}reason"].decode(),
        message=found[f"{_PREFIX}message"].decode(),
        topic=found[f"{_PREFIX}topic"].decode(),
        partition=int(found[f"{_PREFIX}partition"]),
        offset=int(found[f"{_PREFIX}offset"]),
    )
