"""Which rule sets were published, by whom and when; the newest one is for new calls."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.postgresql import insert

from qa_service.storage import tables
from qa_service.storage.database import Database
from qa_service.storage.errors import NotStored

_version, _rule_set = tables.rule_set_version, tables.rule_set


class RuleVersion(Struct, frozen=True, kw_only=True):
    """One publication of a rule set."""

    version: int
    hash: str
    name: str
    published_by: str
    activated_at: datetime


async def publish(database: Database, *, rule_set_hash: str, source: str, name: str, by: str) -> RuleVersion:
    """Store a rule set and put it in force for new calls, as the next version."""
    async with database.transaction() as connection:
        await connection.execute(
            insert(_rule_set).values(hash=rule_set_hash, source=source).on_conflict_do_nothing()
        )
        # One publisher after the other: numbers have no holes, and the newest is the one that came last.
        await connection.execute(sa.text("LOCK TABLE qa.rule_set_version IN SHARE ROW EXCLUSIVE MODE"))
        following = sa.select(sa.func.coalesce(sa.func.max(_version.c.version), 0) + 1).scalar_subquery()
        row = await connection.execute(
            sa.insert(_version)
            .values(version=following, hash=rule_set_hash, name=name, published_by=by)
            .returning(*_version.c)
        )
        return RuleVersion(**dict(row.mappings().one()))


async def read_history(database: Database, limit: int = 50) -> list[RuleVersion]:
    """Read publications, newest first."""
    async with database.transaction() as connection:
        rows = await connection.execute(sa.select(_version).order_by(_version.c.version.desc()).limit(limit))
        return [RuleVersion(**dict(row)) for row in rows.mappings()]


async def read_newest(database: Database) -> tuple[RuleVersion, str] | None:
    """Read the newest publication with its source; None: nothing was published yet."""
    async with database.transaction() as connection:
        rows = await connection.execute(
            sa.select(_version, _rule_set.c.source)
            .join(_rule_set, _rule_set.c.hash == _version.c.hash)
            .order_by(_version.c.version.desc())
            .limit(1)
        )
        row = rows.mappings().first()
        if row is None:
            return None
        return RuleVersion(**{name: row[name] for name in RuleVersion.__struct_fields__}), row["source"]


async def read_source(database: Database, rule_set_hash: str) -> tuple[str, str]:
    """Read a stored rule set by its hash or the beginning of it: the whole hash, and the source.

    Raises NotStored if no one rule set is so named.
    """
    async with database.transaction() as connection:
        rows = await connection.execute(
            sa.select(_rule_set.c.hash, _rule_set.c.source)
            .where(_rule_set.c.hash.startswith(rule_set_hash, autoescape=True))
            .limit(2)
        )
        found = rows.all()
    if len(found) != 1:
        few = "no" if not found else "more than one"
        raise NotStored(f"there is {few} stored rule set whose hash begins with {rule_set_hash}")
    return found[0].hash, found[0].source
