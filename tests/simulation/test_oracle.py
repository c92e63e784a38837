"""The oracle is shown what a run left behind, altered in one thing, and has to name it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random

import pytest

from qa_service.simulation.loop import VirtualLoop
from qa_service.simulation.oracle import Allowance, find_faults
from qa_service.simulation.script import CallScript
from qa_service.simulation.world import World
from qa_service.testing.store import MemoryStore

SEED = 1
"""Of a run with utterances, gaps, quiet and alarms."""


@pytest.fixture(scope="module")
def finished() -> tuple[list[CallScript], MemoryStore]:
    loop = VirtualLoop()
    world = World(loop, Random(SEED), kinds=(), tell=lambda _: None)
    loop.run_until_complete(world.run())
    assert world.judge() == []
    loop.bury()
    return world.calls, world.around.database.tables


def utterances(store: MemoryStore, least_words: int = 1) -> list[dict]:
    rows = [row for _, row in sorted(store.entries.items()) if row["kind"] == "utterance"]
    return [row for row in rows if len(row["text"].split()) >= least_words and "alarm" not in row["text"]]


def lose_a_word(store: MemoryStore) -> None:
    row = utterances(store, 2)[0]
    row["text"] = " ".join(row["text"].split()[1:])


def double_a_word(store: MemoryStore) -> None:
    row = utterances(store)[0]
    row["text"] += " " + row["text"].split()[-1]


def swap_words(store: MemoryStore) -> None:
    row = utterances(store, 2)[0]
    row["text"] = " ".join(reversed(row["text"].split()))


def invent_a_word(store: MemoryStore) -> None:
    utterances(store)[0]["text"] += " zkkkk"


def drop_an_entry(store: MemoryStore) -> None:
    row = utterances(store)[0]
    del store.entries[row["call_id"], row["call_seq"]]


def drop_the_end_of_a_call(store: MemoryStore) -> None:
    key, _ = max((key, row) for key, row in store.entries.items() if row["kind"] == "call_ended")
    del store.entries[key]


def let_entries_overlap(store: MemoryStore) -> None:
    row = utterances(store)[-1]
    row["start_pos"] = -1


def give_up_for_no_reason(store: MemoryStore) -> None:
    row = next(row for row in store.entries.values() if row["kind"] == "gap")
    row["reason"] = "recogniser_failed"


def number_utterances_anew(store: MemoryStore) -> None:
    utterances(store)[0]["ordinal"] = 7


def lose_an_incident(store: MemoryStore) -> None:
    key = next(key for key, row in store.incidents.items() if row["rule_id"] == "alarm-said")
    del store.incidents[key]


def leave_an_incident_open(store: MemoryStore) -> None:
    next(iter(store.incidents.values()))["state"] = "opened"


def shift_an_incident(store: MemoryStore) -> None:
    next(iter(store.incidents.values()))["opened_ms"] += 1


def lose_an_alert(store: MemoryStore) -> None:
    key = next(key for key, row in store.outbox.items() if row.type == "qa.alert.opened")
    del store.outbox[key]


def lose_the_rules(store: MemoryStore) -> None:
    store.rule_sets.clear()


def store_a_call_that_nobody_made(store: MemoryStore) -> None:
    row = dict(utterances(store)[0], call_id="call-ghost")
    store.entries["call-ghost", row["call_seq"]] = row


def apply_a_record_twice(store: MemoryStore) -> None:
    (call_id, _), row = next(
        (key, row) for key, row in sorted(store.entries.items()) if row["kind"] == "leg_started"
    )
    last = max(number for call, number in store.entries if call == call_id)
    store.entries[call_id, last + 1] = dict(row, call_seq=last + 1)


@pytest.mark.parametrize(
    ("alter", "told"),
    [
        (lose_a_word, "are lost"),
        (double_a_word, "came more than once"),
        (swap_words, "came in the order"),
        (invent_a_word, "were never said"),
        (drop_an_entry, "the log is numbered"),
        (drop_the_end_of_a_call, "the call has not ended"),
        (let_entries_overlap, "overlaps what is covered"),
        (give_up_for_no_reason, "without a reason"),
        (number_utterances_anew, "utterances are numbered"),
        (lose_an_incident, "incidents of alarm-said, not"),
        (leave_an_incident_open, "are still open"),
        (shift_an_incident, "and by the log"),
        (lose_an_alert, "announced by"),
        (lose_the_rules, "is not stored"),
        (store_a_call_that_nobody_made, "nobody published this call"),
        (apply_a_record_twice, "were applied more than once"),
    ],
    ids=lambda part: part.__name__ if callable(part) else "",
)
def test_the_oracle_names(
    finished: tuple[list[CallScript], MemoryStore], alter: Callable[[MemoryStore], None], told: str
) -> None:
    calls, store = finished
    altered = MemoryStore()
    vars(altered).update(copy.deepcopy(vars(store)))
    alter(altered)

    assert any(told in fault for fault in find_faults(calls, altered, Allowance()))


def test_words_said_in_a_pause_must_not_be_there(finished: tuple[list[CallScript], MemoryStore]) -> None:
    calls, store = copy.deepcopy(finished[0]), finished[1]
    leg = next(leg for call in calls for leg in call.legs.values() if leg.words)
    secret = leg.words.pop(0)
    leg.secrets.add(secret)

    assert any("were said in a pause" in fault for fault in find_faults(calls, store, Allowance()))


def test_an_excused_gap_excuses_the_words_in_it(finished: tuple[list[CallScript], MemoryStore]) -> None:
    calls, store = finished
    altered = MemoryStore()
    vars(altered).update(copy.deepcopy(vars(store)))
    row = utterances(altered)[0]
    row.update(kind="gap", reason="recogniser_mute", text=None, ordinal=None)
    found = find_faults(calls, altered, Allowance(gaps=Allowance().gaps | {"recogniser_mute"}))

    assert not any("are lost" in fault for fault in found)
