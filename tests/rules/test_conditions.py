"""Each thing that a rule can say, by one call in which it matters; ``docs/rules.md`` names these tests."""

from __future__ import annotations

from typing import Any

import pytest

from qa_service.bench.rules import weigh
from qa_service.domain.entries import EarlyWords, LogEntry
from qa_service.domain.incidents import IncidentChange
from qa_service.rules.language import RuleOutcome
from qa_service.rules.ruleset import RuleSet, load_rule_set
from tests.rules.dialogues import CALL, Dialogue, shuffle


def rule(when: str, more: str = "") -> RuleSet:
    source = (
        f"version: 1\nrules:\n- {{id: it, version: 1, severity: low, description: d, when: {when}{more}}}\n"
    )
    return load_rule_set(source, "test.yaml")


def run(rules: RuleSet, log: Dialogue | list[LogEntry]) -> list[IncidentChange]:
    call = rules.start(CALL)
    entries = log.entries if isinstance(log, Dialogue) else log
    return [change for entry in entries for change in call.feed(entry)]


def opened(rules: RuleSet, log: Dialogue) -> list[int]:
    return [change.at_ms for change in run(rules, log) if change.state == "opened"]


def outcome(rules: RuleSet, log: Dialogue) -> RuleOutcome:
    call = rules.start(CALL)
    for entry in log.entries:
        call.feed(entry)
    return call.outcomes()["it"]


def call(*legs: str) -> Dialogue:
    return Dialogue().begin(*(legs or ("customer", "agent")))


def over(log: Dialogue, at_ms: int) -> Dialogue:
    """Let both legs be heard up to a time, and end the call."""
    for leg in list(log._ends):
        if log._ends[leg] < at_ms:
            log.hush(leg, at_ms)
    return log.end_call()


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "text", "expected"),
    [
        ("words: [offer, discount]", "a discount for you", True),
        ("any_of: ['cancel * contract']", "cancel, please, my contract", True),
        ("all_of: [cancel, contract]", "the contract, cancel it", True),
        ("all_of: [cancel, contract]", "cancel it", False),
        ("any_of: [cancel], not: ['do not']", "do not cancel", False),
        ("any_of: ['pay [num] euros']", "pay twenty five euros", True),
        ("any_of: ['等了[num]分钟']", "我等了二十分钟", True),
        ("any_of: [取消*合同]", "我想取消我的合同", True),
        ("any_of: [解約したい]", "もう解約したいんです", True),
        ("any_of: [ยกเลิก]", "ฉันต้องการยกเลิกสัญญา", True),
        ("any_of: [kündigen]", "ICH WILL KUNDIGEN", True),
    ],
)
def test_words_phrases_and_word_lists_in_any_script(when: str, text: str, *, expected: bool) -> None:
    log = call().say("customer", text, 0, 1_000)

    assert bool(opened(rule(f"{{said: {{leg: customer, {when}}}}}"), log)) is expected


def test_a_named_list_stands_for_its_phrases() -> None:
    source = (
        "version: 1\nlists: {leave: ['cancel my *', bye]}\nrules:\n"
        "- {id: it, version: 1, severity: low, description: d,"
        " when: {said: {leg: customer, any_of: [{list: leave}, stop]}}}\n"
    )
    log = call().say("customer", "bye", 0, 1_000)

    assert opened(load_rule_set(source, "a.yaml"), log) == [1_000]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("This CALL may be recorded", True), ("the call is recorded, not really", False), ("call", False)],
)
def test_a_regex_with_an_excluding_regex(text: str, *, expected: bool) -> None:
    rules = rule("{said: {leg: agent, regex: 'call (is|may be) recorded', excluding: 'not '}}")

    assert bool(opened(rules, call().say("agent", text, 0, 1_000))) is expected


def test_no_regex_can_stall_the_service() -> None:
    rules = rule("{said: {leg: agent, regex: '(a|aa|a?)*$|(x+x+)+y'}}")

    assert opened(rules, call().say("agent", "x" * 50_000, 0, 1_000)) == [1_000]


