"""The schema comes and goes whole, whoever runs the migrations and how many at once."""

from __future__ import annotations

import asyncio
import sys
import uuid
from itertools import pairwise
from urllib.parse import urlsplit, urlunsplit

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from qa_service.storage import migrate, tables
from qa_service.storage.database import Database
from qa_service.storage.errors import MigrationFailed, StoreRefused, StoreUnavailable

pytestmark = pytest.mark.postgres

UPGRADE = """
import asyncio, sys
from qa_service.storage import migrate
asyncio.run(migrate.upgrade(sys.argv[1]))
"""

EVERY_RELATION = """
    SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('qa', 'report', 'public')
    UNION ALL
    SELECT n.nspname || '.' || p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname IN ('qa', 'report', 'public')
    ORDER BY 1
"""


EVERY_COLUMN = """
    SELECT concat_ws(' ', c.oid::regclass, a.attname, col_description(c.oid, a.attnum), c.relacl)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('qa', 'report'))
        AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY 1
"""


async def relations(url: str) -> list[str]:
    return await column(url, EVERY_RELATION)


async def run(url: str, statement: str) -> None:
    database = Database(url)
    try:
        async with database.transaction() as connection:
            await connection.execute(sa.text(statement))
    finally:
        await database.close()


async def column(url: str, query: str) -> list:
    database = Database(url)
    try:
        async with database.transaction() as connection:
            return list(await connection.scalars(sa.text(query)))
    finally:
        await database.close()


async def test_up_down_and_up_again_ends_where_it_began(empty_database_url):
    assert await migrate.current(empty_database_url) is None

    await migrate.upgrade(empty_database_url)
    first = await relations(empty_database_url)
    assert await migrate.current(empty_database_url) == migrate.head()

    await migrate.downgrade(empty_database_url)
    assert await migrate.current(empty_database_url) is None
    assert await relations(empty_database_url) == ["qa.alembic_version", "qa.alembic_version_pkc"]

    await migrate.upgrade(empty_database_url)
    assert await relations(empty_database_url) == first


async def test_each_migration_can_be_taken_back_by_itself(empty_database_url):
    scripts = ScriptDirectory(str(migrate.scripts()))
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    for revision, following in pairwise(revisions):
        await migrate.upgrade(empty_database_url, revision)
        before = await relations(empty_database_url), await column(empty_database_url, EVERY_COLUMN)
        await migrate.upgrade(empty_database_url, following)
        await migrate.downgrade(empty_database_url, revision)

        after = await relations(empty_database_url), await column(empty_database_url, EVERY_COLUMN)
        assert after == before, f"{following} does not go back whole"


async def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database_url):
    before = await relations(database_url)
    await migrate.upgrade(database_url)

    assert await relations(database_url) == before


async def test_upgrades_by_several_processes_at_once_are_one(empty_database_url):
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADE, empty_database_url)
        for _ in range(3)
    ]
    async with asyncio.timeout(60):
        codes = await asyncio.gather(*(process.wait() for process in processes))

    assert codes == [0, 0, 0]
    assert await column(empty_database_url, "SELECT version_num FROM qa.alembic_version") == [migrate.head()]


async def test_the_program_and_the_database_agree_on_the_tables(database):
    def differences(connection: sa.Connection) -> list:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_name": lambda name, kind, _: kind != "schema" or name == tables.SCHEMA,
                "include_object": lambda _, name, kind, *__: (kind, name) != ("table", "alembic_version"),
                "compare_server_default": True,
            },
        )
        found = compare_metadata(context, tables.metadata)
        # Comments are kept in the migrations alone.
        return [d for d in found if not (isinstance(d[0], str) and "comment" in d[0])]

    async with database.transaction() as connection:
        found = await connection.run_sync(differences)

    assert [d for d in found if not all("comment" in change[0] for change in d if isinstance(d, list))] == []


async def test_an_unknown_revision_is_named_and_changes_nothing(database_url):
    with pytest.raises(MigrationFailed, match=r"cannot be changed: .*no_such_revision"):
        await migrate.upgrade(database_url, "no_such_revision")

    assert await migrate.current(database_url) == migrate.head()


@pytest.mark.parametrize("command", [migrate.upgrade, migrate.downgrade, migrate.current])
async def test_an_unreachable_database_is_named_without_its_password(command):
    with pytest.raises(
        StoreUnavailable, match=r"PostgreSQL at 127\.0\.0\.1:1/qa cannot be reached"
    ) as caught:
        await command("postgresql://qa:s3cret@127.0.0.1:1/qa")

    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
async def ordinary_user(postgres_url, empty_database_url):
    """The name of a user who may do no more than log in, and the empty database's URL for that user."""
    name, password = f"qa_ordinary_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    await run(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    parts = urlsplit(empty_database_url)
    host = parts.netloc.rpartition("@")[2]
    yield name, urlunsplit(parts._replace(netloc=f"{name}:{password}@{host}"))
    await run(empty_database_url, f"DROP OWNED BY {name}")
    await run(postgres_url, f"DROP ROLE {name}")


async def test_missing_rights_are_told_in_one_line(ordinary_user, empty_database_url):
    _, url = ordinary_user

    with pytest.raises(
        StoreRefused, match="refuses for lack of rights: permission denied for database"
    ) as caught:
        await migrate.upgrade(url)

    assert "\n" not in str(caught.value)
    assert await relations(empty_database_url) == []


async def test_a_user_who_may_create_schemas_in_the_database_can_migrate(
    ordinary_user, empty_database_url, database_url
):
    # Another database of the server is migrated, so the role of the readers exists already.
    name, url = ordinary_user
    await run(empty_database_url, f"""GRANT CREATE ON DATABASE "{urlsplit(url).path[1:]}" TO {name}""")

    await migrate.upgrade(url)

    assert await migrate.current(url) == migrate.head()


def test_migrations_are_found_in_the_checkout_and_in_the_wheel(tmp_path, monkeypatch):
    assert (migrate.scripts() / "env.py").is_file()

    package = tmp_path / "qa_service" / "storage"
    (package / "_migrations").mkdir(parents=True)
    monkeypatch.setattr(migrate, "__file__", str(package / "migrate.py"))
    assert migrate.scripts() == package / "_migrations"
