"""What the relay can rely on, with the outbox in memory and the one in PostgreSQL alike."""

from __future__ import annotations

import asyncio
import time

import pytest

from qa_service.outbox import TakeBounds
from qa_service.storage.outbox import SHARDS, shard_of
from tests.storage.builders import TOPIC, a_batch, an_event, an_id

ALL = range(SHARDS)


def within(rows: int, *, per_call: int = 1000, without: tuple[str, ...] = ()) -> TakeBounds:
    return TakeBounds(rows=rows, rows_per_call=per_call, without_calls=without)


@pytest.fixture
async def claim(store):
    return await store.claim(TOPIC, 3, "worker-1")


@pytest.fixture
def outbox(backend):
    return backend.outbox()


def names(rows, known="abcdefgh") -> str:
    """The events by the letters they were made from."""
    letters = {an_id(letter): letter for letter in known}
    return "".join(letters[row.event_id] for row in rows)


async def test_events_come_out_as_they_were_written_in_the_order_of_writing(store, claim, outbox):
    events = tuple(
        an_event(name, call, call_seq=seq, topic=topic, type=f"qa.{name}", data=b"\x00\xff{")
        for name, call, seq, topic in [
            ("a", "x", 1, "alerts"),
            ("b", "y", 1, "transcripts"),
            ("c", "x", 2, "alerts"),
        ]
    )
    await store.write(a_batch(claim, 1, outbox=events[:2]))
    await store.write(a_batch(claim, 2, outbox=events[2:]))

    async with outbox.take(ALL, within(100)) as take:
        rows = take.rows

    fields = ("event_id", "call_id", "call_seq", "topic", "type", "data")
    assert [[getattr(e, f) for f in fields] for e in events] == [
        [getattr(r, f) for f in fields] for r in rows
    ]
    assert sorted(row.id for row in rows) == [row.id for row in rows]
    assert all(abs(row.created_at.timestamp() - time.time()) < 60 for row in rows)


async def test_a_take_is_bounded_and_has_the_oldest(store, claim, outbox):
    await store.write(a_batch(claim, outbox=tuple(an_event(name) for name in "abcd")))

    async with outbox.take(ALL, within(2)) as take:
        assert names(take.rows) == "ab"


async def test_a_take_has_the_oldest_of_each_call_and_only_so_many(store, claim, outbox):
    events = [an_event(name, "long") for name in "abcde"] + [an_event(name, "short") for name in "fg"]
    await store.write(a_batch(claim, outbox=tuple(events)))

    async with outbox.take(ALL, within(100, per_call=2)) as take:
        assert names(take.rows) == "abfg"


async def test_a_long_backlog_of_one_call_does_not_fill_a_take(store, claim, outbox):
    events = [an_event(f"{n}", "long") for n in range(7)] + [an_event("g", "short")]
    await store.write(a_batch(claim, outbox=tuple(events)))

    async with outbox.take(ALL, within(2, per_call=1)) as take:
        assert [row.call_id for row in take.rows] == ["long", "short"]


async def test_calls_that_are_left_out_are_not_taken(store, claim, outbox):
    calls = {"a": "stuck", "b": "other", "c": "stuck", "d": "third"}
    await store.write(a_batch(claim, outbox=tuple(an_event(name, call) for name, call in calls.items())))

    async with outbox.take(ALL, within(2, without=("stuck", "unheard of"))) as take:
        assert names(take.rows) == "bd"


async def test_deleted_rows_are_gone_and_the_others_come_again(store, claim, outbox):
    await store.write(a_batch(claim, outbox=tuple(an_event(name) for name in "abcd")))
    async with outbox.take(ALL, within(100)) as take:
        await take.delete([row.id for row in take.rows[:2]])
        await take.delete([take.rows[3].id])
        await take.delete([])

    async with outbox.take(ALL, within(100)) as take:
        assert names(take.rows) == "c"


