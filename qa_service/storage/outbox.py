"""The way out: how the relay takes events from the outbox, publishes them and strikes them off.

Calls are spread over :data:`SHARDS` shards. A :meth:`PostgresOutbox.take` locks the shards it can get, so
that one relay at a time publishes a call's events, and holds its transaction open until the caller leaves the
block: what was deleted by then is gone for good, anything else is there again for the next take.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from zlib import crc32

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from qa_service.outbox import OutboxRow, TakeBounds
from qa_service.storage import tables
from qa_service.storage.database import Database

SHARDS = 64
"""Units of locking and so the most relays that can work side by side; stored with each row, so a change
needs a migration."""

CHANNEL = "qa_outbox"
"""Name of the NOTIFY that a transaction with outbox rows sends as it commits."""

ADVISORY_NAMESPACE = 0x7161_6F78
"""First key of the shard locks ("qaox"), to keep apart from other programs' advisory locks."""

LOOKED_AT_PER_ROW: Final = 4
"""Rows looked at for each that a take may hold: it bounds what a long backlog costs a take. When the oldest
are all of a few calls, the take holds less than it might, and the next one goes on."""


def shard_of(call_id: str) -> int:
    """Tell the shard of a call, 0 … ``SHARDS - 1``: the same in every process and release."""
    return crc32(call_id.encode(errors="surrogatepass")) % SHARDS


class PostgresOutbox:
    """The outbox in PostgreSQL; see :class:`qa_service.outbox.Outbox`.

    All methods raise :class:`~qa_service.storage.errors.StoreUnavailable` when the database cannot be
    reached; the caller tries again after a pause. Listening keeps one connection of the pool for itself,
    a take another one. A take that lasts over a minute without a word to the database is cut off there.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news = asyncio.Event()
        # Holds the LISTEN from the first wait on; no use once its connection is lost.
        self._listener: AsyncConnection | None = None
        self._listening = False

    @asynccontextmanager
    async def take(self, shards: Sequence[int], bounds: TakeBounds) -> AsyncIterator[PostgresTake]:
        """See :meth:`Outbox.take`."""
        self._news.clear()  # before reading: what is announced from now on may not be in this take
        async with self._database.transaction() as connection:
            with self._database.explained():
                # Two statements on purpose: the rows must be read by a snapshot taken after the locks, or
                # they could include what the previous holder has just published and deleted.
                locked = tuple(await connection.scalars(_LOCK_SHARDS, {"shards": list(shards)}))
                found = await connection.execute(
                    _OLDEST_ROWS,
                    {
                        "shards": list(locked),
                        "without_calls": list(bounds.without_calls),
                        "rows": bounds.rows,
                        "rows_per_call": bounds.rows_per_call,
                        "looked_at": bounds.rows * LOOKED_AT_PER_ROW,
                    },
                )
                rows = tuple(OutboxRow(**row) for row in found.mappings())
            yield PostgresTake(self._database, connection, locked, rows)

    async def wait_for_rows(self, timeout: float) -> bool:  # noqa: ASYNC109 - a quiet end is a result here, not an error
        """See :meth:`Outbox.wait_for_rows`."""
        if not self._listening:
            await self._listen()
        try:
            await asyncio.wait_for(self._news.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """See :meth:`Outbox.close`."""
        self._listening = False
        listener, self._listener = self._listener, None
        if listener is not None:
            # Not back to the pool: a pooled connection must not go on listening.
            await listener.invalidate()
            await listener.close()

    async def _listen(self) -> None:
        await self.close()
        self._listener = connection = await self._database.connect()
        with self._database.explained():
            raw: Any = (await connection.get_raw_connection()).driver_connection
            raw.add_termination_listener(self._stop_listening)
            await raw.add_listener(CHANNEL, lambda *_: self._news.set())
        self._listening = True
        self._news.set()  # rows may have come while nobody listened

    def _stop_listening(self, _connection: object) -> None:
        # Wakes the waiting relay, whose next take tells what is wrong with the database.
        self._listening = False
        self._news.set()


class PostgresTake:
    """Rows taken in one open transaction; see :class:`qa_service.outbox.OutboxTake`."""

    def __init__(
        self,
        database: Database,
        connection: AsyncConnection,
        shards: tuple[int, ...],
        rows: tuple[OutboxRow, ...],
    ) -> None:
        self._database = database
        self._connection = connection
        self.shards = shards
        self.rows = rows

    async def delete(self, ids: Collection[int]) -> None:
        """See :meth:`OutboxTake.delete`."""
        if ids:
            with self._database.explained():
                await self._connection.execute(_DELETE_ROWS, {"ids": list(ids)})


_SHARD = sa.column("shard", sa.Integer)
_LOCK_SHARDS = (
    sa.select(_SHARD)
    .select_from(sa.func.unnest(sa.bindparam("shards", type_=sa.ARRAY(sa.Integer))).alias("shard"))
    .where(sa.func.pg_try_advisory_xact_lock(ADVISORY_NAMESPACE, _SHARD))
)
_COLUMNS = [tables.outbox.c[name] for name in OutboxRow.__struct_fields__]
_OLDEST = (
    sa.select(
        *_COLUMNS,
        sa.func.row_number()
        .over(partition_by=tables.outbox.c.call_id, order_by=tables.outbox.c.id)
        .label("place_in_call"),
    )
    .where(
        tables.outbox.c.id.in_(
            sa.select(tables.outbox.c.id)
            .where(
                tables.outbox.c.shard == sa.any_(sa.bindparam("shards", type_=sa.ARRAY(sa.SmallInteger))),
                tables.outbox.c.call_id != sa.all_(sa.bindparam("without_calls", type_=sa.ARRAY(sa.Text))),
            )
            .order_by(tables.outbox.c.id)
            .limit(sa.bindparam("looked_at", type_=sa.Integer))
        )
    )
    .subquery()
)
_OLDEST_ROWS = (
    sa.select(*(_OLDEST.c[column.name] for column in _COLUMNS))
    .where(_OLDEST.c.place_in_call <= sa.bindparam("rows_per_call", type_=sa.Integer))
    .order_by(_OLDEST.c.id)
    .limit(sa.bindparam("rows", type_=sa.Integer))
)
_DELETE_ROWS = sa.delete(tables.outbox).where(
    tables.outbox.c.id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger)))
)
