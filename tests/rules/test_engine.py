"""The engine case by case: incidents on one leg, and silence."""

from __future__ import annotations

import pytest

from qa_service.domain.entries import Gap, LogEntry, Quiet, Redaction
from qa_service.domain.incidents import IncidentChange
from qa_service.rules.errors import CallLogError
from qa_service.rules.lifecycle import MAX_EVIDENCE
from qa_service.rules.ruleset import RuleSet, default_rule_set, load_rule_set
from tests.rules.dialogues import CALL, Dialogue, redacted


def rule_set(*conditions: str, incident: str = "{}") -> RuleSet:
    rules = "".join(
        f"- {{id: rule-{number}, version: 1, severity: low, description: d, when: {condition},"
        f" incident: {incident}}}\n"
        for number, condition in enumerate(conditions, start=1)
    )
    return load_rule_set(f"version: 1\nrules:\n{rules}", "test.yaml")


def run(rules: RuleSet, log: list[LogEntry]) -> list[IncidentChange]:
    call = rules.start(CALL)
    return [change for entry in log for change in call.feed(entry)]


def outline(changes: list[IncidentChange]) -> list[tuple[str, int, str]]:
    return [(change.state, change.at_ms, change.anchor) for change in changes]


ANGRY = "{emotion: {leg: customer, is: angry, in: 2 of last 3 utterances, min_confidence: 0.5}}"


def test_sustained_anger_opens_goes_on_and_closes_after_calm() -> None:
    log = Dialogue().begin("customer")
    for number, emotion in enumerate(("angry", "neutral", "angry", "angry", "neutral")):
        log.feel("customer", emotion, number * 5_000, number * 5_000 + 3_000)
    log.hush("customer", 60_000)
    changes = run(rule_set(ANGRY, incident="{close_after: 20s}"), log.entries)

    expected = [
        ("opened", 13_000, "customer:1"),
        ("updated", 18_000, "customer:1"),
        ("closed", 38_000, "customer:1"),
    ]
    assert expected == outline(changes)
    assert [len(change.evidence) for change in changes] == [2, 3, 3]
    assert changes[0].evidence[0].emotion_confidence == 0.9
    assert changes[0].evidence[0].engine == "engine"


def test_a_lone_angry_utterance_does_not_prolong_an_incident_but_counts_with_the_next() -> None:
    log = Dialogue().begin("customer")
    for number, emotion in enumerate(("angry", "angry", "sad", "sad", "angry", "angry")):
        log.feel("customer", emotion, number * 1_000, number * 1_000 + 900)
    changes = run(rule_set(ANGRY), log.entries)

    assert outline(changes) == [("opened", 1_900, "customer:1"), ("updated", 5_900, "customer:1")]
    assert [piece.start_ms for piece in changes[-1].evidence] == [0, 1_000, 4_000, 5_000]


def test_one_angry_utterance_raises_nothing() -> None:
    log = Dialogue().begin("customer").feel("customer", "angry", 0, 3_000).hush("customer", 90_000)

    assert run(rule_set(ANGRY), log.entries) == []


def test_abstained_utterances_take_up_a_place_but_never_count() -> None:
    log = Dialogue().begin("customer").feel("customer", "angry", 0, 1_000)
    for number in (1, 2):
        log.say("customer", "x", number * 1_000, number * 1_000 + 900, emotion_abstained=True)
    log.feel("customer", "angry", 4_000, 5_000)

    assert run(rule_set(ANGRY), log.entries) == []


@pytest.mark.parametrize(("if_missing", "expected"), [("pass", 1), ("fail", 0)])
def test_a_label_without_confidence_counts_as_the_rule_says(if_missing: str, expected: int) -> None:
    log = Dialogue().begin("customer")
    log.feel("customer", "angry", 0, 1_000, None).feel("customer", "angry", 1_000, 2_000, None)
    rules = rule_set(ANGRY.replace("}}", f", if_missing: {if_missing}}}}}"))

    assert expected == len(run(rules, log.entries))


def test_low_confidence_does_not_count() -> None:
    log = Dialogue().begin("customer")
    log.feel("customer", "angry", 0, 1_000, 0.49).feel("customer", "angry", 1_000, 2_000, 0.49)

    assert run(rule_set(ANGRY), log.entries) == []


TOP = "{emotion: {leg: customer, is: angry, rank: top 3%, in: 1 of last 1 utterance}}"
DAILY = "{emotion: {leg: customer, is: angry, at_most: 20 a day, in: 1 of last 1 utterance}}"


def felt(emotion: str | None = "angry", **anger: float | None) -> list[LogEntry]:
    """A log of one utterance, ranked like this."""
    told = {"emotion": emotion, "emotion_confidence": None if emotion is None else 0.9, **anger}
    abstained = emotion is None and anger != {}
    return (
        Dialogue()
        .begin("customer")
        .say("customer", "x", 0, 1_000, emotion_abstained=abstained, **told)
        .entries
    )


