"""Reading calls back: what was said, and whether everything of a call is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from qa_service.storage import tables
from qa_service.storage.database import Database

_entry, _leg, _call = tables.log_entry, tables.leg, tables.call

_UTTERANCES = (
    sa.select(
        _entry.c.utterance_id,
        _entry.c.call_id,
        _entry.c.leg_id.label("leg"),
        _leg.c.role,
        _entry.c.ordinal,
        _entry.c.text,
        _entry.c.emotion,
        _entry.c.emotion_confidence,
        _entry.c.emotion_abstained,
        _entry.c.anger_rank,
        _entry.c.language,
        _entry.c.start_ms,
        _entry.c.end_ms,
        _entry.c.engine,
        _entry.c.model,
        _entry.c.time_source,
    )
    .join(_leg, sa.and_(_leg.c.call_id == _entry.c.call_id, _leg.c.leg_id == _entry.c.leg_id))
    .where(_entry.c.kind == "utterance")
    .order_by(_entry.c.call_id, _entry.c.start_ms, _entry.c.call_seq)
)


async def read_utterances(database: Database, call_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Read the utterances of calls in the order in which they were spoken."""
    async with database.transaction() as connection:
        rows = await connection.execute(_UTTERANCES.where(_entry.c.call_id.in_(call_ids)))
        return [dict(row) | {"utterance_id": str(row["utterance_id"])} for row in rows.mappings()]


async def read_origins(database: Database, call_ids: Sequence[str]) -> dict[str, int]:
    """Tell the Unix ms of call time zero of each call."""
    async with database.transaction() as connection:
        rows = await connection.execute(
            sa.select(_call.c.call_id, _call.c.origin_ts).where(_call.c.call_id.in_(call_ids))
        )
        return {row.call_id: row.origin_ts for row in rows}


async def are_settled(database: Database, call_ids: Sequence[str]) -> bool:
    """Whether these calls have ended and none of their events waits for the relay."""
    ended = sa.select(sa.func.count()).select_from(_call).where(_call.c.call_id.in_(call_ids), _call.c.ended)
    waiting = (
        sa.select(sa.func.count()).select_from(tables.outbox).where(tables.outbox.c.call_id.in_(call_ids))
    )
    async with database.transaction() as connection:
        return await connection.scalar(ended) == len(call_ids) and await connection.scalar(waiting) == 0
