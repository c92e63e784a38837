"""A database that fails: what is tried again, what is settled how, and what the user reads."""

from __future__ import annotations

import asyncio
import socket
import time
from urllib.parse import urlsplit, urlunsplit

import pytest
import sqlalchemy as sa

from qa_service.outbox import TakeBounds
from qa_service.storage import store as store_module
from qa_service.storage.database import Database
from qa_service.storage.errors import Fenced, SchemaMissing, StoreRefused, StoreUnavailable
from qa_service.storage.outbox import PostgresOutbox
from qa_service.storage.store import PostgresStore
from tests.storage.builders import (
    TOPIC,
    a_batch,
    a_call,
    an_entry,
    an_event,
    an_utterance,
    every_kind_of_entry,
)
from tests.storage.proxy import faulty_proxy

pytestmark = pytest.mark.postgres


@pytest.fixture
async def proxy(database_url):
    async with faulty_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
async def proxied(proxy):
    database = Database(proxy.url, pool_size=1)
    yield database
    await database.close()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=path))


async def test_a_burst_of_writes_waits_for_a_connection_and_opens_no_other(proxy, proxied):
    store = PostgresStore(proxied)
    claims = [await store.claim(TOPIC, number, "w") for number in range(8)]

    await asyncio.gather(*(store.write(a_batch(claim)) for claim in claims))

    assert proxy.connections == 1


@pytest.mark.parametrize("fault", ["before_commit", "after_commit"])
async def test_a_commit_of_unknown_outcome_stores_the_batch_exactly_once(proxy, proxied, fault):
    store = PostgresStore(proxied)
    claim = await store.claim(TOPIC, 3, "w")
    batch = a_batch(claim, calls=(a_call(),), entries=every_kind_of_entry(), outbox=(an_event(),))
    proxy.fault, proxy.commits = fault, b"call-1"  # among the values of the one statement that is the write

    await store.write(batch)

    assert proxy.fault is None, "the proxy never saw the batch"
    assert proxy.connections > 1
    found = await store.load_call("call-1")
    assert found is not None
    assert found.entries == every_kind_of_entry()
    async with PostgresOutbox(proxied).take(range(64), TakeBounds(rows=10, rows_per_call=10)) as take:
        assert len(take.rows) == 1
    await store.write(a_batch(claim, 2))


async def test_a_batch_whose_first_transaction_is_still_in_flight_waits_for_it(database, database_url):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    async with database.transaction() as in_flight:
        # What the first attempt has done on the server when its client loses the connection.
        await in_flight.execute(sa.text("UPDATE qa.partition_claim SET write_seq = 1"))
        again = asyncio.create_task(store.write(a_batch(claim, 1, calls=(a_call(),))))
        await waiting_for_a_lock(database)
        assert not again.done()

    await again

    assert await store.load_call("call-1") is None  # the first attempt's content stands, not the second's


async def test_a_write_that_meets_a_claim_under_way_is_fenced_off(database):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    async with database.transaction() as takeover:
        await takeover.execute(sa.text("UPDATE qa.partition_claim SET epoch = epoch + 1"))
        late = asyncio.create_task(store.write(a_batch(claim, 1, calls=(a_call(),))))
        await waiting_for_a_lock(database)

    with pytest.raises(Fenced):
        await late


async def test_a_claim_waits_for_the_write_under_way_and_sees_it(database):
    store = PostgresStore(database)
    await store.claim(TOPIC, 3, "w")
    async with database.transaction() as write:
        await write.execute(sa.text("UPDATE qa.partition_claim SET write_seq = 1, next_offset = 42"))
        takeover = asyncio.create_task(store.claim(TOPIC, 3, "x"))
        await waiting_for_a_lock(database)

    claim = await takeover

    assert (claim.epoch, claim.write_seq, claim.next_offset) == (2, 1, 42)


async def test_a_batch_is_not_lost_when_the_one_before_becomes_visible_in_between(database, monkeypatch):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    calls = []

    async def fetch_row(connection, statement, values):
        found = await original(connection, statement, values)
        if not calls:
            calls.append(1)
            async with database.transaction() as before:
                await before.execute(sa.text("UPDATE qa.partition_claim SET write_seq = 1"))
        return found

    original = store_module.fetch_row
    monkeypatch.setattr(store_module, "fetch_row", fetch_row)

    await store.write(a_batch(claim, 2, calls=(a_call(),)))

    assert calls
    assert await store.load_call("call-1") is not None


async def test_connections_closed_by_the_server_do_not_show(database):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    await close_the_other_connections(database)

    await store.write(a_batch(claim, 1))


async def test_a_migration_under_a_running_program_does_not_show(database):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    await store.write(a_batch(claim, 1, calls=(a_call(),)))
    await store.load_call("call-1")
    async with database.transaction() as migration:
        await migration.execute(sa.text("ALTER TABLE qa.call ADD COLUMN later text"))
        await migration.execute(sa.text("ALTER TABLE qa.call ALTER COLUMN call_seq TYPE bigint"))

    await store.write(a_batch(claim, 2, calls=(a_call(call_seq=2),)))

    found = await store.load_call("call-1")
    assert found is not None
    assert found.call.call_seq == 2


