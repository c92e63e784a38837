"""The way out: how the relay takes events from the outbox, publishes them and strikes them off.

Calls are spread over :data:`SHARDS` shards. A :meth:`Outbox.take` locks the shards it can get, so that
one relay at a time publishes a call's events, and holds its transaction open until the caller leaves
the block: what was deleted by then is gone for good, anything else is there again for the next take.
Within a take, rows stand in the order in which they were written. The caller publishes a call's rows in
that order, stops that call at its first failure and deletes only what the broker has acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID
from zlib import crc32

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection

from qa_service.domain.writes import OutboxTopic
from qa_service.storage import tables
from qa_service.storage.database import Database

SHARDS = 64
"""Units of locking and so the most relays that can work side by side; stored with each row, so a change
needs a migration."""

CHANNEL = "qa_outbox"
"""Name of the NOTIFY that a transaction with outbox rows sends as it commits."""

ADVISORY_NAMESPACE = 0x7161_6F78
"""First key of the shard locks ("qaox"), to keep apart from other programs' advisory locks."""


def shard_of(call_id: str) -> int:
    """Tell the shard of a call, 0 … ``SHARDS - 1``: the same in every process and release."""
    return crc32(call_id.encode(errors="surrogatepass")) % SHARDS


class OutboxRow(Struct, frozen=True, kw_only=True):
    """One event waiting to be published."""

    id: int
    """Grows in the order of writing, within a call at least."""
    event_id: UUID
    call_id: str
    call_seq: int
    topic: OutboxTopic
    type: str
    data: bytes
    created_at: datetime
    """When the row was written (aware, the database's clock): "row durable" in the event's stamps."""


class OutboxTake(Protocol):
    """Rows taken for publishing, and the means to strike them off."""

    @property
    def rows(self) -> tuple[OutboxRow, ...]:
        """The oldest rows of the locked shards, by ``id``."""
        ...

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards that were free and are locked until the block is left."""
        ...

    async def delete(self, ids: Collection[int]) -> None:
        """Strike off published rows; they are gone once the block is left without an exception."""
        ...


class Outbox(Protocol):
    """What the relay needs of the store; one relay loop per object."""

    def take(self, shards: Sequence[int], limit: int) -> AbstractAsyncContextManager[OutboxTake]:
        """Lock those of ``shards`` that nobody else holds and take their ``limit`` oldest rows.

        Leaving the block commits the deletions and frees the shards. An exception in the block, or a
        lost connection, puts everything back: what had been published is published again.
        """
        ...

    async def wait_for_rows(self, timeout: float) -> bool:  # noqa: ASYNC109 - a quiet end is a result here, not an error
        """Return True as soon as rows may have come since the last take began, False after ``timeout`` s.

        True at once on the first call. A False is no proof of emptiness (another relay may have let go of
        a shard): take again all the same.
        """
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...


class PostgresOutbox:
    """The outbox in PostgreSQL; see :class:`Outbox`.

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
    async def take(self, shards: Sequence[int], limit: int) -> AsyncIterator[PostgresTake]:
        """See :meth:`Outbox.take`."""
        self._news.clear()  # before reading: what is announced from now on may not be in this take
        async with self._database.transaction() as connection:
            with self._database.explained():
                # Two statements on purpose: the rows must be read by a snapshot taken after the locks, or
                # they could include what the previous holder has just published and deleted.
                locked = tuple(await connection.scalars(_LOCK_SHARDS, {"shards": list(shards)}))
                found = await connection.execute(_OLDEST_ROWS, {"shards": list(locked), "limit": limit})
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
    """Rows taken in one open transaction; see :class:`OutboxTake`."""

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
_OLDEST_ROWS = (
    sa.select(
        tables.outbox.c.id,
        tables.outbox.c.event_id,
        tables.outbox.c.call_id,
        tables.outbox.c.call_seq,
        tables.outbox.c.topic,
        tables.outbox.c.type,
        tables.outbox.c.data,
        tables.outbox.c.created_at,
    )
    .where(tables.outbox.c.shard == sa.any_(sa.bindparam("shards", type_=sa.ARRAY(sa.SmallInteger))))
    .order_by(tables.outbox.c.id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_DELETE_ROWS = sa.delete(tables.outbox).where(
    tables.outbox.c.id == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.BigInteger)))
)
