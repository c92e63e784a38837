from __future__ import annotations

import copy
from typing import Any

from qa_service.tape.comparing import find_differences

Things = list[dict[str, Any]]


def utterance(ordinal: int, text: str, start_ms: int = 0, leg: str = "customer") -> dict[str, Any]:
    body = {"kind": "utterance", "ordinal": ordinal, "text": text, "final_at": 17 * ordinal}
    return {
        "entry": {
            "call_seq": ordinal,
            "leg_id": leg,
            "start_ms": start_ms,
            "end_ms": start_ms + 500,
            "body": body,
        }
    }


def quiet(start_ms: int) -> dict[str, Any]:
    body = {"kind": "quiet"}
    return {
        "entry": {
            "call_seq": 1,
            "leg_id": "agent",
            "start_ms": start_ms,
            "end_ms": start_ms + 9,
            "body": body,
        }
    }


def incident(rule_id: str, opened_ms: int = 100) -> dict[str, Any]:
    times = {"state": "closed", "opened_ms": opened_ms, "closed_ms": opened_ms + 5000}
    return {"incident": {"incident_id": "x", "rule_id": rule_id, "rule_version": 1, **times}}


OUTCOME = [
    utterance(1, "hello"),
    quiet(0),
    utterance(2, "goodbye", 4000),
    utterance(1, "yes", 2000, leg="agent"),
    incident("anger"),
]


def differences(found: Things) -> list[str]:
    return list(find_differences(OUTCOME, found))


def test_an_outcome_agrees_with_itself() -> None:
    assert differences(copy.deepcopy(OUTCOME)) == []


def test_steps_of_quiet_and_the_order_between_legs_do_not_matter() -> None:
    assert differences([OUTCOME[3], OUTCOME[0], OUTCOME[2], quiet(0), quiet(9), OUTCOME[4]]) == []


def test_times_may_differ_by_frames() -> None:
    assert differences([utterance(1, "hello", 200), *OUTCOME[2:]]) == []


def test_another_text_is_told_with_its_place() -> None:
    assert differences([utterance(1, "hallo"), *OUTCOME[1:]]) == [
        "customer: entry 1: text 'hello' became 'hallo'"
    ]


def test_another_time_is_told() -> None:
    (difference,) = differences([utterance(1, "hello", 251), *OUTCOME[1:]])

    assert difference == "customer: entry 1: end_ms 500 became 751; start_ms 0 became 251"


def test_what_is_missing_and_what_was_added_is_told() -> None:
    (missing,) = differences(OUTCOME[:-1])
    (added,) = differences([*OUTCOME, incident("dead-air")])

    assert missing.startswith("call: incident 1: expected {'rule_id': 'anger'")
    assert added.startswith("call: incident 2: expected None, found {'rule_id': 'dead-air'")
