"""A verdict that cannot find anything would be worth nothing."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from qa_service.domain.entries import Body, CallEnded, CallStarted, Gap, LogEntry, Quiet, Utterance
from tests.chaos.calls import LiveCall, Word
from tests.chaos.verdict import judge_alerts, judge_incidents, judge_log


def a_call() -> LiveCall:
    """Of four seconds: the customer says two words, the agent one."""
    call = LiveCall("call-1", seed=0, ticks=20)
    call.said = {"customer": [Word("zb", 400), Word("alarm", 600)], "agent": [Word("zc", 2000)]}
    call.incidents["alarm"] = 1
    return call


def utterance(text: str, start_pos: int, end_pos: int) -> Utterance:
    return Utterance(
        utterance_id=uuid.uuid4(),
        ordinal=1,
        text=text,
        language="en",
        emotion=None,
        emotion_confidence=None,
        emotion_abstained=False,
        start_pos=start_pos,
        end_pos=end_pos,
        time_source="server",
        engine=None,
        model=None,
    )


def quiet(start_pos: int, end_pos: int) -> Quiet:
    return Quiet(start_pos=start_pos, end_pos=end_pos, time_source="progress")


def a_log() -> list[LogEntry]:
    """What becomes of it."""
    bodies: list[tuple[str | None, Body]] = [
        (None, CallStarted(rule_set_hash="h", origin_ts=0)),
        ("customer", utterance("zb alarm", 2400, 8000)),
        ("agent", quiet(0, 8000)),
        ("customer", quiet(8000, 32_000)),
        ("agent", utterance("zc", 14_000, 20_000)),
        ("agent", quiet(20_000, 32_000)),
        (None, CallEnded()),
    ]
    return [
        LogEntry(call_id="call-1", call_seq=n, leg_id=leg, start_ms=0, end_ms=0, body=body)
        for n, (leg, body) in enumerate(bodies, start=1)
    ]


def changed(log: list[LogEntry], number: int, **fields: Any) -> None:
    """Change the body of one entry."""
    log[number] = msgspec.structs.replace(
        log[number], body=msgspec.structs.replace(log[number].body, **fields)
    )


def test_what_came_out_right_is_found_right() -> None:
    assert list(judge_log(a_call(), a_log())) == []


def lose_a_word(log: list[LogEntry]) -> None:
    changed(log, 1, text="zb")


def double_a_word(log: list[LogEntry]) -> None:
    changed(log, 4, text="zc zc")


def misplace_a_word(log: list[LogEntry]) -> None:
    changed(log, 4, start_pos=17_000)


def leave_a_hole_at_the_end(log: list[LogEntry]) -> None:
    changed(log, 3, end_pos=30_000)


def overlap(log: list[LogEntry]) -> None:
    changed(log, 3, start_pos=7000)


def write_a_gap(log: list[LogEntry]) -> None:
    gap = Gap(reason="recogniser_failed", start_pos=8000, end_pos=32_000)
    log[3] = msgspec.structs.replace(log[3], body=gap)


def skip_an_ordinal(log: list[LogEntry]) -> None:
    changed(log, 4, ordinal=2)


def forget_an_entry(log: list[LogEntry]) -> None:
    del log[2]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lose_a_word, "2 words were said and 1 are stored; from word 1 on ['alarm'] became []"),
        (double_a_word, "1 words were said and 2 are stored"),
        (misplace_a_word, "stands in an utterance from 2125 to 2500 ms"),
        (leave_a_hole_at_the_end, "covered up to 30000 of 32000 samples"),
        (overlap, "overlaps what is covered up to 8000"),
        (write_a_gap, "says that something was not heard"),
        (skip_an_ordinal, "numbered with holes"),
        (forget_an_entry, "its log has holes"),
    ],
)
def test_what_came_out_wrong_is_found(break_it: Callable[[list[LogEntry]], None], says: str) -> None:
    log = a_log()
    break_it(log)

    assert any(says in fault for fault in judge_log(a_call(), log))


INCIDENT = {"incident_id": "i", "rule_id": "alarm", "state": "closed"}


@pytest.mark.parametrize(
    ("incidents", "says"),
    [
        ([], "incidents {}, not {'alarm': 1}"),
        ([INCIDENT, INCIDENT | {"incident_id": "j"}], "incidents {'alarm': 2}, not {'alarm': 1}"),
        ([INCIDENT | {"state": "opened"}], "incidents of ['alarm'] are still open"),
    ],
)
def test_incidents_that_are_missing_doubled_or_open_are_found(
    incidents: list[dict[str, Any]], says: str
) -> None:
    assert list(judge_incidents(a_call(), [INCIDENT])) == []
    assert list(judge_incidents(a_call(), incidents)) == [says]


def event(event_id: str, kind: str) -> dict[str, Any]:
    return {"id": event_id, "type": f"qa.alert.{kind}", "data": {"incident_id": "i"}}


RIGHT = [event("1", "opened"), event("2", "updated"), event("3", "closed")]


def test_alerts_may_come_again() -> None:
    assert list(judge_alerts([INCIDENT], [*RIGHT[:2], *copy.deepcopy(RIGHT)])) == []


@pytest.mark.parametrize(
    "events",
    [
        [],
        RIGHT[1:],
        RIGHT[:2],
        [RIGHT[2], RIGHT[0]],
        [RIGHT[0], event("4", "opened"), RIGHT[2]],
        [RIGHT[0], event("4", "closed"), RIGHT[2]],
    ],
)
def test_alerts_that_are_missing_doubled_or_in_disorder_are_found(events: list[dict[str, Any]]) -> None:
    assert len(list(judge_alerts([INCIDENT], events))) == 1
