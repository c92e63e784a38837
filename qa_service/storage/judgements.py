"""What people say of alerts and of emotion labels: looked up, noted, never overwritten.

Alerts and utterances are named by their id or its beginning, at least :data:`SHORTEST_NAME` characters, as
long as that fits one alone. Of several judgements on one thing the newest counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from qa_service.storage import tables
from qa_service.storage.database import Database
from qa_service.storage.errors import NotStored

Verdict: TypeAlias = Literal["acknowledged", "dismissed"]

SHORTEST_NAME: Final = 6
"""Characters of an id that name it: 16 million beginnings."""

_incident, _judgement, _call = tables.incident, tables.alert_judgement, tables.call
_entry, _correction = tables.log_entry, tables.emotion_correction
_NAME = re.compile(rf"[0-9a-f]{{{SHORTEST_NAME},32}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts are wanted; None: whatever it is."""

    open_only: bool = False
    """Only those that nobody has judged yet."""
    rule_id: str | None = None
    agent_id: str | None = None
    """Named by any leg of the call at any time."""
    since: datetime | None = None
    """Stored first at this time or later."""
    limit: int = 50


class Correction(Struct, frozen=True, kw_only=True):
    """The newest label that a person gave an utterance, with what is needed to find its audio."""

    utterance_id: UUID
    call_id: str
    leg: str
    ordinal: int
    start_ms: int
    end_ms: int
    start_pos: int
    end_pos: int
    rate: int
    speaker: str
    """The leg's pseudonym, or else call and leg."""
    recognised: str | None
    """The label that the model gave."""
    emotion: str
    corrected_by: str
    corrected_at: datetime


async def list_alerts(database: Database, wanted: AlertFilter) -> list[dict[str, Any]]:
    """Read alerts with their newest judgement, newest first; withdrawn ones are left out."""
    async with database.transaction() as connection:
        rows = await connection.execute(_alerts(wanted))
        return [dict(row) for row in rows.mappings()]


async def judge(database: Database, alert: str, verdict: Verdict, *, by: str, reason: str | None) -> UUID:
    """Note a judgement and return the alert's id; raises NotStored if no one alert is so named."""
    async with database.transaction() as connection:
        found, call_id = await _find(connection, _incident, _incident.c.incident_id, "alert", alert)
        await connection.execute(
            sa.insert(_judgement).values(
                incident_id=found, call_id=call_id, verdict=verdict, judged_by=by, reason=reason
            )
        )
        return found


async def read_judgements(database: Database, alert: UUID) -> list[dict[str, Any]]:
    """Read all that was ever said of an alert, oldest first."""
    async with database.transaction() as connection:
        statement = sa.select(_judgement).where(_judgement.c.incident_id == alert).order_by(_judgement.c.id)
        return [dict(row) for row in (await connection.execute(statement)).mappings()]


async def correct_emotion(database: Database, utterance: str, emotion: str, *, by: str) -> UUID:
    """Note the right label of an utterance; raises NotStored if no one utterance is so named."""
    async with database.transaction() as connection:
        found, call_id = await _find(connection, _entry, _entry.c.utterance_id, "utterance", utterance)
        await connection.execute(
            sa.insert(_correction).values(
                utterance_id=found, call_id=call_id, emotion=emotion, corrected_by=by
            )
        )
        return found


async def read_corrections(database: Database) -> list[Correction]:
    """Read the newest correction of each utterance, in the order of calls, legs and time."""
    async with database.transaction() as connection:
        rows = (await connection.execute(_CORRECTIONS)).mappings()
        return [Correction(**dict(row)) for row in rows]


async def _find(
    connection: AsyncConnection, table: sa.Table, column: sa.Column[Any], what: str, name: str
) -> tuple[UUID, str]:
    """Find what is so named: its id, and the call that it belongs to."""
    digits = name.lower().replace("-", "")
    if not _NAME.fullmatch(digits):
        raise NotStored(
            f"{name!r} is no id of an {what}: expected it, or its first {SHORTEST_NAME} characters or more"
        )
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    statement = sa.select(column.label("id"), table.c.call_id).where(column.between(first, last)).limit(2)
    found = (await connection.execute(statement)).all()
    if not found:
        raise NotStored(f"there is no {what} {name}")
    if len(found) > 1:
        raise NotStored(f"{name} is the beginning of several ids: give more of the {what}'s id")
    return found[0].id, found[0].call_id


_NEWEST_JUDGEMENT = (
    sa.select(_judgement.c.verdict, _judgement.c.judged_by, _judgement.c.judged_at, _judgement.c.reason)
    .where(_judgement.c.incident_id == _incident.c.incident_id)
    .order_by(_judgement.c.id.desc())
    .limit(1)
    .lateral("judgement")
)


def _alerts(wanted: AlertFilter) -> sa.Select[*tuple[Any, ...]]:
    newest = _NEWEST_JUDGEMENT.c
    statement = (
        sa.select(
            _incident.c.incident_id,
            _incident.c.call_id,
            _incident.c.rule_id,
            _incident.c.rule_version,
            _incident.c.severity,
            _incident.c.state,
            _incident.c.description,
            _incident.c.opened_ms,
            _incident.c.closed_ms,
            _incident.c.created_at.label("raised_at"),
            _incident.c.evidence,
            newest.verdict,
            newest.judged_by,
            newest.judged_at,
            newest.reason,
        )
        .join(_NEWEST_JUDGEMENT, sa.true(), isouter=True)
        .where(_incident.c.state != "withdrawn")
        .order_by(_incident.c.created_at.desc(), _incident.c.incident_id)
        .limit(wanted.limit)
    )
    if wanted.open_only:
        statement = statement.where(newest.verdict.is_(None))
    if wanted.rule_id is not None:
        statement = statement.where(_incident.c.rule_id == wanted.rule_id)
    if wanted.since is not None:
        statement = statement.where(_incident.c.created_at >= wanted.since)
    if wanted.agent_id is not None:
        named = sa.select(sa.literal(1)).where(
            _entry.c.call_id == _incident.c.call_id,
            _entry.c.kind.in_(("leg_started", "leg_updated")),
            _entry.c.detail["agent_id"].astext == wanted.agent_id,
        )
        statement = statement.where(named.exists())
    return statement


_newest_correction = (
    sa.select(_correction)
    .ext(distinct_on(_correction.c.utterance_id))
    .order_by(_correction.c.utterance_id, _correction.c.id.desc())
).subquery("newest")
_leg = tables.leg
_CORRECTIONS = (
    sa.select(
        _newest_correction.c.utterance_id,
        _entry.c.call_id,
        _entry.c.leg_id.label("leg"),
        _entry.c.ordinal,
        _entry.c.start_ms,
        _entry.c.end_ms,
        _entry.c.start_pos,
        _entry.c.end_pos,
        _leg.c.rate,
        sa.func.coalesce(_leg.c.subject, _entry.c.call_id + "/" + _entry.c.leg_id).label("speaker"),
        _entry.c.emotion.label("recognised"),
        _newest_correction.c.emotion,
        _newest_correction.c.corrected_by,
        _newest_correction.c.corrected_at,
    )
    .join(_entry, _entry.c.utterance_id == _newest_correction.c.utterance_id)
    .join(_leg, sa.and_(_leg.c.call_id == _entry.c.call_id, _leg.c.leg_id == _entry.c.leg_id))
    .order_by(_entry.c.call_id, _entry.c.leg_id, _entry.c.ordinal)
)
