"""Reading what the schema ``report`` shows, for the command line and the demo."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from qa_service.storage.database import Database

VIEWS = (
    "call_quality",
    "agent_daily",
    "queue_hourly",
    "recovery",
    "alert_log",
    "scorecard",
    "scorecard_answer",
    "emotion_timeline",
    "coverage",
)


async def read_view(database: Database, view: str, limit: int) -> list[dict[str, Any]]:
    """Read up to ``limit`` rows of a report view; raises StorageError, ValueError for another name."""
    if view not in VIEWS:
        raise ValueError(f"{view!r} is no view of schema report")
    async with database.transaction() as connection:
        rows = await connection.execute(
            sa.select(sa.text("*")).select_from(sa.table(view, schema="report")).limit(limit)
        )
        return [dict(row) for row in rows.mappings()]
