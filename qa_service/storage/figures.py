"""Figures of calls that have ended, stored behind the transactions that ended them.

They take a database some ten milliseconds a call, and nobody waits for them: reports compute what is not
stored yet. So one task of a worker stores them in its own time, and the transactions that carry alerts of
other calls do not stand behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Final

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from qa_service.storage import tables
from qa_service.storage.database import Database
from qa_service.storage.errors import StorageError

_log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
"""Calls in one transaction: it keeps these calls, and no others, from being written meanwhile."""
MOST_WAITING: Final = 10_000
"""Calls that wait while the database is away; of more, reports compute the figures each time."""
LAST_S: Final = 2.0
"""For those that wait when the worker ends."""

_CALL_IDS = sa.bindparam("of_calls", type_=sa.ARRAY(sa.Text))
STORE_FIGURES: Final = sa.select(sa.func.qa.store_figures(_CALL_IDS))
FORGET_FIGURES: Final = sa.delete(tables.call_figure).where(
    tables.call_figure.c.call_id == sa.any_(_CALL_IDS)
)
"""Without this row, reports compute all figures of a call."""
# Until this is committed nobody else adds to the calls, and the next statement sees what was added before.
_OVER = (
    sa.select(tables.call.c.call_id)
    .where(tables.call.c.call_id == sa.any_(_CALL_IDS), tables.call.c.ended)
    .order_by(tables.call.c.call_id)
    .with_for_update(read=True)
)


class FigureKeeper:
    """Stores figures of the calls it is told of; :meth:`start` it, :meth:`close` it before the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, None] = {}
        self._is_wanted = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="call-figures")

    def add(self, call_ids: Iterable[str]) -> None:
        """Have the figures of calls that have ended stored, some time soon."""
        self._waiting.update(dict.fromkeys(call_ids))
        excess = len(self._waiting) - MOST_WAITING
        if excess > 0:
            _tell(self._take(excess), f"more than {MOST_WAITING} calls wait")
        self._is_idle.clear()
        self._is_wanted.set()

    async def settle(self) -> None:
        """Return when nothing waits."""
        await self._is_idle.wait()

    async def close(self) -> None:
        """Store what waits, as far as that is quick, and end."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self.settle()
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._waiting:
            _tell(self._take(len(self._waiting)), "the worker ended")

    async def _run(self) -> None:
        while True:
            await self._is_wanted.wait()
            self._is_wanted.clear()
            while self._waiting:
                await self._store(self._take(AT_ONCE))
            self._is_idle.set()

    def _take(self, count: int) -> list[str]:
        taken = list(islice(self._waiting, count))
        for call_id in taken:
            del self._waiting[call_id]
        return taken

    async def _store(self, call_ids: list[str]) -> None:
        async def store(connection: AsyncConnection) -> None:
            over = (await connection.execute(_OVER, {"of_calls": call_ids})).scalars().all()
            await connection.execute(STORE_FIGURES, {"of_calls": list(over)})

        try:
            await self._database.run(store, doing=f"Storing figures of {len(call_ids)} calls")
        except StorageError as error:
            _tell(call_ids, str(error))
        except asyncio.CancelledError:
            self._waiting.update(dict.fromkeys(call_ids))  # for `close` to tell of
            raise


def _tell(call_ids: Collection[str], error: str) -> None:
    _log.warning("figures_not_stored", call_ids=list(call_ids), error=error)