def test_words_of_one_language_are_looked_for_in_it_alone() -> None:
    rules = rule("{said: {leg: agent, words: [gift], language: [en]}}")
    log = call().say("agent", "das Gift", 0, 1_000, language="de").say("agent", "a gift", 2_000, 3_000)

    assert opened(rules, log) == [3_000]


NEAR = "{near: {leg: agent, a: ['guarantee*'], b: [refund], within: 4 words}}"
NOT_NEAR = "{near: {leg: agent, a: [hold], not: [please], within: 3 words}}"


def test_words_near_others_across_utterances_of_the_same_speaker() -> None:
    log = call().say("agent", "I guarantee you", 0, 1_000).say("customer", "refund", 1_000, 2_000)
    log.say("agent", "a full refund", 2_000, 3_000)
    changes = run(rule(NEAR), log)

    assert [change.at_ms for change in changes] == [3_000]
    assert [piece.text for piece in changes[0].evidence] == ["I guarantee you", "a full refund"]
    far = (
        call()
        .say("agent", "I guarantee it one two three four", 0, 1_000)
        .say("agent", "refund", 1_000, 2_000)
    )
    assert opened(rule(NEAR), far) == []


def test_words_that_are_not_near_others() -> None:
    unkind = call().say("agent", "hold", 0, 1_000).say("agent", "the line now", 2_000, 3_000)
    kind = call().say("agent", "hold", 0, 1_000).say("agent", "please", 2_000, 3_000)
    silent = call().say("agent", "hold", 0, 1_000).hush("agent", 31_001).hush("customer", 31_001)
    lost = call().say("agent", "hold", 0, 1_000).lose("agent", 3_000).hush("agent", 60_000)

    assert opened(rule(NOT_NEAR), unkind) == [1_000]
    assert opened(rule(NOT_NEAR), kind) == []
    assert opened(rule(NOT_NEAR), silent) == [1_000]
    assert opened(rule(NOT_NEAR), lost) == []


@pytest.mark.parametrize(("window", "expected"), [("10s", [9_000]), ("3 utterances", []), ("call", [9_000])])
def test_a_condition_repeated_within_a_time_or_a_number_of_utterances(
    window: str, expected: list[int]
) -> None:
    rules = rule(f"{{repeated: {{said: {{leg: customer, words: [hello]}}, times: 2, within: {window}}}}}")
    log = call().say("customer", "hello", 0, 1_000)
    for start in (2_000, 4_000):
        log.say("customer", "well", start, start + 1_000)
    log.say("customer", "hello", 8_000, 9_000)

    assert expected == opened(rules, log)


# --- voice --------------------------------------------------------------------------------------------


def feel(*labels: tuple[int, Any]) -> Dialogue:
    log = call("customer")
    for start, label in labels:
        log.feel("customer", label, start, start + 4_000)
    return log


def test_emotion_sustained_for_a_time() -> None:
    rules = rule("{emotion: {leg: customer, is: angry, for: 12s}}")

    assert opened(rules, feel((0, "angry"), (5_000, None), (10_000, "angry"))) == [14_000]
    assert opened(rules, feel((0, "angry"), (5_000, "happy"), (10_000, "angry"))) == []


def test_emotion_that_shifts() -> None:
    rules = rule("{emotion: {leg: customer, from: calm, to: angry, in: 2 of last 2 utterances}}")
    calm, angry = ((0, "neutral"), (5_000, "happy")), ((10_000, "angry"), (15_000, "angry"))

    assert opened(rules, feel(*calm, *angry)) == [19_000]
    assert opened(rules, feel(*angry)) == []


