"""The engine against a naive oracle and other orders of arrival, on rules and dialogues drawn at random.

Two hundred dialogues by default, each judged after each entry; ``QA_RULES_DIALOGUES=20000`` for a long run.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from qa_service.domain.entries import LogEntry
from qa_service.domain.incidents import IncidentChange
from qa_service.rules.ruleset import RuleSet
from tests.rules.dialogues import CALL, shuffle
from tests.rules.generated import draw_log, rule_sets
from tests.rules.oracle import judge, summarise

DIALOGUES = int(os.environ.get("QA_RULES_DIALOGUES", "200"))
RULE_SETS = 400
PARTS = 20
EVERY_EVENT = 2_000
"""So many dialogues are judged after each entry; of further ones a beginning that is drawn, and the whole."""


def run(rules: RuleSet, log: list[LogEntry]) -> list[IncidentChange]:
    call = rules.start(CALL)
    return [change for entry in log for change in call.feed(entry)]


def history(changes: list[IncidentChange]) -> dict[Any, list[Any]]:
    told: dict[Any, list[Any]] = {}
    for change in changes:
        told.setdefault(change.incident_id, []).append(
            (change.n, change.state, change.severity, change.at_ms, change.closed_ms, change.evidence)
        )
    return told


def drawn(seed: int) -> tuple[Random, RuleSet, list[LogEntry]]:
    random = Random(seed)
    return random, random.choice(rule_sets(RULE_SETS)), draw_log(random)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_engine_agrees_with_the_oracle_after_every_event(part: int) -> None:
    for seed in range(part, DIALOGUES, PARTS):
        random, rules, log = drawn(seed)
        every = range(len(log) + 1)
        for cut in every if seed < EVERY_EVENT else (random.choice(every), len(log)):
            expected = judge(rules.rules, log[:cut])

            assert expected == summarise(rules.rules, run(rules, log[:cut])), (seed, cut, rules.source)


@pytest.mark.timeout(3_600)
def test_the_order_in_which_the_legs_entries_arrive_changes_no_incident_and_no_outcome() -> None:
    for seed in range(DIALOGUES):
        random, rules, log = drawn(seed)
        one, other = rules.start(CALL), rules.start(CALL)
        shuffled = shuffle(log, random.getrandbits(32))
        expected = history([change for entry in log for change in one.feed(entry)])

        assert expected == history([change for entry in shuffled for change in other.feed(entry)]), seed
        assert one.outcomes() == other.outcomes(), seed


def test_every_incident_opens_once_then_updates_then_closes_at_most_once() -> None:
    for seed in range(DIALOGUES):
        _, rules, log = drawn(seed)
        for changes in history(run(rules, log)).values():
            states = [change[1] for change in changes]
            assert states[0] == "opened", seed
            assert set(states[1:-1]) <= {"updated"}, seed
            assert "opened" not in states[1:], seed
            assert [change[0] for change in changes] == list(range(1, len(changes) + 1)), seed


def test_replaying_a_log_brings_about_exactly_the_same_changes() -> None:
    for seed in range(0, DIALOGUES, 10):
        _, rules, log = drawn(seed)

        assert run(rules, log) == run(rules, log), seed


def test_what_is_drawn_raises_enough_to_tell() -> None:
    raised = [len({c.incident_id for c in run(rules, log)}) for _, rules, log in map(drawn, range(200))]

    assert sum(count > 0 for count in raised) > 80
