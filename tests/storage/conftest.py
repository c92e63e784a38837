"""The two stores, one after the other, behind one face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
import sqlalchemy as sa

from qa_service.outbox import Outbox
from qa_service.storage import tables
from qa_service.storage.database import Database
from qa_service.storage.outbox import PostgresOutbox
from qa_service.storage.store import PostgresStore, Store
from qa_service.testing.store import MemoryOutbox, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID


class Backend(Protocol):
    """A store, any number of outboxes on it, and what no interface shows."""

    store: Store

    def outbox(self) -> Outbox: ...
    async def incident_of(self, incident_id: UUID) -> tuple[str, int, int]: ...
    async def close(self) -> None: ...


class Memory:
    def __init__(self) -> None:
        self.store = MemoryStore()

    def outbox(self) -> MemoryOutbox:
        return MemoryOutbox(self.store)

    async def incident_of(self, incident_id: UUID) -> tuple[str, int, int]:
        row = self.store.incidents[incident_id]
        return row["state"], row["n"], row["opened_ms"]

    async def close(self) -> None:
        pass


class Postgres:
    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.store = PostgresStore(self.database)
        self._outboxes: list[PostgresOutbox] = []

    def outbox(self) -> PostgresOutbox:
        self._outboxes.append(PostgresOutbox(self.database))
        return self._outboxes[-1]

    async def incident_of(self, incident_id: UUID) -> tuple[str, int, int]:
        columns = tables.incident.c
        statement = sa.select(columns.state, columns.n, columns.opened_ms).where(
            columns.incident_id == incident_id
        )
        async with self.database.transaction() as connection:
            return tuple((await connection.execute(statement)).one())

    async def close(self) -> None:
        for outbox in self._outboxes:
            await outbox.close()
        await self.database.close()


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def opened(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return Memory()
    return Postgres(request.getfixturevalue("database_url"))


@pytest.fixture
async def backend(opened: Backend) -> AsyncIterator[Backend]:
    yield opened
    await opened.close()


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()
