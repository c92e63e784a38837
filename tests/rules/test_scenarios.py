"""Tests that authors of rules write: what they say, and what they find."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from qa_service.cli.rules import rules as command
from qa_service.rules.errors import RuleFileError
from qa_service.rules.ruleset import load_rule_set
from qa_service.rules.scenarios import Alert, judge, read_scenarios

RULES = """\
version: 1
rules:
  - id: angry
    version: 1
    severity: high
    description: d
    when: {emotion: {leg: customer, is: angry, in: 2 of last 3 utterances, min_confidence: 0.5}}
    incident: {close_after: 20s}
  - id: notice
    version: 1
    severity: low
    description: d
    when: {absent: {said: {leg: agent, words: [recorded]}, within: 10s}}
    where: {queue: sales}
  - id: cancel
    version: 1
    severity: low
    description: d
    early: true
    when: {said: {leg: customer, any_of: ["cancel my *"]}}
"""
TESTS = """\
version: 1
tests:
  - name: Anger, and everything announced
    language: en
    legs: {customer: {queue: sales}, agent: {start: 0.5}}
    dialogue:
      - agent 0.5-2.0: this call is recorded
      - customer 3.0-5.0 angry 0.9: I have had it
      - customer 6-8.5 angry 0.8 rank 0.01 level -12: really
      - end 40
    expect:
      - angry: {opened: 8.5, closed: 28.5, severity: high, state: closed}
    outcomes: {notice: passed, cancel: passed}
  - name: Nobody knows what the agent said
    legs: {customer: {queue: sales}}
    dialogue:
      - agent lost 2.0-4.0
      - customer early 3.0: cancel my
      - customer 3.0-5.0: a candle for my room
      - end 20
    rules: [notice, cancel]
    expect: [cancel: {state: withdrawn}]
    outcomes: {notice: undecidable}
"""


def verdicts(tests: str) -> list[bool]:
    rules = load_rule_set(RULES, "a.yaml")
    return [judge(scenario, rules).passed for scenario in read_scenarios(tests, "t.yaml", rules)]


def test_a_dialogue_raises_what_is_expected_of_it() -> None:
    assert verdicts(TESTS) == [True, True]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("angry 0.8", "angry 0.4"),
        ("opened: 8.5", "opened: 8.4"),
        ("severity: high, ", "severity: low, "),
        ("is recorded", "is fine"),
        ("notice: passed", "notice: raised"),
        ("    expect:\n      - angry: {opened: 8.5, closed: 28.5, severity: high, state: closed}\n", ""),
    ],
)
def test_a_test_fails_when_anything_is_otherwise(old: str, new: str) -> None:
    assert old in TESTS

    assert verdicts(TESTS.replace(old, new))[0] is False


def test_what_is_missing_and_what_is_unexpected_is_told() -> None:
    rules = load_rule_set(RULES, "a.yaml")
    tests = TESTS.replace("- angry: {opened: 8.5, closed: 28.5, severity: high, state: closed}", "- cancel")
    verdict = judge(read_scenarios(tests, "t.yaml", rules)[0], rules)

    assert verdict.missing == (Alert("cancel"),)
    assert verdict.unexpected == (Alert("angry", "closed", "high", 8.5, 28.5),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- end 40", "- ends 40", "10:9: expected a line such as: customer 12.0-14.5 angry"),
        ("agent 0.5-2.0", "agents 0.5-2.0", "7:9: expected a line such as"),
        ("customer 6-8.5", "customer 4-8.5", "leg 'customer' is told of up to 5 already"),
        ("6-8.5", "9-8.5", "this ends before it begins"),
        ("- angry:", "- angri:", "did you mean 'angry'?"),
        ("notice: passed", "notice: passt", "did you mean 'passed'?"),
        ("version: 1\ntests", "version: 2\ntests", "1:10: version 2 is not known"),
        ("    dialogue:\n      - agent 0", "    dialog:\n      - agent 0", "did you mean 'dialogue'?"),
    ],
)
def test_a_malformed_test_is_refused_with_its_place(old: str, new: str, message: str) -> None:
    assert old in TESTS

    with pytest.raises(RuleFileError, match=r"^t\.yaml:") as refusal:
        read_scenarios(TESTS.replace(old, new, 1), "t.yaml", load_rule_set(RULES, "a.yaml"))
    assert message in str(refusal.value)


def test_the_command_runs_the_tests_beside_a_file(tmp_path: Path) -> None:
    rules, tests = tmp_path / "mine.yaml", tmp_path / "mine.tests.yaml"
    rules.write_text(RULES, encoding="utf-8")
    tests.write_text(TESTS, encoding="utf-8")

    passed = CliRunner().invoke(command, ["test", str(rules)])
    assert (passed.exit_code, passed.stdout.splitlines()[-1]) == (0, "2 tests passed")

    tests.write_text(TESTS.replace("opened: 8.5", "opened: 9"), encoding="utf-8")
    failed = CliRunner().invoke(command, ["test", str(rules)])
    assert failed.exit_code == 1
    assert "FAILED mine.yaml: Anger, and everything announced" in failed.stdout
    assert "- expected angry state=closed severity=high opened=9.0 closed=28.5" in failed.stdout
    assert "+ raised   angry state=closed severity=high opened=8.5 closed=28.5" in failed.stdout
    assert "1 of 2 tests failed" in failed.stderr

    tests.unlink()
    missing = CliRunner().invoke(command, ["test", str(rules)])
    assert missing.exit_code == 1
    assert "the tests of mine.yaml" in missing.stderr