@pytest.mark.parametrize(("trend", "expected"), [("rising", [18_000]), ("falling", [])])
def test_emotion_with_a_trend(trend: str, expected: list[int]) -> None:
    log = call("customer")
    for number, rank in enumerate((0.5, 0.4, 0.2, 0.1)):
        log.say("customer", "x", number * 5_000, number * 5_000 + 3_000, anger_rank=rank)

    assert expected == opened(
        rule(f"{{emotion: {{leg: customer, trend: {trend}, over: 4 utterances}}}}"), log
    )


def test_speech_rate_counts_words_or_characters() -> None:
    rules = rule("{speech_rate: {leg: any, faster_than: [200 words, 350 characters]}}")
    log = call().say("agent", "a b c d e f g h", 0, 2_000).say("agent", "a b c", 3_000, 5_000)
    log.say("customer", "我想取消我的合同请帮我办理", 0, 2_000, language="zh")

    assert sorted(opened(rules, log)) == [2_000, 2_000]


def test_loudness_absolute_and_against_the_speaker_s_own() -> None:
    log = call()
    for number, level in enumerate((-30.0, -31.0, -29.0, None, -20.0)):
        log.say("customer", "x", number * 2_000, number * 2_000 + 1_000, loudness_dbfs=level)

    assert opened(rule("{loudness: {leg: customer, louder_by: 8}}"), log) == [9_000]
    assert opened(rule("{loudness: {leg: customer, above: -25}}"), log) == [9_000]
    assert opened(rule("{loudness: {leg: customer, below: -30.5}}"), log) == [3_000]


def test_evidence_of_several_kinds_adds_up_to_a_score() -> None:
    rules = rule(
        "{score: {at_least: 1.5, within: 20s, of: ["
        "{weight: 1, emotion: {leg: customer, is: angry, in: 1 of last 1 utterance}},"
        "{weight: 0.5, said: {leg: customer, words: [ridiculous]}},"
        "{weight: -1, said: {leg: customer, words: [thanks]}}]}}"
    )
    angry = call("customer").feel("customer", "angry", 0, 1_000)

    assert opened(rules, angry) == []
    assert opened(rules, angry.say("customer", "ridiculous", 2_000, 3_000)) == [3_000]
    kind = call("customer").feel("customer", "angry", 0, 1_000).say("customer", "thanks", 1_500, 2_000)
    assert opened(rules, kind.say("customer", "ridiculous", 2_000, 3_000)) == []


# --- talk ---------------------------------------------------------------------------------------------


def test_overtalk_for_a_time_and_as_a_share() -> None:
    log = call().say("agent", "x", 0, 10_000).say("customer", "y", 4_000, 8_000)
    log.say("agent", "x", 11_000, 12_000).hush("customer", 20_000)

    assert opened(rule("{overtalk: {longer_than: 3s}}"), log) == [8_000]
    assert opened(rule("{overtalk: {longer_than: 4s}}"), log) == []
    assert opened(rule("{overtalk: {share: 30%, after: 5s}}"), log) == [12_000]


def test_who_cuts_whom_short() -> None:
    log = call().say("customer", "x", 0, 5_000).say("agent", "but", 4_000, 9_000).hush("customer", 20_000)

    assert opened(rule("{interruption: {by: agent}}"), log) == [9_000]
    assert opened(rule("{interruption: {by: customer}}"), log) == []
    assert opened(rule("{interruption: {by: agent, times: 2, within: 60s}}"), log) == []


def test_a_late_answer() -> None:
    log = call().say("customer", "x", 0, 5_000).hush("customer", 20_000).say("agent", "yes", 12_000, 13_000)

    assert opened(rule("{response_delay: {of: agent, longer_than: 6s}}"), log) == [13_000]
    assert opened(rule("{response_delay: {of: agent, longer_than: 7s}}"), log) == []


def test_a_share_of_the_talk() -> None:
    log = call().say("agent", "x", 0, 9_000).hush("agent", 20_000).say("customer", "y", 9_000, 10_000)

    assert opened(rule("{talk_share: {of: agent, above: 80%, after: 10s}}"), log) == [10_000]
    assert opened(rule("{talk_share: {of: agent, below: 80%, after: 10s}}"), log) == []