@pytest.mark.parametrize(("rank", "expected"), [(0.0, 1), (0.03, 1), (0.0301, 0), (None, 1)])
def test_anger_counts_by_its_rank_in_the_service(rank: float | None, expected: int) -> None:
    changes = run(rule_set(TOP), felt(anger_rank=rank))

    assert expected == len(changes)
    assert [piece.anger_rank for change in changes for piece in change.evidence] == [rank] * expected


@pytest.mark.parametrize(("daily", "expected"), [(0.0, 1), (20.0, 1), (20.1, 0), (None, 1)])
def test_anger_counts_by_how_many_a_day_are_as_angry(daily: float | None, expected: int) -> None:
    assert expected == len(run(rule_set(DAILY), felt(anger_daily=daily)))


@pytest.mark.parametrize("rule", [TOP, DAILY])
def test_a_label_without_rank_counts_as_the_rule_says(rule: str) -> None:
    assert run(rule_set(rule.replace("}}", ", if_missing: fail}}")), felt()) == []


def test_rank_does_without_a_label_but_not_without_a_rank() -> None:
    rule = TOP.replace("is: angry, ", "")

    assert len(run(rule_set(rule), felt(None, anger_rank=0.01))) == 1
    assert len(run(rule_set(rule), felt("happy", anger_rank=0.01))) == 1
    assert run(rule_set(rule), felt(None)) == []
    assert run(rule_set(rule), felt("angry")) == []


def test_a_high_rank_of_another_label_is_no_anger() -> None:
    assert run(rule_set(TOP), felt("happy", anger_rank=0.0)) == []


def test_anger_of_two_customers_is_not_added_up() -> None:
    log = Dialogue().begin("customer", "customer-2")
    log.feel("customer", "angry", 0, 1_000).feel("customer-2", "angry", 0, 1_000)

    assert run(rule_set(ANGRY), log.entries) == []


def test_a_role_counts_from_when_it_changes() -> None:
    rules = rule_set("{said: {leg: agent, any_of: [hello]}}")
    log = Dialogue().begin().start("agent", role="other")
    log.say("agent", "hello", 0, 1_000).update("agent", "agent").say("agent", "hello", 2_000, 3_000)

    assert [change.anchor for change in run(rules, log.entries)] == ["agent:2"]


def test_within_the_cooldown_nothing_is_opened_and_after_it_a_new_incident() -> None:
    rules = rule_set("{said: {leg: agent, any_of: [hello]}}", incident="{close_after: 1s, cooldown: 10s}")
    log = Dialogue().begin("agent")
    for start in (0, 5_000, 11_000, 20_000):
        log.say("agent", "hello", start, start + 1_000)
    log.end("agent")

    expected = [
        ("opened", 1_000, "agent:1"),
        ("closed", 2_000, "agent:1"),
        ("opened", 12_000, "agent:3"),
        ("closed", 13_000, "agent:3"),
    ]
    assert expected == outline(run(rules, log.entries))


def test_an_incident_goes_on_by_speech_that_began_before_its_time() -> None:
    rules = rule_set("{said: {leg: agent, any_of: [hello]}}", incident="{close_after: 5s}")
    log = Dialogue().begin("agent").say("agent", "hello", 0, 1_000).say("agent", "hello", 5_900, 9_000)

    assert [change.state for change in run(rules, log.entries)] == ["opened", "updated"]


def test_the_end_of_the_leg_closes_its_incidents() -> None:
    rules = rule_set("{said: {leg: agent, any_of: [hello]}}")
    log = Dialogue().begin("agent").say("agent", "hello", 0, 1_000).end("agent").end_call()

    expected = [("opened", 1_000, "agent:1"), ("closed", 1_000, "agent:1")]
    assert expected == outline(run(rules, log.entries))


def test_what_redaction_took_out_is_a_number_and_no_words() -> None:
    rules = rule_set(
        "{said: {leg: any, any_of: ['card number']}}", "{said: {leg: any, any_of: ['is [num]']}}"
    )
    log = redacted(
        Dialogue().begin("customer"), "customer", "it is [card number]", Redaction("card_number", 6, 19)
    )

    assert [change.rule_id for change in run(rules, log.entries)] == ["rule-2"]


DEAD_AIR = "{silence: {of: call, longer_than: 10s}}"


def test_dead_air_opens_once_both_legs_are_known_silent_and_closes_with_speech() -> None:
    rules = rule_set(DEAD_AIR)
    call = rules.start(CALL)
    log = Dialogue().begin("customer", "agent")
    log.say("agent", "one moment", 0, 2_000).hush("customer", 20_000)
    before = [change for entry in log.entries for change in call.feed(entry)]
    log.hush("agent", 12_001).say("agent", "here I am", 30_000, 31_000)
    log.hush("customer", 40_000)
    after = [change for entry in log.entries[5:] for change in call.feed(entry)]

    assert before == []
    expected = [("opened", 12_000, "2000"), ("closed", 30_000, "2000")]
    assert expected == outline(after)
    evidence = after[-1].evidence
    assert [(e.utterance_id, e.leg, e.start_ms, e.end_ms) for e in evidence] == [(None, None, 2_000, 30_000)]


