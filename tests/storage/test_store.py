"""What any store does, the one in memory and the one in PostgreSQL alike."""

from __future__ import annotations

import msgspec
import pytest

from qa_service.domain.writes import StoredCall
from qa_service.outbox import TakeBounds
from qa_service.storage.errors import CallsElsewhere, Fenced, StoreRefused, WriteOutOfOrder
from tests.storage.builders import (
    TOPIC,
    a_batch,
    a_call,
    a_leg,
    a_started_leg,
    an_entry,
    an_event,
    an_id,
    an_incident,
    an_utterance,
    every_kind_of_entry,
)

replace = msgspec.structs.replace


async def events_waiting(backend) -> list:
    async with backend.outbox().take(range(64), TakeBounds(rows=1000, rows_per_call=1000)) as take:
        return [row.event_id for row in take.rows]


async def test_the_first_claim_of_a_partition_finds_nothing(store):
    claim = await store.claim(TOPIC, 3, "worker-1")

    assert (claim.epoch, claim.write_seq, claim.next_offset) == (1, 0, None)
    assert (claim.topic, claim.partition) == (TOPIC, 3)


async def test_a_later_claim_raises_the_epoch_and_finds_what_was_stored(store):
    first = await store.claim(TOPIC, 3, "worker-1")
    await store.write(a_batch(first, 1))
    await store.write(a_batch(first, 2, next_offset=777))

    second = await store.claim(TOPIC, 3, "worker-2")

    assert (second.epoch, second.write_seq, second.next_offset) == (2, 2, 777)


async def test_partitions_are_claimed_apart(store):
    await store.claim(TOPIC, 1, "worker-1")

    claim = await store.claim(TOPIC, 2, "worker-1")

    assert claim.epoch == 1


async def test_a_live_call_comes_back_as_it_was_written(store):
    claim = await store.claim(TOPIC, 3, "worker-1")
    written = StoredCall(
        topic=TOPIC,
        partition=3,
        call=a_call(call_seq=8),
        legs=(a_leg("agent", role="agent", agent_id="a-7"), a_leg("customer")),
        entries=every_kind_of_entry(),
    )
    await store.write(a_batch(claim, calls=(written.call,), legs=written.legs, entries=written.entries))

    assert (written,) == await store.load_calls(TOPIC, 3)
    assert written == await store.load_call("call-1")


async def test_only_live_calls_of_the_partition_are_loaded(store):
    here, elsewhere = await store.claim(TOPIC, 3, "w"), await store.claim(TOPIC, 4, "w")
    await store.write(a_batch(here, calls=(a_call("b"), a_call("over", ended=True), a_call("a"))))
    await store.write(a_batch(elsewhere, calls=(a_call("c"),)))

    assert [found.call.call_id for found in await store.load_calls(TOPIC, 3)] == ["a", "b"]


async def test_an_ended_call_can_still_be_loaded_by_its_id(store):
    claim = await store.claim(TOPIC, 3, "w")
    await store.write(a_batch(claim, calls=(a_call(ended=True),)))

    found = await store.load_call("call-1")

    assert found is not None
    assert found.call.ended


async def test_an_unknown_call_is_none(store):
    assert await store.load_call("never heard of") is None


async def test_newer_rows_of_a_call_and_a_leg_replace_the_stored_ones(store):
    claim = await store.claim(TOPIC, 3, "w")
    await store.write(a_batch(claim, 1, calls=(a_call(),), legs=(a_leg(),)))
    call, leg = a_call(call_seq=9), a_leg(covered_until=99, role="other", attributes={})
    await store.write(a_batch(claim, 2, calls=(a_call(call_seq=5), call), legs=(a_leg(), leg)))

    assert (
        StoredCall(topic=TOPIC, partition=3, call=call, legs=(leg,), entries=()),
    ) == await store.load_calls(TOPIC, 3)


async def test_the_log_grows_batch_by_batch_and_is_loaded_in_order(store):
    claim = await store.claim(TOPIC, 3, "w")
    log = every_kind_of_entry()
    await store.write(a_batch(claim, 1, calls=(a_call(),), entries=log[:3]))
    await store.write(a_batch(claim, 2, calls=(a_call(),), entries=log[3:]))

    found = await store.load_call("call-1")

    assert found is not None
    assert log == found.entries


async def test_each_claim_has_a_token_and_knows_the_one_before(store):
    first = await store.claim(TOPIC, 3, "worker-1")
    second = await store.claim(TOPIC, 3, "worker-1")

    assert first.former_token is None
    assert second.former_token == first.token != second.token


async def test_a_claim_of_the_same_epoch_from_another_past_writes_nothing(store):
    claim = await store.claim(TOPIC, 3, "worker-1")
    stale = replace(a_batch(claim), token=an_id("of a past that was undone"))

    with pytest.raises(Fenced):
        await store.write(stale)
    await store.write(a_batch(claim))


async def test_a_call_belongs_to_the_partition_that_stored_it_first(store):
    here, elsewhere = await store.claim(TOPIC, 3, "w"), await store.claim(TOPIC, 4, "w")
    await store.write(a_batch(here, 1, calls=(a_call(),), entries=every_kind_of_entry()[:1]))
    both = a_batch(elsewhere, 1, calls=(a_call(call_seq=9), a_call("call-2")), legs=(a_leg(),))

    with pytest.raises(CallsElsewhere) as caught:
        await store.write(both)

    assert caught.value.call_ids == {"call-1"}
    assert (await store.load_call("call-1")).call == a_call()
    assert await store.load_call("call-2") is None
    await store.write(replace(both, calls=(a_call("call-2"),), legs=()))
    assert (await store.load_call("call-2")).partition == 4


