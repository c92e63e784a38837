"""What the other tests build on: databases that are fresh, alike and their own."""

from __future__ import annotations

import asyncpg
import pytest


async def query(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url.replace("+asyncpg", "", 1))
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"


@pytest.mark.postgres
async def test_an_empty_database_holds_nothing(empty_database_url):
    tables = await query(empty_database_url, "SELECT 1 FROM pg_tables WHERE schemaname = 'public'")

    assert tables == []


@pytest.mark.postgres
async def test_a_migrated_database_holds_the_reports(database_url):
    assert "report" in {row["nspname"] for row in await query(database_url, SCHEMAS)}


@pytest.mark.postgres
@pytest.mark.parametrize("turn", [1, 2])
async def test_no_test_sees_what_another_wrote(turn, database_url):
    await query(database_url, "CREATE TABLE trace ()")

    assert await query(database_url, "SELECT * FROM trace") == []


@pytest.mark.postgres
def test_a_plain_function_may_ask_for_a_database_too(empty_database_url):
    assert empty_database_url.startswith("postgresql+asyncpg://")
