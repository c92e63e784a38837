"""The tests' PostgreSQL: a server for the run, a fresh database for each test that asks for one."""

from __future__ import annotations

import os
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from qa_service.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def running_postgres(cache_dir: Path) -> AsyncIterator[str]:
    """The SQLAlchemy URL of a server: the one in QA_TEST_DATABASE_URL, else an embedded one."""
    if given := os.environ.get("QA_TEST_DATABASE_URL"):
        yield urlunsplit(urlsplit(given)._replace(scheme="postgresql+asyncpg"))
        return
    async with EmbeddedPostgres(cache_dir, durable=False) as postgres:
        yield postgres.url


@asynccontextmanager
async def temporary_database(server_url: str, *, template: str = "template1") -> AsyncIterator[str]:
    """The SQLAlchemy URL of a new database on the server, copied from ``template`` and dropped at the end."""
    name = f"qa_test_{uuid.uuid4().hex[:12]}"
    await _execute(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def name_of(database_url: str) -> str:
    """The database that a URL points to."""
    return urlsplit(database_url).path.removeprefix("/")


async def _execute(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(urlunsplit(urlsplit(server_url)._replace(scheme="postgresql")))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