async def test_a_former_owner_is_fenced_off_and_writes_nothing(store, backend):
    former = await store.claim(TOPIC, 3, "worker-1")
    await store.write(a_batch(former, 1))
    newer = await store.claim(TOPIC, 3, "worker-2")
    late = a_batch(former, 2, calls=(a_call(),), outbox=(an_event(),))

    with pytest.raises(Fenced) as caught:
        await store.write(late)

    assert (TOPIC, 3, former.epoch) == (caught.value.topic, caught.value.partition, caught.value.epoch)
    assert await store.load_call("call-1") is None
    assert await events_waiting(backend) == []
    await store.write(a_batch(newer, 1))


async def test_even_a_repeated_batch_of_a_former_owner_is_fenced_off(store):
    former = await store.claim(TOPIC, 3, "worker-1")
    await store.write(a_batch(former, 1))
    await store.claim(TOPIC, 3, "worker-2")

    with pytest.raises(Fenced):
        await store.write(a_batch(former, 1))


async def test_nobody_writes_without_a_claim(store):
    claim = await store.claim(TOPIC, 3, "worker-1")

    with pytest.raises(Fenced, match=r"telephony.audio\[4\]: claim 1 is no longer valid"):
        await store.write(a_batch(replace(claim, partition=4)))


async def test_a_repeated_batch_is_stored_once(store, backend):
    claim = await store.claim(TOPIC, 3, "w")
    batch = a_batch(
        claim,
        calls=(a_call(),),
        legs=(a_leg(),),
        entries=every_kind_of_entry(),
        incidents=(an_incident(),),
        outbox=(an_event(),),
    )

    await store.write(batch)
    await store.write(batch)

    found = await store.load_call("call-1")
    assert found is not None
    assert every_kind_of_entry() == found.entries
    assert [an_id("event-1")] == await events_waiting(backend)


@pytest.mark.parametrize("nth", [0, 3])
async def test_a_batch_that_does_not_follow_is_refused(store, nth):
    claim = await store.claim(TOPIC, 3, "w")
    await store.write(a_batch(claim, 1))

    with pytest.raises(WriteOutOfOrder, match=f"batch {nth} does not follow batch 1"):
        await store.write(a_batch(claim, nth, calls=(a_call(),)))

    assert await store.load_call("call-1") is None


@pytest.mark.parametrize(
    "again",
    [
        an_entry(1, a_started_leg()),
        an_entry(9, an_utterance(1)),
    ],
    ids=["a number of the log", "an utterance"],
)
async def test_what_is_in_the_log_cannot_be_written_again_and_takes_its_batch_with_it(store, again):
    claim = await store.claim(TOPIC, 3, "w")
    await store.write(a_batch(claim, 1, calls=(a_call(),), entries=every_kind_of_entry()))

    with pytest.raises(StoreRefused):
        await store.write(a_batch(claim, 2, calls=(a_call("call-2"),), entries=(again,)))

    assert await store.load_call("call-2") is None
    await store.write(a_batch(claim, 2, calls=(a_call("call-2"),)))


async def test_an_incident_keeps_its_newest_state_and_its_opening(backend, store):
    claim = await store.claim(TOPIC, 3, "w")
    opened = an_incident(1, opened_ms=1000)
    updated = an_incident(2, state="updated", opened_ms=5555)
    closed = an_incident(3, state="closed", opened_ms=5555, closed_ms=3000)

    await store.write(a_batch(claim, 1, incidents=(opened,)))
    await store.write(a_batch(claim, 2, incidents=(closed, updated)))

    assert await backend.incident_of(opened.incident_id) == ("closed", 3, 1000)


async def test_an_older_state_of_an_incident_changes_nothing(backend, store):
    claim = await store.claim(TOPIC, 3, "w")
    await store.write(a_batch(claim, 1, incidents=(an_incident(3, state="closed", closed_ms=3000),)))
    await store.write(a_batch(claim, 2, incidents=(an_incident(2, state="updated"),)))

    assert await backend.incident_of(an_id("incident-1")) == ("closed", 3, 1000)


async def test_a_repeated_event_waits_once(backend, store):
    claim = await store.claim(TOPIC, 3, "w")
    await store.write(a_batch(claim, 1, outbox=(an_event("x"), an_event("y"), an_event("x"))))
    await store.write(a_batch(claim, 2, outbox=(an_event("y"), an_event("z"))))

    assert [an_id("x"), an_id("y"), an_id("z")] == await events_waiting(backend)


async def test_a_character_that_postgres_cannot_hold_is_replaced(store):
    claim = await store.claim(TOPIC, 3, "w")
    text = "a\x00b \\u0000"
    leg = a_leg(agent_id="x\x00", attributes={"k\x00": text, "n": 1})
    entries = (
        an_entry(1, a_started_leg(agent_id="x\x00", attributes={"k\x00": text, "n": 1})),
        an_entry(2, an_utterance(text=text)),
    )
    await store.write(a_batch(claim, calls=(a_call(),), legs=(leg,), entries=entries))

    found = await store.load_call("call-1")

    clean = "a\ufffdb \\u0000"
    assert found is not None
    assert (replace(leg, agent_id="x\ufffd", attributes={"k\ufffd": clean, "n": 1}),) == found.legs
    started, said = (entry.body for entry in found.entries)
    assert {"k\ufffd": clean, "n": 1} == started.attributes
    assert clean == said.text


async def test_a_rule_set_is_kept_by_its_hash(store):
    await store.save_rule_set("abc", "rules: []\n")
    await store.save_rule_set("abc", "something else")

    assert await store.rule_set("abc") == "rules: []\n"
    assert await store.rule_set("unknown") is None


async def test_a_store_that_is_up_answers(store):
    await store.ping()
