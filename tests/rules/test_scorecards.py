"""Scorecards: what they grade, what they leave out, and what the loader says of a wrong one."""

from __future__ import annotations

import json
from importlib import resources
from uuid import UUID

import jsonschema
import pytest
import yaml

from qa_service.domain.entries import CallEnded, LogEntry
from qa_service.domain.scores import Reason
from qa_service.rules.errors import RuleFileError
from qa_service.rules.ruleset import default_rule_set
from qa_service.rules.scorecards import MAX_REASONS, ScoredRules, default_scorecard, load_scorecard
from tests.storage.builders import an_incident

SOURCE = """\
version: 1
id: sales
revision: 3
description: How sales calls go.
sections:
  - id: compliance
    weight: 3
    questions:
      - {id: announced, ask: Was it announced, rule: notice, raised_means: pass, weight: 2}
      - {id: promises, ask: Was nothing promised, rule: promise, raised_means: fail}
  - id: conduct
    questions:
      - {id: polite, ask: Was the agent polite, rule: rude, raised_means: fail, critical: true}
"""
CARD = load_scorecard(SOURCE, "sales.yaml")
FINE = {"notice": "raised", "promise": "passed", "rude": "passed"}


def schema() -> dict:
    return json.loads(resources.files("qa_service.rules").joinpath("scorecard.schema.json").read_text())


@pytest.mark.parametrize(
    ("changed", "score"),
    [
        ({}, 100),
        ({"promise": "raised"}, round(100 * (3 * 2 / 3 + 1) / 4, 2)),
        ({"notice": "passed"}, round(100 * (3 * 1 / 3 + 1) / 4, 2)),
        ({"promise": "undecidable", "notice": "passed"}, 25),
        ({"promise": "not_applicable", "notice": "undecidable"}, 100),
        ({"rude": "raised"}, 0),
        (dict.fromkeys(FINE, "undecidable"), None),
    ],
)
def test_the_score_is_what_was_passed_of_what_was_answered(changed, score):
    assert CARD.score("call", FINE | changed, {}).score == score


def test_what_cannot_be_answered_is_shown_and_left_out():
    graded = CARD.score("call", {"notice": "undecidable", "promise": "not_applicable"}, {})

    assert [answer.verdict for answer in graded.answers] == ["undecidable", "not_applicable", "no_rule"]
    assert (graded.answered, graded.left_out, graded.score, graded.auto_failed) == (0, 3, None, False)


def test_an_answer_names_the_incidents_that_it_rests_on():
    reason = Reason(incident_id=UUID(int=1), opened_ms=5, utterance_ids=(), words="I guarantee")

    graded = CARD.score("call", FINE | {"promise": "raised"}, {"promise": [reason]})

    assert [answer.reasons for answer in graded.answers] == [(), (reason,), ()]


class Raising:
    """Rules that raise what they were given, at the one entry they are fed."""

    has_early = False

    def __init__(self, *changes) -> None:
        self.changes = changes

    def feed(self, _entry):
        return self.changes

    def outcomes(self):
        newest = {change.incident_id: change for change in self.changes}.values()
        raised = {change.rule_id for change in newest if change.state != "withdrawn"}
        return {rule_id: "raised" if rule_id in raised else "passed" for rule_id in FINE}

    def would_raise(self, *_words):
        return False


ENTRY = LogEntry(call_id="call", call_seq=1, leg_id=None, start_ms=0, end_ms=0, body=CallEnded())


def graded(*changes):
    rules = ScoredRules(Raising(*changes), call_id="call", card=CARD)
    rules.feed(ENTRY)
    return {answer.question: answer for answer in rules.score().answers}


def test_an_incident_that_was_withdrawn_counts_as_none():
    opened = an_incident(1, "one", rule_id="promise")
    withdrawn = an_incident(2, "one", rule_id="promise", state="withdrawn")

    assert graded(opened)["promises"].verdict == "fail"
    assert graded(opened, withdrawn)["promises"].verdict == "pass"
    assert graded(opened, withdrawn)["promises"].reasons == ()


def test_an_answer_names_a_bounded_number_of_incidents():
    found = graded(*(an_incident(1, f"number {n}", rule_id="promise") for n in range(20)))["promises"]

    assert len(found.reasons) == MAX_REASONS


def test_without_a_scorecard_nothing_is_graded():
    assert ScoredRules(Raising(), call_id="call", card=None).score() is None


def test_the_hash_is_of_what_is_meant_and_not_of_the_layout():
    assert load_scorecard(SOURCE.replace("version: 1", "# mine\nversion: 1"), "x").hash == CARD.hash
    assert load_scorecard(SOURCE.replace("weight: 3", "weight: 4"), "x").hash != CARD.hash


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "raised_means: pass",
            "raised_means: passed",
            "9:76: expected what the rule's alert means: 'fail' or",
        ),
        ("rule: rude", "rule: ruse", "13:55: there is no rule 'ruse' in the rule set, did you mean 'rude'?"),
        ("id: promises", "id: announced", "10:9: id 'announced' is taken in line 9"),
        ("critical: true", "critical: 3", "13:91: expected 'critical': true or false"),
        ("weight: 3", "wieght: 3", "7:5: unknown key 'wieght' in a section, did you mean 'weight'?"),
        ("revision: 3\n", "", "1:1: a scorecard lacks 'revision'"),
    ],
)
def test_a_wrong_scorecard_is_refused_with_the_place_and_what_is_nearest(old, new, message):
    with pytest.raises(RuleFileError) as refused:
        load_scorecard(SOURCE.replace(old, new, 1), "sales.yaml", rule_ids=list(FINE))

    assert f"sales.yaml:{message}" in str(refused.value)


@pytest.mark.parametrize("source", [SOURCE, default_scorecard().source])
def test_the_schema_takes_what_the_loader_takes(source):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(yaml.safe_load(source), schema())


@pytest.mark.parametrize(
    ("old", "new"),
    [("raised_means: pass", "raised_means: maybe"), ("weight: 3", "wieght: 3"), ("revision: 3\n", "")],
)
def test_the_schema_refuses_what_the_loader_refuses(old, new):
    wrong = yaml.safe_load(SOURCE.replace(old, new, 1))

    assert not jsonschema.Draft202012Validator(schema()).is_valid(wrong)


def test_the_default_scorecard_asks_rules_that_are_there():
    card = default_scorecard()

    rule_ids = {rule.id for rule in default_rule_set().rules}
    assert load_scorecard(card.source, "default", rule_ids=rule_ids).hash == card.hash
