"""What the loader takes, what it refuses, and how it says so; the JSON Schema refuses the same."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, strategies as st

from qa_service.rules.errors import Problem, RuleFileError
from qa_service.rules.language import EmotionCondition, SaidCondition, SilenceCondition
from qa_service.rules.reading import CONDITIONS, read_rules

GOOD = """\
version: 1
rules:
  - id: angry
    version: 3
    severity: high
    audience: agent
    description: The customer is angry.
    when:
      emotion: {leg: customer, is: angry, in: 2 of last 3 utterances, min_confidence: 0.5, if_missing: fail}
    incident: {close_after: 1.5m, cooldown: 500ms}
  - id: said
    version: 1
    severity: low
    description: Someone says it.
    when:
      said: {leg: any, any_of: ["cancel * contract", 取消合同]}
  - id: quiet
    version: 1
    severity: medium
    description: Nobody speaks.
    when:
      silence: {of: call, longer_than: 10s}
"""


def refuse(source: str) -> list[str]:
    with pytest.raises(RuleFileError) as refusal:
        read_rules(source, "rules.yaml")
    return str(refusal.value).splitlines()


def problems_of(source: str) -> tuple[Problem, ...]:
    try:
        read_rules(source, "rules.yaml")
    except RuleFileError as refusal:
        return refusal.problems
    return ()


def test_a_good_file_is_read_with_its_defaults() -> None:
    angry, said, quiet = read_rules(GOOD, "rules.yaml")

    assert angry.when == EmotionCondition(
        emotions=("angry",), needed=2, window=3, min_confidence=0.5, if_missing="fail"
    )
    assert (angry.id, angry.version, angry.severity, angry.audience) == ("angry", 3, "high", "agent")
    assert (angry.close_after_ms, angry.cooldown_ms) == (90_000, 500)
    assert said.when == SaidCondition(leg="any", phrases=("cancel * contract", "取消合同"))
    assert (said.audience, said.close_after_ms, said.cooldown_ms) == ("supervisor", 30_000, 0)
    assert quiet.when == SilenceCondition(of="call", longer_than_ms=10_000)
    assert quiet.close_after_ms == 0


@pytest.mark.parametrize(
    ("asked", "understood"),
    [
        ("is: angry, rank: top 3%", (("angry",), 0.03, None, "pass")),
        ("is: [angry], rank: top 0.5 %", (("angry",), 0.005, None, "pass")),
        ("is: angry, at_most: 20 a day, if_missing: fail", (("angry",), None, 20, "fail")),
        ("rank: top 12.5%, at_most: 100000 per day", ((), 0.125, 100_000, "fail")),
    ],
)
def test_an_emotion_is_asked_for_by_its_rank(
    schema: dict[str, Any], asked: str, understood: tuple[Any, ...]
) -> None:
    source = GOOD.replace("is: angry", asked).replace(", min_confidence: 0.5, if_missing: fail", "")
    when = read_rules(source, "rules.yaml")[0].when

    assert isinstance(when, EmotionCondition)
    assert (when.emotions, when.top_share, when.most_a_day, when.if_missing) == understood
    jsonschema.validate(yaml.safe_load(source), schema)


# What to replace in the good file, by what, and the message; the schema refuses these too.
MALFORMED = [
    (
        "version: 1\nrules",
        "version: 2\nrules",
        "1:10: version 2 of the rule language is not known; expected 1",
    ),
    ("severity: high", "sevrity: high", "5:5: unknown key 'sevrity' in a rule, did you mean 'severity'?"),
    (
        "severity: high",
        "severity: hihg",
        "5:15: expected a severity: 'low', 'medium', 'high' or 'critical'; ",
    ),
    ("id: angry", "id: Angry One", "3:9: expected an id"),
    ("id: angry", "id: 7", "3:9: expected an id"),
    (
        "version: 3",
        "version: 0",
        "4:14: expected the rule's version: a whole number from 1 on; found the number '0'",
    ),
    ("version: 3", "version: '3'", "4:14: expected the rule's version"),
    ("version: 3", "version: yes", "4:14: expected the rule's version"),
    ("audience: agent", "audience: agents", "did you mean 'agent'?"),
    (
        "description: The customer is angry.",
        "description: 5",
        "expected a description as text; found the number '5'",
    ),
    ("description: The customer is angry.", "description: '  '", "expected a description, found only blanks"),
    ("description: The customer is angry.", "description:", "expected a description as text; found nothing"),
    ("emotion: {leg", "emoton: {leg", "9:7: unknown key 'emoton' in 'when', did you mean 'emotion'?"),
    ("leg: customer, is", "leg: agent, is", "only a customer's is recognised"),
    ("is: angry", "is: angr", "9:36: expected an emotion"),
    ("is: angry", "is: []", "this list of emotions is empty: expected at least one"),
    ("2 of last 3 utterances", "2 of 3", "expected 'in' of the form: 2 of last 3 utterances; found '2 of 3'"),
    (
        "2 of last 3 utterances",
        "2 of last 11 utterances",
        "'in' looks back on 11 utterances; expected at most 10",
    ),
    ("min_confidence: 0.5", "min_confidence: 1.5", "'min_confidence': a number from 0 to 1"),
    ("min_confidence: 0.5", "min_confidence: high", "'min_confidence': a number from 0 to 1"),
    ("min_confidence: 0.5", "rank: top 3", "9:77: expected 'rank' of the form: top 3%; found 'top 3'"),
    ("min_confidence: 0.5", "rank: 3%", "expected 'rank' of the form: top 3%; found '3%'"),
    ("min_confidence: 0.5", "rank: 3", "expected 'rank' of the form: top 3%; found the number '3'"),
    ("min_confidence: 0.5", "rank: top 100%", "expected 'rank' of the form: top 3%"),
    ("min_confidence: 0.5", "rank: top 0.0%", "9:77: 'rank' must be more than the top 0%"),
    (
        "min_confidence: 0.5",
        "at_most: 20",
        "9:80: expected 'at_most' of the form: 20 a day; found the number",
    ),
    ("min_confidence: 0.5", "at_most: 0 a day", "expected 'at_most' of the form: 20 a day"),
    ("min_confidence: 0.5", "at_most: 20 an hour", "expected 'at_most' of the form: 20 a day"),
    (
        "is: angry, in: 2 of last 3 utterances, min_confidence: 0.5",
        "is: happy, in: 2 of last 3 utterances, rank: top 3%",
        "9:36: 'rank' and 'at_most' are of anger alone: expected is: angry, or no 'is'",
    ),
    (
        "is: angry, in: 2 of last 3 utterances, min_confidence: 0.5, if_missing: fail",
        "in: 2 of last 3 utterances",
        "9:16: 'emotion' lacks 'is', or 'rank' or 'at_most' in its place",
    ),
    (
        "is: angry, in: 2 of last 3 utterances, min_confidence: 0.5",
        "in: 2 of last 3 utterances, rank: top 3%",
        "9:86: 'if_missing' is about a label: expected 'is' as well",
    ),
    ("if_missing: fail", "if_missing: maybe", "expected 'if_missing': 'pass' or 'fail'; found 'maybe'"),
    (
        "close_after: 1.5m",
        "close_after: 90",
        "expected 'close_after': a duration such as 500ms, 10s, 1.5m or 1h",
    ),
    ("close_after: 1.5m", "close_after: 1.5ms", "expected 'close_after': a duration"),
    ("cooldown: 500ms", "cooldown: 5 s", "10:45: expected 'cooldown': a duration"),
    ("cooldown: 500ms", "cool_down: 5s", "did you mean 'cooldown'?"),
    ('["cancel * contract", 取消合同]', "[]", "this list of phrases is empty: expected at least one"),
    ('["cancel * contract", 取消合同]', "cancel", "expected a list of phrases; found 'cancel'"),
    ('["cancel * contract", 取消合同]', "[no]", "found the yes/no value 'no'; in quotes it would be text"),
    ("said: {leg: any, any_of", "said: {any_of", "'said' lacks 'leg'"),
    ("longer_than: 10s", "longer_than: 0s", "'longer_than' must be longer than nothing"),
    ("longer_than: 10s", "longer_than: soon", "expected 'longer_than': a duration"),
    (
        "silence: {of: call, longer_than: 10s}",
        "{}",
        "'when' needs exactly one condition: 'emotion', 'said', 'near', 'silence', ",
    ),
    (
        "      silence: {of",
        "      said: {leg: any, any_of: [x]}\n      silence: {of",
        "needs exactly one condition",
    ),
    (
        "silence: {of: call, longer_than: 10s}",
        "silence: 10s",
        "expected 'silence', with 'of' and 'longer_than'",
    ),
]
# What a schema cannot say.
MALFORMED_FOR_THE_LOADER = [
    ("id: quiet", "id: said", "17:5: rule id 'said' is taken by the rule in line 11"),
    ("2 of last 3 utterances", "3 of last 2 utterances", "3 of the last 2 utterances can never be"),
    ("cancel * contract", "*", "'*' holds no word to look for"),
    ("longer_than: 10s", "longer_than: 25h", "'longer_than' is longer than a day"),
    ("severity: high", "severity: high\n    severity: low", "6:5: key 'severity' stands twice in a rule"),
]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    text = resources.files("qa_service.rules").joinpath("schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@pytest.mark.parametrize(("old", "new", "message"), MALFORMED + MALFORMED_FOR_THE_LOADER)
def test_a_malformed_file_is_refused_with_place_and_remedy(old: str, new: str, message: str) -> None:
    assert old in GOOD
    lines = refuse(GOOD.replace(old, new, 1))

    assert any(message in line for line in lines)
    assert all(line.startswith("rules.yaml:") for line in lines)


@pytest.mark.parametrize(("old", "new", "message"), MALFORMED)
def test_the_schema_refuses_what_the_loader_refuses(
    schema: dict[str, Any], old: str, new: str, message: str
) -> None:
    document = yaml.safe_load(GOOD.replace(old, new, 1))

    assert not jsonschema.Draft202012Validator(schema).is_valid(document)


def test_the_schema_takes_the_good_file_and_the_shipped_one(schema: dict[str, Any]) -> None:
    shipped = resources.files("qa_service.rules").joinpath("default.yaml").read_text(encoding="utf-8")
    jsonschema.Draft202012Validator.check_schema(schema)

    for source in (GOOD, shipped):
        jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(source))
        assert read_rules(source, "rules.yaml")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "rules.yaml:1:1: the file is empty"),
        ("# nothing", "rules.yaml:1:1: the file is empty"),
        ("version: 1", "rules.yaml:1:1: a rule file lacks 'rules'"),
        ("version: 1\nrules: []", "rules.yaml:2:8: this list of rules is empty: expected at least one"),
        ("- rule", "rules.yaml:1:1: expected a rule file, with 'version', 'rules' and 'lists'; found"),
        ("version: 1\nrules: [", "rules.yaml:2:9: not YAML while parsing a flow node"),
        ("version: 1\n\trules: []", "rules.yaml:2:1: not YAML"),
        ("a: 1\n---\nb: 2", "rules.yaml:2:1: not YAML"),
        ("version: 1\nrules: \x00", "rules.yaml:2:8: a character that YAML does not allow"),
        ("[" * 50_000, "rules.yaml:1:1: nested too deeply"),
        ("version: 1\nrules: &a [*a]", "rules.yaml:2:8: expected a rule"),
        ("version: 1\nrules: [7]", "rules.yaml:2:9: expected a rule, with 'id', "),
        ("version: 1\nrules: [{1: 2}]", "rules.yaml:2:10: expected a key of a rule"),
    ],
)
def test_what_is_no_rule_file_is_refused(source: str, message: str) -> None:
    assert any(line.startswith(message) for line in refuse(source))


# One rule of every kind; what to replace in it, by what, and the message; the schema refuses these too.
EVERYTHING = Path(__file__).with_name("everything.yaml").read_text(encoding="utf-8")
MALFORMED_CONDITIONS = [
    (
        "early: true, when: {said",
        "early: maybe, when: {said",
        "expected 'early': true or false; found 'maybe'",
    ),
    ("any_of: {list: cancel}, not", "not", "'said' lacks 'any_of', 'words', 'all_of' or 'regex'"),
    (
        'regex: "call (is|may be) recorded", ',
        "words: [x], ",
        "'excluding' is about a regex: expected 'regex' as well",
    ),
    ("language: en}}", "language: 5}}", "expected a language by its primary subtag, such as en"),
    ("role: agent, language", "role: boss, language", "expected a role: 'customer', 'agent' or 'other'"),
    ("within: 5 words", "within: 5s", "expected 'within' of the form: 5 words; found '5s'"),
    ("within: 5 words", "within: 51 words", "'within' spans 51 words; expected at most 50"),
    ("b: [y], within", "within", "'near' needs exactly one of 'b' and 'not'"),
    ("times: 3, within: 5 utt", "times: 11, within: 5 utt", "'times' is 11; expected at most 10"),
    ("within: 5 utterances", "within: five", "expected 'within' (or 3 utterances, or call): a duration"),
    ("for: 20s", "for: 20s, in: 1 of last 1 utterance", "'emotion' needs exactly one of 'in' and 'for'"),
    ("from: calm, to: angry", "from: calm", "a shift of emotion lacks 'to'"),
    ("to: angry", "to: angry, rank: top 3%", "'rank' does not go with a shift of emotion"),
    ("over: 6 utterances", "over: 3 utterances", "expected 'over' from 4 to 10 utterances"),
    ("weight: 1,", "weight: one,", "expected 'weight': a number from -100 to 100; found 'one'"),
    ("200 words", "200 feet", "expected a pace a minute: 200 words, or 350 characters"),
    ("above: -15", "above: 15", "expected a level in dBFS: a number from -100 to 0"),
    ("after: 60s, severity", "severity", "an escalation needs exactly one of 'after' and 'updates'"),
    ("share: 20%", "share: 100%", "'share' must be more than 0% and less than 100%"),
    ("share: 20%", "share: 20", "expected 'share': a share such as 70%; found the number '20'"),
    ("by: agent", "by: any", "expected who interrupts: 'agent' or 'customer'; found 'any'"),
    ("above: 70%, ", "", "'talk_share' lacks 'above' or 'below'"),
    ("within: 30s, of: {leg", "of: {leg", "'absent' lacks 'within'"),
    ("of: call_end", "of: call_ends", "did you mean 'call_end'?"),
    ("leg_start: agent", "leg_stop: agent", "unknown key 'leg_stop' in 'of', did you mean 'leg_start'?"),
    (
        "{overtalk: {longer_than: 1s}}]",
        "{overtalk: {}}]",
        "'overtalk' needs exactly one of 'longer_than' and 'share'",
    ),
    ("not: {said", "nor: {said", "unknown key 'nor' in a part of 'all'"),
    ("last: 30s", "last: 30s, until: 3s", "'until' does not go with 'during' with 'last'"),
    ("{silence: {of: agent, longer_than: 3s}}, {", "{}, {", "a part of 'any' needs exactly one condition"),
]
MALFORMED_FOR_THE_LOADER_ALONE = [
    ("{list: cancel}", "{list: cancle}", "did you mean 'cancel'?"),
    ("(is|may be)", "(is|may be", "expected a regular expression of RE2: missing )"),
    ("at_least: 1.5", "at_least: 2", "all weights together never reach 2"),
    ("severity: medium}, {upd", "severity: low}, {upd", "an escalation from 'low' to 'low' is none"),
    (
        "when: {said: {leg: any, any_of: {list",
        "when: {near: {leg: any, any_of: {list",
        "'early' is for rules whose",
    ),
    ("from: calm, to: angry", "from: angry, to: angry", "'from' and 'to' share a label"),
    ("[{silence: {of: call, longer_than: 3s}}, ", "[", "the first step cannot be 'absent'"),
]


def test_the_loader_and_the_schema_take_a_rule_of_every_kind(schema: dict[str, Any]) -> None:
    rules = read_rules(EVERYTHING, "rules.yaml")
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(EVERYTHING))

    assert len(rules) == 16
    assert set(CONDITIONS) <= set(schema["$defs"]["condition"]["properties"])
    assert all(f"{name}:" in EVERYTHING for name in CONDITIONS)


@pytest.mark.parametrize(("old", "new", "message"), MALFORMED_CONDITIONS + MALFORMED_FOR_THE_LOADER_ALONE)
def test_a_malformed_condition_is_refused_with_place_and_remedy(old: str, new: str, message: str) -> None:
    assert old in EVERYTHING
    lines = refuse(EVERYTHING.replace(old, new, 1))

    assert any(message in line for line in lines), lines


@pytest.mark.parametrize(("old", "new", "message"), MALFORMED_CONDITIONS)
def test_the_schema_refuses_the_same_conditions(
    schema: dict[str, Any], old: str, new: str, message: str
) -> None:
    document = yaml.safe_load(EVERYTHING.replace(old, new, 1))

    assert not jsonschema.Draft202012Validator(schema).is_valid(document)


@pytest.mark.parametrize(
    "source",
    [
        "version: 1\nrules: [{id: a, version: 1, severity: low, description: d, when: &a {all: [*a]}}]",
        (
            "version: 1\nrules: [{id: a, version: 1, severity: low, description: d, when: &a {said: {leg:"
            " any, words: [x]}, during: {until: 1s, of: *a}}}]"
        ),
    ],
)
def test_a_condition_inside_itself_is_refused(source: str) -> None:
    assert any("too many conditions" in line for line in refuse(source))


def test_all_problems_of_a_file_are_named_at_once() -> None:
    lines = refuse(GOOD.replace("high", "hihg").replace("leg: any", "leg: all").replace("10s", "ten"))

    assert [line.split(":")[1] for line in lines] == ["5", "16", "22"]


@given(source=st.text())
def test_any_text_is_read_or_refused(source: str) -> None:
    with pytest.raises(RuleFileError, match=r"^rules\.yaml:\d+:\d+: "):
        read_rules(source, "rules.yaml")


@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(start + 20, len(GOOD))))
    damaged = GOOD[:start] + data.draw(st.text("{}[]:,-'\"& \n*!|>x1", max_size=4)) + GOOD[end:]

    assert all(problem.line >= 1 and problem.column >= 1 for problem in problems_of(damaged))