async def test_a_lost_listener_wakes_the_relay_and_is_set_up_again(database):
    outbox, store = PostgresOutbox(database), PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    await outbox.wait_for_rows(10)
    async with outbox.take(range(64), TakeBounds(rows=10, rows_per_call=10)):
        pass
    await close_the_other_connections(database)

    assert await outbox.wait_for_rows(10)

    async with asyncio.timeout(20):
        while await outbox.wait_for_rows(0.1):  # until a fresh listener has nothing to tell
            async with outbox.take(range(64), TakeBounds(rows=10, rows_per_call=10)):
                pass
    await store.write(a_batch(claim, 1, outbox=(an_event(),)))
    assert await outbox.wait_for_rows(10)
    await outbox.close()


async def test_an_unreachable_database_is_reported_in_time_in_one_line_without_the_password(free_port):
    database = Database(f"postgresql://qa:s3cret@127.0.0.1:{free_port}/calls", patience=0.5)
    began = time.monotonic()

    with pytest.raises(StoreUnavailable) as caught:
        await PostgresStore(database).claim(TOPIC, 3, "w")

    message = str(caught.value)
    assert time.monotonic() - began < 5
    assert message.startswith(
        f"Claiming telephony.audio[3] failed for 0.5 s: PostgreSQL at 127.0.0.1:{free_port}/calls"
    )
    assert "check that it is up" in message
    assert "s3cret" not in message
    assert "\n" not in message


async def test_a_database_that_hangs_is_given_up_in_time(proxy):
    database = Database(proxy.url, patience=0.7)
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    proxy.fault = "hang"

    with pytest.raises(
        StoreUnavailable, match=r"Storing batch 1 of telephony.audio\[3\] failed for 0.7 s: .*does not answer"
    ):
        await store.write(a_batch(claim, 1))

    await database.close()


async def test_ping_tells_at_once_that_nobody_is_there(free_port):
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{free_port}/calls cannot be reached"):
        await Database(f"postgresql://127.0.0.1:{free_port}/calls").ping()


async def test_ping_tells_in_time_that_the_database_hangs(proxy):
    database = Database(proxy.url, patience=0.5)
    await database.ping()
    proxy.fault = "hang"

    with pytest.raises(StoreUnavailable, match="does not answer in time"):
        await database.ping()

    await database.close()


async def test_a_lock_held_for_too_long_is_called_that(database):
    async with database.transaction() as holder:
        await holder.execute(sa.text("LOCK qa.call"))

        async def wait_in_vain() -> None:
            async with database.transaction() as waiter:
                await waiter.execute(sa.text("SET LOCAL lock_timeout = '50ms'"))
                await waiter.execute(sa.text("SELECT FROM qa.call"))

        with pytest.raises(StoreUnavailable, match=r"could not do it now: .*lock timeout.*holds locks"):
            await wait_in_vain()


async def test_an_unknown_database_is_not_tried_again(postgres_url):
    database = Database(with_path(postgres_url, "/no_such_database"), patience=30)
    began = time.monotonic()

    with pytest.raises(StoreUnavailable, match=r"does not let us in: .*no_such_database.*QA_DATABASE_URL"):
        await PostgresStore(database).load_call("x")

    assert time.monotonic() - began < 10


async def test_a_database_without_the_schema_asks_for_the_migration(empty_database_url):
    database = Database(empty_database_url)

    with pytest.raises(SchemaMissing, match="run 'qa-service migrate'"):
        await PostgresStore(database).claim(TOPIC, 3, "w")

    await database.close()


async def test_a_value_out_of_range_is_refused_without_trying_again(database):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")
    began = time.monotonic()

    with pytest.raises(StoreRefused):
        await store.write(a_batch(claim, 1, calls=(a_call(control_offset=1 << 70),)))

    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "body",
    [
        an_utterance(text="my secret sorrow \ud800"),  # no character: asyncpg cannot send it
        an_utterance(text="my secret sorrow", start_pos=1 << 70),
    ],
)
async def test_an_error_message_does_not_repeat_what_was_said(database, body):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 3, "w")

    with pytest.raises(StoreRefused, match=r"invalid input for query argument \$\d+ \(") as caught:
        await store.write(a_batch(claim, 1, entries=(an_entry(1, body),)))

    assert "sorrow" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://localhost/qa", "postgresql://u:s3cret@host:port/x"])
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(url):
    with pytest.raises(StoreRefused, match="looks like postgresql://user:password@host:5432/name") as caught:
        Database(url)

    assert "s3cret" not in str(caught.value)


def test_an_unknown_parameter_of_the_url_is_named():
    with pytest.raises(StoreRefused, match="unknown parameter sslrootcert"):
        Database("postgresql://localhost/qa?sslmode=require&sslrootcert=ca.pem")


async def waiting_for_a_lock(database: Database) -> None:
    """Wait until some statement in the database waits for a lock."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(10), database.transaction() as connection:
        while not await connection.scalar(waiting):
            await asyncio.sleep(0.01)
            await connection.execute(sa.text("SELECT pg_stat_clear_snapshot()"))


async def close_the_other_connections(database: Database) -> None:
    close = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    async with database.transaction() as connection:
        await connection.execute(close)