# --- what does not happen -----------------------------------------------------------------------------

NOTICE = "{absent: {said: {leg: agent, words: [recorded]}, within: 30s, of: {first_utterance: customer}}}"


def test_an_absence_is_decided_when_all_is_heard_up_to_its_deadline() -> None:
    rules = rule(NOTICE)
    log = call().say("customer", "hello", 5_000, 6_000).hush("customer", 60_000).hush("agent", 34_999)

    assert opened(rules, log) == []
    assert opened(rules, log.hush("agent", 35_000)) == [35_000]
    assert outcome(rules, log) == "raised"


def test_what_begins_before_the_deadline_is_in_time_however_late_its_result_comes() -> None:
    log = call().say("customer", "hello", 5_000, 6_000).hush("customer", 90_000)
    log.say("agent", "this call is recorded", 34_999, 40_000).hush("agent", 90_000)

    assert opened(rule(NOTICE), log) == []
    assert outcome(rule(NOTICE), log.end_call()) == "passed"


@pytest.mark.parametrize("reason", ["lost", "paused", "recogniser_failed", "capacity", "recogniser_mute"])
def test_a_deadline_that_falls_in_a_gap_is_undecidable_and_no_breach(reason: str) -> None:
    log = call().say("customer", "hello", 5_000, 6_000).hush("customer", 60_000)
    log.hush("agent", 20_000).lose("agent", 21_000, reason).hush("agent", 60_000).end_call()

    assert opened(rule(NOTICE), log) == []
    assert outcome(rule(NOTICE), log) == "undecidable"


def test_a_gap_of_somebody_else_or_of_hold_leaves_a_deadline_decidable() -> None:
    log = call().say("customer", "hello", 5_000, 6_000).lose("customer", 60_000)
    log.hush("agent", 20_000).lose("agent", 30_000, "not_sent").hush("agent", 60_000)

    assert opened(rule(NOTICE), log) == [35_000]


def test_what_was_heard_beside_a_gap_was_heard() -> None:
    log = call().say("customer", "hello", 5_000, 6_000).hush("customer", 60_000)
    log.lose("agent", 8_000).say("agent", "it is recorded", 9_000, 12_000).hush("agent", 60_000).end_call()

    assert outcome(rule(NOTICE), log) == "passed"


@pytest.mark.parametrize(
    ("ends", "expected"), [("", [10_000]), (", if_call_ends: raise", [10_000]), (", if_call_ends: pass", [])]
)
def test_the_end_of_the_call_decides_what_is_open(ends: str, expected: list[int]) -> None:
    rules = rule(f"{{absent: {{said: {{leg: agent, words: [recorded]}}, within: 30s{ends}}}}}")

    assert expected == opened(rules, over(call(), 10_000))


def test_a_reconnected_leg_goes_on_where_it_was() -> None:
    rules = rule(NOTICE)
    log = call().say("customer", "hello", 5_000, 6_000).hush("agent", 10_000).end("agent")
    log.start("agent", 12_000).hush("customer", 60_000).say("agent", "recorded", 14_000, 15_000)

    assert opened(rules, log.hush("agent", 60_000)) == []


def test_an_absence_of_somebody_who_is_not_there_does_not_apply() -> None:
    log = over(call("customer").say("customer", "hello", 5_000, 6_000), 60_000)

    assert opened(rule(NOTICE), log) == []
    assert outcome(rule(NOTICE), log) == "not_applicable"


def test_an_absence_whose_anchor_never_comes_does_not_apply() -> None:
    assert outcome(rule(NOTICE), over(call(), 60_000)) == "not_applicable"


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        ("call_start", 10_000),
        ("{leg_start: agent}", 13_000),
        ("{first_utterance: customer}", 15_000),
        ("{said: {leg: customer, words: [help]}}", 16_000),
    ],
)
def test_times_count_from_the_call_s_start_a_leg_s_start_a_first_word_or_a_condition(
    anchor: str, expected: int
) -> None:
    rules = rule(f"{{absent: {{said: {{leg: agent, words: [hello]}}, within: 10s, of: {anchor}}}}}")
    log = Dialogue().begin("customer").start("agent", 3_000)
    log.say("customer", "help", 5_000, 6_000).hush("customer", 60_000).hush("agent", 60_000)

    assert opened(rules, log)[:1] == [expected]