def test_silence_of_exactly_the_threshold_is_not_longer() -> None:
    log = Dialogue().begin("agent").hush("agent", 10_000).say("agent", "x", 10_000, 11_000)

    assert run(rule_set(DEAD_AIR), log.entries) == []


@pytest.mark.parametrize("reason", ["lost", "paused", "recogniser_failed", "capacity", "recogniser_mute"])
def test_silence_is_not_counted_over_a_gap(reason: str) -> None:
    log = Dialogue().begin("agent").hush("agent", 9_000).lose("agent", 9_200, reason).hush("agent", 18_000)

    assert run(rule_set(DEAD_AIR), log.entries) == []


def test_hold_is_silence() -> None:
    log = Dialogue().begin("agent").hush("agent", 4_000).lose("agent", 15_000, "not_sent")

    assert outline(run(rule_set(DEAD_AIR), log.entries)) == [("opened", 10_000, "0")]


def test_a_leg_that_has_ended_is_silent() -> None:
    log = Dialogue().begin("agent", "customer").say("customer", "bye", 0, 1_000).end("customer")
    log.hush("agent", 15_000)

    assert outline(run(rule_set(DEAD_AIR), log.entries)) == [("opened", 11_000, "1000")]


def test_the_end_of_the_call_closes_dead_air() -> None:
    log = Dialogue().begin("agent").hush("agent", 15_000).end("agent").end_call()

    expected = [("opened", 10_000, "0"), ("closed", 15_000, "0")]
    assert expected == outline(run(rule_set(DEAD_AIR), log.entries))


def test_silence_of_a_role_is_that_of_its_leg_alone() -> None:
    rules = rule_set("{silence: {of: customer, longer_than: 10s}}")
    log = Dialogue().begin("agent", "customer").say("agent", "talking", 0, 20_000).hush("customer", 12_000)

    assert outline(run(rules, log.entries)) == [("opened", 10_000, "customer@0")]


def test_silence_that_outlasts_the_cooldown_is_reported_when_it_is_over() -> None:
    rules = rule_set(DEAD_AIR, incident="{cooldown: 15s}")
    log = Dialogue().begin("agent").hush("agent", 11_000).say("agent", "x", 11_000, 12_000)
    log.hush("agent", 60_000)

    expected = [("opened", 10_000, "0"), ("closed", 11_000, "0"), ("opened", 26_000, "12000")]
    assert expected == outline(run(rules, log.entries))


def test_evidence_stays_small_and_keeps_the_beginning() -> None:
    rules = rule_set("{said: {leg: agent, any_of: [hello]}}")
    log = Dialogue().begin("agent")
    for number in range(100):
        log.say("agent", "hello", number * 1_000, number * 1_000 + 900)
    last = run(rules, log.entries)[-1]

    assert len(last.evidence) == MAX_EVIDENCE
    assert (last.evidence[0].start_ms, last.evidence[-1].start_ms) == (0, 99_000)


def test_what_is_said_before_the_call_s_first_record_counts_too() -> None:
    rules = rule_set("{said: {leg: any, any_of: ['i guarantee']}}", "{silence: {of: agent, longer_than: 5s}}")
    log = Dialogue().begin().start("agent", -20_000)
    log.say("agent", "I guarantee it.", -20_000, -19_000).hush("agent", -1_000)

    opened = [(change.rule_id, change.opened_ms) for change in run(rules, log.entries)]
    assert opened[:1] == [("rule-1", -19_000)]
    assert ("rule-2", -14_000) in opened


@pytest.mark.parametrize("leg", ["ghost", None])
def test_an_entry_of_a_leg_that_never_started_is_the_writers_fault(leg: str | None) -> None:
    body = Quiet(start_pos=0, end_pos=0, time_source="gate")
    entry = LogEntry(call_id=CALL, call_seq=7, leg_id=leg, start_ms=0, end_ms=1, body=body)

    with pytest.raises(CallLogError, match=r"entry 7 \(Quiet\) of call 'call-1'"):
        default_rule_set().start(CALL).feed(entry)


def test_the_first_rule_set_raises_what_it_is_for() -> None:
    log = Dialogue().begin("customer", "agent")
    log.say("agent", "Hello, this call may be recorded.", 0, 3_000)
    log.say("customer", "I'd like to cancel my contract!", 3_500, 6_000, emotion="angry")
    log.say("agent", "Calm down, I guarantee it will get better.", 6_000, 9_000)
    log.say("customer", "Nein. Ich kündige. Sofort!", 9_500, 12_000, emotion="angry", emotion_confidence=0.8)
    log.hush("agent", 30_000).add("customer", 12_000, 30_000, Gap(reason="not_sent", start_pos=0, end_pos=0))

    expected = {
        "recording-notice",
        "cancellation-request",
        "forbidden-promise",
        "agent-conduct",
        "angry-customer",
        "dead-air",
    }
    assert expected == {change.rule_id for change in run(default_rule_set(), log.entries)}