async def test_an_exception_in_the_block_puts_everything_back(store, claim, outbox):
    await store.write(a_batch(claim, outbox=(an_event("a"),)))

    async def fail_to_publish() -> None:
        async with outbox.take(ALL, within(100)) as take:
            await take.delete([row.id for row in take.rows])
            raise OSError("broker is gone")

    with pytest.raises(OSError, match="broker is gone"):
        await fail_to_publish()

    async with outbox.take(ALL, within(100)) as take:
        assert names(take.rows) == "a"


async def test_only_the_shards_asked_for_are_taken(store, claim, outbox):
    await store.write(a_batch(claim, outbox=(an_event("a", "call-a"), an_event("b", "call-b"))))
    assert shard_of("call-a") != shard_of("call-b")

    async with outbox.take([shard_of("call-b")], within(100)) as take:
        assert take.shards == (shard_of("call-b"),)
        assert names(take.rows) == "b"


async def test_a_shard_is_taken_by_one_relay_at_a_time(backend, store, claim, outbox):
    await store.write(a_batch(claim, outbox=(an_event("a", "call-a"), an_event("b", "call-b"))))
    other = backend.outbox()

    async with outbox.take([shard_of("call-a")], within(100)) as mine:
        assert names(mine.rows) == "a"
        async with other.take(ALL, within(100)) as theirs:
            assert names(theirs.rows) == "b"
            assert shard_of("call-a") not in theirs.shards

    async with other.take(ALL, within(100)) as theirs:
        assert names(theirs.rows) == "ab"


async def test_no_event_is_taken_twice_by_relays_side_by_side(backend, store, claim):
    events = tuple(an_event(f"{n}", f"call-{n % 20}") for n in range(200))
    await store.write(a_batch(claim, outbox=events))
    published = []

    async def relay(shards) -> None:
        outbox = backend.outbox()
        async with asyncio.timeout(30):
            while True:
                async with outbox.take(shards, within(7)) as take:
                    published.extend(take.rows)
                    await take.delete([row.id for row in take.rows])
                    if not take.rows and len(take.shards) == len(shards):
                        return

    await asyncio.gather(*(relay(ALL[n::3]) for n in range(3)), relay(ALL))

    assert {event.event_id for event in events} == {row.event_id for row in published}
    assert len(events) == len(published)
    for n in range(20):
        of_call = [row.id for row in published if row.call_id == f"call-{n}"]
        assert sorted(of_call) == of_call


async def test_a_waiting_relay_is_woken_by_a_write(store, claim, outbox):
    await outbox.wait_for_rows(10)
    async with outbox.take(ALL, within(100)):
        pass
    waiting = asyncio.create_task(outbox.wait_for_rows(20))
    await asyncio.sleep(0)

    began = time.monotonic()
    await store.write(a_batch(claim, outbox=(an_event("a"),)))

    assert await waiting
    assert time.monotonic() - began < 5


async def test_a_write_between_take_and_wait_is_not_missed(store, claim, outbox):
    await outbox.wait_for_rows(10)
    async with outbox.take(ALL, within(100)):
        await store.write(a_batch(claim, outbox=(an_event("a"),)))

    assert await outbox.wait_for_rows(10)


async def test_the_first_wait_returns_at_once_since_rows_may_have_come_before(outbox):
    assert await outbox.wait_for_rows(10)


async def test_a_wait_ends_after_its_time_when_nothing_comes(outbox):
    await outbox.wait_for_rows(10)
    async with outbox.take(ALL, within(100)):
        pass

    assert not await outbox.wait_for_rows(0.05)


async def test_an_outbox_can_be_closed_twice_and_waited_on_again(outbox):
    await outbox.wait_for_rows(10)
    await outbox.close()
    await outbox.close()

    assert await outbox.wait_for_rows(10)


def test_the_shard_of_a_call_is_its_crc_32():
    # 0xCBF43926 is the published check value of CRC-32 for these digits.
    assert shard_of("123456789") == 0xCBF43926 % SHARDS