def test_times_count_back_from_the_call_s_end() -> None:
    rules = rule("{absent: {said: {leg: agent, words: [bye]}, within: 20s, of: call_end}}")
    late, early = call().say("agent", "bye", 45_000, 46_000), call().say("agent", "bye", 30_000, 31_000)

    assert opened(rules, over(late, 60_000)) == []
    assert opened(rules, over(early, 60_000)) == [60_000]


def test_a_condition_counts_during_a_span_of_time() -> None:
    log = call()
    for start in (1_000, 8_000, 50_000):
        log.say("agent", "hello", start, start + 1_000)
    over(log, 60_000)
    said = "said: {leg: agent, words: [hello]}"

    assert opened(rule(f"{{{said}, during: {{until: 5s}}}}"), log) == [2_000]
    assert opened(rule(f"{{{said}, during: {{from: 5s, until: 20s}}}}"), log) == [9_000]
    assert opened(rule(f"{{{said}, during: {{last: 15s}}}}"), log) == [51_000]
    assert opened(rule(f"{{{said}, during: {{from: 30s, of: {{first_utterance: agent}}}}}}"), log) == [51_000]


# --- sequences ----------------------------------------------------------------------------------------

CANCEL = "said: {leg: customer, words: [cancel]}"
OFFER = "said: {leg: agent, words: [offer]}"
BYE = "said: {leg: agent, words: [bye]}"


def test_a_then_nothing_of_b_within_so_many_utterances() -> None:
    rules = rule(f"{{sequence: [{{{CANCEL}}}, {{absent: {{{OFFER}, within: 2 utterances}}}}]}}")
    log = call().say("customer", "cancel", 0, 1_000).hush("customer", 60_000)
    log.say("agent", "well", 2_000, 3_000).say("agent", "fine", 4_000, 5_000)
    changes = run(rules, log.hush("agent", 60_000))

    assert [change.at_ms for change in changes][:1] == [5_000]
    assert changes[0].evidence[0].text == "cancel"
    kept = call().say("customer", "cancel", 0, 1_000).hush("customer", 60_000)
    assert opened(rules, kept.say("agent", "an offer", 2_000, 3_000).hush("agent", 60_000)) == []


def test_a_then_b_without_c_between_by_when_it_was_said() -> None:
    rules = rule(f"{{sequence: {{steps: [{{{CANCEL}}}, {{absent: {{{OFFER}}}}}, {{{BYE}}}], within: 1m}}}}")

    def dialogue(*, offered: bool) -> Dialogue:
        log = call().say("customer", "cancel", 0, 1_000).hush("customer", 60_000)
        if offered:
            log.say("agent", "an offer", 2_000, 3_000)
        return log.say("agent", "bye", 4_000, 5_000).hush("agent", 60_000)

    assert opened(rules, dialogue(offered=False)) == [5_000]
    assert opened(rules, dialogue(offered=True)) == []
    late = Dialogue(shuffle(dialogue(offered=True).entries[1:], 3))
    assert opened(rules, late) == []


def test_a_sequence_with_a_gap_where_c_may_have_been_is_undecidable() -> None:
    rules = rule(f"{{sequence: [{{{CANCEL}}}, {{absent: {{{OFFER}}}}}, {{{BYE}}}]}}")
    log = call().say("customer", "cancel", 0, 1_000).hush("customer", 60_000)
    log.lose("agent", 3_000).say("agent", "bye", 4_000, 5_000)

    assert opened(rules, over(log, 60_000)) == []
    assert outcome(rules, log) == "undecidable"


