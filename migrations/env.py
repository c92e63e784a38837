"""How Alembic reaches the database: one transaction, one migration at a time.

``qa_service.storage.migrate`` hands over its connection. Run by the ``alembic`` command of a checkout,
this file opens one itself, from QA_DATABASE_URL.
"""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from qa_service.storage.database import Database
from qa_service.storage.tables import SCHEMA, metadata

MIGRATION_LOCK = 0x7161_6D69_6772
"""Advisory lock ("qamigr") held by whoever changes the schema."""


def migrate_on(connection: Connection) -> None:
    """Run the migrations that Alembic was asked for, all or none of them."""
    context.configure(
        connection=connection, target_metadata=metadata, version_table_schema=SCHEMA, include_schemas=True
    )
    with context.begin_transaction():
        # The versions are read after the lock: whoever waited finds the work done. The wait ends before
        # the connection's own time-out does, which could not say what was waited for.
        connection.execute(text("SET LOCAL lock_timeout = '50s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        context.run_migrations()


async def migrate_from_the_command_line() -> None:
    """Open a connection for the ``alembic`` command."""
    database = Database(os.environ.get("QA_DATABASE_URL", "postgresql://localhost:5432/qa"))
    try:
        async with database.transaction() as connection:
            await connection.run_sync(migrate_on)
    finally:
        await database.close()


if context.is_offline_mode():
    raise SystemExit("Migrations look at the roles of the server and so need a connection; leave out --sql")
given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(migrate_from_the_command_line())
else:
    migrate_on(given)
