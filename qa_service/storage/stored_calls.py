"""Calls that are over, read back in small batches: for back-tests, replays and scorecards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from qa_service.domain.entries import LogEntry
from qa_service.domain.incidents import Evidence, IncidentChange
from qa_service.storage import rows, tables
from qa_service.storage.database import Database
from qa_service.storage.store import ONE_SNAPSHOT

_call, _entry, _incident, _judgement = (
    tables.call,
    tables.log_entry,
    tables.incident,
    tables.alert_judgement,
)


class RaisedIncident(Struct, frozen=True, kw_only=True):
    """An incident as it is stored, and what was said of it last."""

    change: IncidentChange
    verdict: Literal["acknowledged", "dismissed"] | None


class PastCall(Struct, frozen=True, kw_only=True):
    """A stored call with its whole log and what was raised."""

    call_id: str
    started_at: dt.datetime
    rule_set_hash: str
    is_over: bool
    """Whether every leg has ended."""
    entries: tuple[LogEntry, ...]
    raised: tuple[RaisedIncident, ...]


async def find_calls(
    database: Database, *, since: dt.datetime | None = None, until: dt.datetime | None = None
) -> list[str]:
    """Name the calls that began in a span of time and are over, in the order in which they began."""
    statement = sa.select(_call.c.call_id).where(_call.c.ended).order_by(_call.c.started_at, _call.c.call_id)
    if since is not None:
        statement = statement.where(_call.c.started_at >= since)
    if until is not None:
        statement = statement.where(_call.c.started_at < until)
    async with database.transaction() as connection:
        return list(await connection.scalars(statement))


async def read_past_calls(database: Database, call_ids: Sequence[str]) -> list[PastCall]:
    """Read some calls with logs and incidents; those that are not there are left out."""
    async with database.transaction() as connection:
        await connection.execute(ONE_SNAPSHOT)
        given = {"call_ids": list(call_ids)}
        calls = (await connection.execute(_CALLS, given)).mappings().all()
        logs: dict[str, list[LogEntry]] = {call["call_id"]: [] for call in calls}
        for row in (await connection.execute(_ENTRIES, given)).mappings():
            logs[row["call_id"]].append(rows.entry_from_row(dict(row)))
        raised: dict[str, list[RaisedIncident]] = {call_id: [] for call_id in logs}
        for row in (await connection.execute(_RAISED, given)).mappings():
            raised[row["call_id"]].append(
                RaisedIncident(change=_incident_from_row(row), verdict=row["verdict"])
            )
    return [
        PastCall(
            call_id=call["call_id"],
            started_at=call["started_at"],
            rule_set_hash=call["rule_set_hash"],
            is_over=call["ended"],
            entries=tuple(logs[call["call_id"]]),
            raised=tuple(raised[call["call_id"]]),
        )
        for call in calls
    ]


def _incident_from_row(row: Mapping[Any, Any]) -> IncidentChange:
    fields = {name: row[name] for name in rows.INCIDENT_COLUMNS}
    fields["evidence"] = msgspec.convert(fields["evidence"], tuple[Evidence, ...])
    return IncidentChange(**fields)


_GIVEN = sa.any_(sa.bindparam("call_ids", type_=sa.ARRAY(sa.Text)))
_CALLS = (
    sa.select(_call.c.call_id, _call.c.started_at, _call.c.rule_set_hash, _call.c.ended)
    .where(_call.c.call_id == _GIVEN)
    .order_by(_call.c.started_at, _call.c.call_id)
)
_ENTRIES = sa.select(_entry).where(_entry.c.call_id == _GIVEN).order_by(_entry.c.call_id, _entry.c.call_seq)
_NEWEST_VERDICT = (
    sa.select(_judgement.c.verdict)
    .where(_judgement.c.incident_id == _incident.c.incident_id)
    .order_by(_judgement.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
_RAISED = (
    sa.select(*(_incident.c[name] for name in rows.INCIDENT_COLUMNS), _NEWEST_VERDICT.label("verdict"))
    .where(_incident.c.call_id == _GIVEN)
    .order_by(_incident.c.call_id, _incident.c.opened_ms, _incident.c.incident_id)
)
