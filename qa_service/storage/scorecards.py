"""Scorecards by hash, and scores given on demand; those given when a call ends come with its last batch."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from qa_service.domain.scores import CallScore
from qa_service.rules.scorecards import Scorecard
from qa_service.storage import tables
from qa_service.storage.database import Database

_scorecard, _result = tables.scorecard, tables.scorecard_result


async def save_scorecard(database: Database, card: Scorecard) -> None:
    """Store a scorecard by its hash, before any call is graded by it."""
    statement = (
        insert(_scorecard)
        .values(hash=card.hash, scorecard_id=card.id, version=card.version, source=card.source)
        .on_conflict_do_nothing()
    )
    async with database.transaction() as connection:
        await connection.execute(statement)


async def save_score(database: Database, score: CallScore) -> None:
    """Store what a call scored, in place of what it scored on that very scorecard before."""
    values = msgspec.to_builtins(score)
    given = insert(_result).values(values)
    kept = {name: given.excluded[name] for name in values if name not in ("call_id", "scorecard_hash")}
    async with database.transaction() as connection:
        await connection.execute(
            given.on_conflict_do_update(
                index_elements=["call_id", "scorecard_hash"], set_={**kept, "updated_at": sa.func.now()}
            )
        )
