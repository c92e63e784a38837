"""How log entries, calls, legs and incident changes become rows, and entries come back.

A field of an entry's body that has a column of its own goes there, the others together into ``detail``;
which is which follows from the names alone. Strings are stored as they are but for U+0000, which
PostgreSQL cannot hold: it becomes U+FFFD, lest one character in an attribute stop a partition for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, get_args
from uuid import UUID

import msgspec

from qa_service.domain.entries import Body, LogEntry
from qa_service.domain.incidents import IncidentChange
from qa_service.domain.scores import CallScore
from qa_service.domain.writes import CallRow, LegRow, OutboxEvent
from qa_service.storage import tables
from qa_service.storage.outbox import shard_of

Row: TypeAlias = tuple[Any, ...]
"""Values in the order of one of the column tuples below; JSON as text."""

CALL_COLUMNS: Final = ("topic", "partition", *CallRow.__struct_fields__)
LEG_COLUMNS: Final = LegRow.__struct_fields__
INCIDENT_COLUMNS: Final = IncidentChange.__struct_fields__
SCORE_COLUMNS: Final = CallScore.__struct_fields__
OUTBOX_COLUMNS: Final = ("shard", *OutboxEvent.__struct_fields__)
ENTRY_COLUMNS: Final = tuple(c.name for c in tables.log_entry.columns if c.name != "durable_at")

_HEAD = ("call_id", "call_seq", "kind", "leg_id", "start_ms", "end_ms")
_BODY_COLUMNS = tuple(name for name in ENTRY_COLUMNS if name not in {*_HEAD, "detail"})
_BODY_OF_KIND: dict[str, type[msgspec.Struct]] = {
    str(body.__struct_config__.tag): body for body in get_args(Body)
}
_OWN_COLUMNS = {
    body: tuple(name for name in body.__struct_fields__ if name in _BODY_COLUMNS) for body in get_args(Body)
}


class _Layout(NamedTuple):
    """Where the fields of a kind of body go."""

    kind: str
    columns: tuple[Callable[[Any], object], ...]
    """What gives each of :data:`_BODY_COLUMNS`."""
    detail: tuple[str, ...]
    """Fields without a column."""


def _lay_out(body: type[msgspec.Struct]) -> _Layout:
    own = _OWN_COLUMNS[body]
    return _Layout(
        kind=str(body.__struct_config__.tag),
        columns=tuple(attrgetter(name) if name in own else _nothing for name in _BODY_COLUMNS),
        detail=tuple(name for name in body.__struct_fields__ if name not in own),
    )


def _nothing(_body: object) -> None:
    return None


_LAYOUTS: Final = {body: _lay_out(body) for body in get_args(Body)}


def call_to_row(call: CallRow, topic: str, partition: int) -> Row:
    """Lay out a call in the order of :data:`CALL_COLUMNS`."""
    return (topic, partition, *_storable_values(call))


def leg_to_row(leg: LegRow) -> Row:
    """Lay out a leg in the order of :data:`LEG_COLUMNS`."""
    return _storable_values(leg)


def incident_to_row(change: IncidentChange) -> Row:
    """Lay out an incident in the order of :data:`INCIDENT_COLUMNS`."""
    return _storable_values(change)


def score_to_row(score: CallScore) -> Row:
    """Lay out a call's score in the order of :data:`SCORE_COLUMNS`."""
    return _storable_values(score)


def event_to_row(event: OutboxEvent) -> Row:
    """Lay out an event in the order of :data:`OUTBOX_COLUMNS`."""
    return (shard_of(event.call_id), *_storable_values(event))


def entry_to_row(entry: LogEntry) -> Row:
    """Lay out a log entry in the order of :data:`ENTRY_COLUMNS`."""
    body = entry.body
    kind, columns, in_detail = _LAYOUTS[type(body)]
    head = (entry.call_id, entry.call_seq, kind, entry.leg_id, entry.start_ms, entry.end_ms)
    detail = _json({name: getattr(body, name) for name in in_detail})
    return _storable_all((*head, *[column(body) for column in columns], detail))


def call_from_row(row: Mapping[str, Any]) -> CallRow:
    """Read a call back."""
    return CallRow(**{name: row[name] for name in CallRow.__struct_fields__})


def leg_from_row(row: Mapping[str, Any]) -> LegRow:
    """Read a leg back."""
    return LegRow(**{name: row[name] for name in LEG_COLUMNS})


def entry_from_row(row: Mapping[str, Any]) -> LogEntry:
    """Read a log entry back; ``detail`` may be decoded or still JSON text."""
    body = _BODY_OF_KIND[row["kind"]]
    detail = row["detail"]
    fields = dict(msgspec.json.decode(detail) if isinstance(detail, str) else detail)
    fields |= {name: row[name] for name in _OWN_COLUMNS[body]}
    return LogEntry(
        call_id=row["call_id"],
        call_seq=row["call_seq"],
        leg_id=row["leg_id"],
        start_ms=row["start_ms"],
        end_ms=row["end_ms"],
        body=msgspec.convert(fields, body),  # type: ignore[arg-type] # mypy cannot see the tag's type is a Body
    )


def _storable_values(struct: msgspec.Struct) -> Row:
    return _storable_all(msgspec.structs.astuple(struct))


def _storable_all(values: Iterable[Any]) -> Row:
    # Sixty values an utterance: without a call for each of those that need none.
    return tuple(
        [
            value
            if (kind := type(value)) in _AS_THEY_ARE or (kind is str and "\x00" not in value)
            else _storable(value)
            for value in values
        ]
    )


_AS_THEY_ARE: Final = frozenset({int, float, bool, type(None), UUID, bytes})


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict | tuple):
        return _json(value)
    return value


def _json(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    if "\\u0000" in text:  # or an escaped backslash before "u0000", which the slow way leaves alone
        text = msgspec.json.encode(_without_nul(msgspec.to_builtins(value))).decode()
    return text


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\x00", "\ufffd")
        case list():
            return [_without_nul(item) for item in value]
        case dict():
            return {_without_nul(key): _without_nul(item) for key, item in value.items()}
        case _:
            return value