def test_within_one_utterance_the_order_of_the_words_counts() -> None:
    rules = rule(f"{{sequence: [{{{CANCEL}}}, {{said: {{leg: customer, words: [refund]}}}}]}}")

    assert opened(rules, call("customer").say("customer", "cancel and refund", 0, 1_000)) == [1_000]
    assert opened(rules, call("customer").say("customer", "refund and cancel", 0, 1_000)) == []


# --- combinations -------------------------------------------------------------------------------------


def test_all_any_and_not_nest() -> None:
    rules = rule(
        f"{{all: {{of: [{{any: [{{{CANCEL}}}, {{said: {{leg: customer, words: [lawyer]}}}}]}},"
        " {emotion: {leg: customer, is: angry, in: 1 of last 1 utterance}},"
        " {not: {said: {leg: agent, words: [sorry]}}}], within: 10s}}"
    )
    log = (
        call()
        .say("customer", "my lawyer", 0, 1_000, emotion="neutral")
        .feel("customer", "angry", 3_000, 4_000)
    )

    assert opened(rules, log.hush("customer", 20_000).hush("agent", 20_000)) == [4_000]
    sorry = call().say("agent", "sorry", 1_500, 2_000).hush("agent", 20_000)
    sorry.say("customer", "my lawyer", 0, 1_000).feel("customer", "angry", 3_000, 4_000)
    assert opened(rules, sorry.hush("customer", 20_000)) == []


def test_all_within_one_utterance() -> None:
    rules = rule(
        f"{{all: {{of: [{{{CANCEL}}}, {{loudness: {{leg: customer, above: -15}}}}], within: 1 utterance}}}}"
    )
    log = call("customer").say("customer", "cancel", 0, 1_000, loudness_dbfs=-20.0)
    log.say("customer", "now", 2_000, 3_000, loudness_dbfs=-10.0)

    assert opened(rules, log) == []
    assert opened(rules, log.say("customer", "cancel", 4_000, 5_000, loudness_dbfs=-10.0)) == [5_000]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("queue: sales", [1_000]),
        ("queue: [service, complaints]", []),
        ("agent: a-17", [1_000]),
        ("language: en, direction: inbound", [1_000]),
        ("attributes: {tier: [gold, platinum], vip: true}", [1_000]),
        ("attributes: {vip: 1}", []),
        ("role: other", []),
        ("tenant: acme, queue: sales", []),
    ],
)
def test_filters_on_who_takes_part_and_on_attributes(where: str, expected: list[int]) -> None:
    log = Dialogue().begin()
    log.start("customer", queue="sales", direction="inbound", attributes={"tier": "gold", "vip": True})
    log.start("agent", agent_id="a-17", language="en-GB")
    log.say("customer", "cancel", 0, 1_000).hush("agent", 5_000)

    assert expected == opened(rule(f"{{{CANCEL}}}", f", where: {{{where}}}"), log)


def test_silence_of_some_calls_alone() -> None:
    rules = rule("{silence: {of: call, longer_than: 5s}}", ", where: {queue: sales}")
    log = Dialogue().begin().start("agent", queue="sales").hush("agent", 6_000)

    assert opened(rules, log) == [5_000]
    assert opened(rules, Dialogue().begin().start("agent").hush("agent", 6_000)) == []


# --- incidents ----------------------------------------------------------------------------------------


def test_an_incident_grows_more_severe_by_lasting_and_by_updates() -> None:
    steps = "escalate: [{after: 20s, severity: medium}, {updates: 2, severity: critical}]"
    rules = rule(f"{{{CANCEL}}}", f", incident: {{{steps}}}")
    log = call("customer").say("customer", "cancel", 0, 1_000).hush("customer", 25_000)
    log.say("customer", "cancel", 26_000, 27_000).say("customer", "cancel", 28_000, 29_000)

    assert [(change.state, change.severity, change.at_ms) for change in run(rules, log)] == [
        ("opened", "low", 1_000),
        ("updated", "medium", 21_000),
        ("updated", "medium", 27_000),
        ("updated", "critical", 29_000),
    ]


