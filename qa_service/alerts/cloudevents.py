"""Events as Kafka records: CloudEvents 1.0, Kafka protocol binding, binary content mode, and back.

Decided here: the key is the call id, so that a call's events stay in order on one partition; the position in
the call's log travels as the extension ``callseq`` (names of attributes take lower-case letters and digits
alone) and in the data as ``call_seq``; ``subject`` is the call, ``time`` is when the event became durable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

SOURCE: Final = "/qa-service"
CALL_SEQ_ATTRIBUTE: Final = "callseq"

_FORMAT: Final = JSONFormat()


class EventRecord(NamedTuple):
    """What a producer hands to Kafka."""

    key: bytes
    headers: list[tuple[str, bytes]]
    value: bytes


def encode_event(
    *,
    event_id: UUID | str,
    type: str,  # noqa: A002 - the attribute's name in CloudEvents
    call_id: str,
    call_seq: int | None,
    time: datetime,
    data: bytes,
) -> EventRecord:
    """One event of a call; ``data`` is JSON, ``time`` aware, ``call_seq`` None for what is in no log."""
    attributes: dict[str, Any] = {
        "id": str(event_id),
        "source": SOURCE,
        "type": type,
        "specversion": "1.0",
        "subject": call_id,
        "time": time,
        "datacontenttype": "application/json",
    }
    if call_seq is not None:
        attributes[CALL_SEQ_ATTRIBUTE] = str(call_seq)
    message = to_binary(CloudEvent(attributes, data), _FORMAT, key_mapper=lambda _event: call_id)
    return EventRecord(call_id.encode(), list(message.headers.items()), message.value)


def decode_event(
    key: bytes | None, headers: Iterable[tuple[str, bytes]], value: bytes | None
) -> dict[str, Any]:
    """A record of one of our topics as the JSON object of a CloudEvent, its ``data`` included.

    Binary and structured content mode are both read. Raises ValueError for what is no CloudEvent.
    """
    message = KafkaMessage(dict(headers), key, value or b"")
    try:
        event = from_kafka(message, _FORMAT)
        decoded: dict[str, Any] = msgspec.json.decode(_FORMAT.write(event))
    except Exception as error:
        raise ValueError(f"not a CloudEvent: {error}") from error
    return decoded
