"""Bringing the schema up to date: Alembic run from code, in a checkout or from the installed wheel.

One process migrates at a time: the others wait and find the work done. All steps of an upgrade are one
transaction. Within a process, Alembic keeps its context in globals: await one call before the next.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import alembic.command
import alembic.util
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from qa_service.storage.database import Database
from qa_service.storage.errors import MigrationFailed
from qa_service.storage.tables import SCHEMA


async def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema up to ``revision``; nothing happens if it is there already.

    Raises:
        StoreUnavailable: the database cannot be reached, does not let us in, or others hold its locks.
        StoreRefused: the role lacks a right.
        MigrationFailed: the revision is unknown, or a step failed; the schema is as it was.
    """
    await _change(database_url, lambda config: alembic.command.upgrade(config, revision))


async def downgrade(database_url: str, revision: str = "base") -> None:
    """Take the schema back to ``revision``; data of dropped tables are gone. Raises as :func:`upgrade`."""
    await _change(database_url, lambda config: alembic.command.downgrade(config, revision))


async def current(database_url: str) -> str | None:
    """Tell the revision of the database's schema; None: none yet. Raises as :func:`upgrade`."""
    database = Database(database_url, pool_size=1)
    try:
        async with database.transaction() as connection:
            return await connection.run_sync(_current)
    finally:
        await database.close()


def head() -> str:
    """Tell the newest revision that this program knows, and needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def scripts() -> Path:
    """Find the migrations: inside the installed package, else at the top of the checkout."""
    packaged = Path(__file__).parent / "_migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "migrations"


async def _change(database_url: str, command: Callable[[Config], None]) -> None:
    database = Database(database_url, pool_size=1)

    def run(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        try:
            command(config)
        except alembic.util.CommandError as error:
            raise MigrationFailed(f"The schema of {database.where} cannot be changed: {error}") from error

    try:
        with database.explained():
            async with database.transaction() as connection:
                await connection.run_sync(run)
    finally:
        await database.close()


def _config() -> Config:
    config = Config()
    # ConfigParser's interpolation would stumble over a per cent sign in the path.
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()