def early(log: Dialogue, text: str, at_ms: int) -> Dialogue:
    return log.add("customer", at_ms, at_ms, EarlyWords(ordinal=1, text=text, language="en"))


EARLY = rule(f"{{{CANCEL}}}", ", early: true")


def test_an_early_alert_is_confirmed_by_the_finished_utterance() -> None:
    log = early(call("customer"), "I want to cancel", 2_000).say(
        "customer", "I want to cancel it", 2_000, 4_000
    )
    changes = run(EARLY, log)

    assert [(change.state, change.at_ms) for change in changes] == [("opened", 2_000), ("updated", 4_000)]
    assert [piece.text for piece in changes[-1].evidence] == ["I want to cancel it"]
    assert len({change.incident_id for change in changes}) == 1


def test_an_early_alert_is_withdrawn_if_the_words_do_not_stand() -> None:
    log = early(call("customer"), "I want to cancel", 2_000).say("customer", "I want a candle", 2_000, 4_000)

    assert [change.state for change in run(EARLY, log)] == ["opened", "withdrawn"]
    assert outcome(EARLY, log.end_call()) == "passed"


def test_an_early_alert_whose_utterance_never_comes_is_withdrawn_with_the_leg() -> None:
    log = early(call("customer"), "cancel", 2_000).lose("customer", 90_000).end("customer")

    assert [change.state for change in run(EARLY, log)] == ["opened", "withdrawn"]


def test_words_are_asked_for_before_they_are_logged() -> None:
    now = EARLY.start(CALL)
    for entry in call("customer").entries:
        now.feed(entry)

    assert now.has_early
    assert now.would_raise("customer", "please cancel", "en", 0)
    assert not now.would_raise("customer", "please", "en", 0)
    assert not rule(f"{{{CANCEL}}}").start(CALL).has_early


# --- outcomes and state -------------------------------------------------------------------------------


def test_a_rule_on_whom_nobody_could_hear_is_undecidable() -> None:
    heard, unheard = over(call(), 9_000), call().lose("customer", 9_000).hush("agent", 9_000).end_call()

    assert outcome(rule(f"{{{CANCEL}}}"), heard) == "passed"
    assert outcome(rule(f"{{{CANCEL}}}"), unheard) == "undecidable"


def test_the_state_of_a_call_does_not_grow_with_its_length() -> None:
    conditions = (
        f"{{repeated: {{{CANCEL}, times: 3, within: 20s}}}}",
        f"{{sequence: [{{{CANCEL}}}, {{absent: {{{OFFER}, within: 3 utterances}}}}]}}",
        NOTICE,
        NEAR,
        NOT_NEAR,
        "{emotion: {leg: customer, is: angry, in: 3 of last 10 utterances}}",
        "{silence: {of: call, longer_than: 2s}}",
        "{overtalk: {share: 30%}}",
        "{interruption: {by: agent, times: 3, within: 30s}}",
    )
    source = "version: 1\nrules:\n" + "".join(
        f"- {{id: r-{n}, version: 1, severity: low, description: d, when: {when}}}\n"
        for n, when in enumerate(conditions)
    )
    rules = load_rule_set(source, "a.yaml")
    now, log = rules.start(CALL), call()
    sizes = []
    for turn in range(1_500):
        at_ms = turn * 6_000
        log.say("customer", "cancel hold refund", at_ms, at_ms + 3_000, emotion="angry")
        log.say("agent", "I guarantee you, hold on", at_ms + 2_000, at_ms + 5_000)
        if turn % 500 == 499:
            for entry in log.entries:
                now.feed(entry)
            log.entries.clear()
            sizes.append(weigh(now, shared=rules))

    assert max(sizes) < 64 * 1024
    assert sizes[-1] < sizes[0] * 1.1
