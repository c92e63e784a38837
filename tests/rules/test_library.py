"""The library of rules: each is raised by what it is about, and not by what is only near it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from click.testing import CliRunner

from qa_service.cli.rules import rules as command
from qa_service.domain.entries import Utterance
from qa_service.rules import library
from qa_service.rules.library import THEMES, LibraryRule, excerpt, excerpt_tests, read_library, sources
from qa_service.rules.phrases import compile_phrase, read_words
from qa_service.rules.ruleset import RuleSet, default_rule_set, load_rule_set
from qa_service.rules.scenarios import Scenario, judge, read_scenarios

LIBRARY = read_library()
GOOD_CALLS = Path(__file__).parent / "good-calls.tests.yaml"
SECTION = re.compile(r"    # (\w\w)\n((?:    \".*\n)+)")
KANA = re.compile("[\u3040-\u30ff]")
IDEOGRAPH = re.compile("[\u4e00-\u9fff]")


@cache
def load(theme: str) -> RuleSet:
    return load_rule_set(sources()[theme], f"{theme}.yaml")


class Case(NamedTuple):
    """A test of the library."""

    scenario: Scenario
    rule: str
    language: str

    @property
    def raises(self) -> bool:
        return bool(self.scenario.expected)

    @property
    def texts(self) -> list[str]:
        return [entry.body.text for entry in self.scenario.log if isinstance(entry.body, Utterance)]


@cache
def read_cases() -> tuple[Case, ...]:
    cases = []
    for theme, source in library.sources_of_tests().items():
        scenarios = read_scenarios(source, f"{theme}.tests.yaml", load(theme))
        written = yaml.safe_load(source)["tests"]
        cases += [
            Case(scenario, *scenario.rules, test["language"])
            for scenario, test in zip(scenarios, written, strict=True)
        ]
    return tuple(cases)


def cases_of(rule: LibraryRule) -> list[Case]:
    return [case for case in read_cases() if case.rule == rule.rule.id]


def split(theme: str, section: str) -> dict[str, str]:
    return library.split_source(sources()[theme]).get(section, {})


def read_lists() -> dict[tuple[str, str], dict[str, list[str]]]:
    """Each theme's lists, with the phrases of each language."""
    return {
        (theme, name): {
            language: re.findall(r'"([^"]+)"', phrases) for language, phrases in SECTION.findall(text)
        }
        for theme in THEMES
        for name, text in split(theme, "lists").items()
    }


def test_it_holds_at_least_25_rules_of_different_ids_all_of_which_load_in_one_file():
    ids = [each.rule.id for each in LIBRARY]

    loaded = load_rule_set(excerpt(), "all.yaml")

    assert len(ids) >= 25
    assert sorted(set(ids)) == sorted(ids) == sorted(rule.id for rule in loaded.rules)


@pytest.mark.parametrize("rule", LIBRARY, ids=lambda each: each.rule.id)
def test_a_rule_is_raised_by_its_dialogues_and_not_by_the_near_misses(rule):
    cases = cases_of(rule)

    verdicts = [judge(case.scenario, load(rule.theme)) for case in cases]

    assert [verdict for verdict in verdicts if not verdict.passed] == []
    assert {case.raises for case in cases} == {True, False}


def test_a_call_that_went_well_raises_no_rule_at_all():
    every = load_rule_set(excerpt(), "all.yaml")

    scenarios = read_scenarios(GOOD_CALLS.read_text(encoding="utf-8"), GOOD_CALLS.name, every)

    assert [scenario.name for scenario in scenarios] == ["English", "German", "Chinese", "Japanese"]
    assert [verdict for scenario in scenarios if not (verdict := judge(scenario, every)).passed] == []


@pytest.mark.parametrize("rule", [each for each in LIBRARY if each.languages], ids=lambda each: each.rule.id)
def test_a_rule_about_words_has_dialogues_in_english_chinese_and_japanese(rule):
    raising = {case.language for case in cases_of(rule) if case.raises}
    silent = {case.language for case in cases_of(rule) if not case.raises}

    assert {"en", "zh", "ja"} <= raising | silent
    assert len(raising) >= 2
    assert len(silent) >= 2


def test_every_test_is_named_after_its_rule_and_no_two_alike():
    names = [case.scenario.name for case in read_cases()]

    assert {case.rule for case in read_cases()} == {each.rule.id for each in LIBRARY}
    assert len(set(names)) == len(names)
    assert all(case.scenario.name.startswith(f"{case.rule}: ") for case in read_cases())


def test_every_list_has_phrases_in_english_chinese_and_japanese_each_in_its_own_script():
    for (theme, name), languages in read_lists().items():
        assert list(languages) in (["en", "zh", "ja"], ["en", "de", "zh", "ja"]), f"{theme}: {name}"
        for phrase in languages["en"]:
            assert phrase.isascii(), f"{name}: {phrase}"
        for phrase in languages["zh"]:
            assert not KANA.search(phrase), f"{name}: {phrase}"
            assert IDEOGRAPH.search(phrase) or phrase.isdecimal(), f"{name}: {phrase}"
        for phrase in languages["ja"]:
            assert KANA.search(phrase) or IDEOGRAPH.search(phrase) or phrase == "MNP", f"{name}: {phrase}"


def test_every_list_is_used_by_a_rule_of_its_file_and_those_of_one_name_are_alike():
    used = {(each.theme, name) for each in LIBRARY for name in each.lists}
    texts: dict[str, set[str]] = {}
    for theme in THEMES:
        for name, text in split(theme, "lists").items():
            texts.setdefault(name, set()).add(text)

    assert used == set(read_lists())
    assert {name for name, different in texts.items() if len(different) > 1} == set()


def test_every_list_is_heard_in_every_language_in_a_dialogue_of_a_rule_that_uses_it():
    unheard = []
    for (theme, name), languages in read_lists().items():
        users = {each.rule.id for each in LIBRARY if each.theme == theme and name in each.lists}
        for language, phrases in languages.items():
            said = [
                read_words(text)
                for case in read_cases()
                if case.rule in users and case.language == language
                for text in case.texts
            ]
            if not any(compile_phrase(phrase).find(words) for phrase in phrases for words in said):
                unheard.append((theme, name, language))

    assert unheard == []


def test_no_list_says_a_phrase_twice():
    for (theme, name), languages in read_lists().items():
        phrases = [phrase for listed in languages.values() for phrase in listed]
        assert len(set(phrases)) == len(phrases), f"{theme}: {name}"


def test_a_rule_that_the_default_set_has_as_well_is_a_later_version_of_it():
    defaults = {rule.id: rule for rule in default_rule_set().rules}
    shared = [each.rule for each in LIBRARY if each.rule.id in defaults]

    assert {rule.id for rule in shared} == {
        "forbidden-promise",
        "cancellation-request",
        "agent-conduct",
        "dead-air",
    }
    assert all(rule.version > defaults[rule.id].version for rule in shared)


# --- copying from it ----------------------------------------------------------------------------------


def test_an_excerpt_holds_the_rules_asked_for_the_lists_they_use_and_nothing_else():
    source = excerpt(["leaving-angry", "dead-air"])

    loaded = load_rule_set(source, "my-rules.yaml")
    whole = {each.rule.id: each.rule for each in LIBRARY}
    assert [rule.id for rule in loaded.rules] == ["leaving-angry", "dead-air"]
    assert all(rule == whole[rule.id] for rule in loaded.rules)
    assert list(library.split_source(source)["lists"]) == ["cancel", "not-cancelling", "apology", "hold"]
    assert "# Who has been asked to wait" in source


def test_an_excerpt_of_a_theme_means_what_its_file_means():
    assert load_rule_set(excerpt(["process"]), "my-rules.yaml").hash == load("process").hash


def test_the_tests_of_an_excerpt_are_those_of_its_rules_and_pass():
    rules = load_rule_set(excerpt(["emotion", "dead-air"]), "my-rules.yaml")

    scenarios = read_scenarios(excerpt_tests(["emotion", "dead-air"]), "my-rules.tests.yaml", rules)

    expected = [case.scenario.name for case in read_cases() if case.rule in {rule.id for rule in rules.rules}]
    assert expected == [scenario.name for scenario in scenarios]
    assert all(judge(scenario, rules).passed for scenario in scenarios)


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match="dead-airs"):
        excerpt(["dead-air", "dead-airs"])


def test_the_command_lists_rules_by_theme():
    result = CliRunner().invoke(command, ["library"])

    assert result.exit_code == 0
    assert [line for line in result.output.splitlines() if not line.startswith(" ")] == list(THEMES)
    assert [line.split()[0] for line in result.output.splitlines() if line.startswith(" ")] == [
        each.rule.id for each in LIBRARY
    ]


def test_the_command_lists_as_json():
    result = CliRunner().invoke(command, ["library", "list", "emotion", "dead-air", "--json"])

    rows = json.loads(result.output)
    assert {row["theme"] for row in rows} == {"emotion", "process"}
    assert rows[-1] == {
        "theme": "process",
        "id": "dead-air",
        "version": 2,
        "severity": "medium",
        "audience": "supervisor",
        "languages": ["en", "de", "zh", "ja"],
        "description": "Nobody has said anything for more than 15 s, and nobody was asked to wait.",
    }


def test_the_command_prints_a_file_and_its_tests_which_pass(tmp_path):
    rules, tests = tmp_path / "my-rules.yaml", tmp_path / "my-rules.tests.yaml"
    names = ["retention", "dead-air"]

    for path, options in ((rules, []), (tests, ["--tests"])):
        path.write_text(
            CliRunner().invoke(command, ["library", "show", *names, *options]).output, encoding="utf-8"
        )
    result = CliRunner().invoke(command, ["test", str(rules)])

    assert result.exit_code == 0, result.output
    assert result.output.endswith(" tests passed\n")


def test_the_command_prints_each_rule_as_a_file_of_its_own_in_json():
    result = CliRunner().invoke(command, ["library", "show", "conduct", "--json"])

    for row in json.loads(result.output):
        loaded = load_rule_set(row["source"], row["id"])
        assert [rule.id for rule in loaded.rules] == [row["id"]]
        assert len(read_scenarios(row["tests"], row["id"], loaded)) > 1


def test_the_command_names_the_nearest_rule_if_there_is_none_of_a_name():
    result = CliRunner().invoke(command, ["library", "show", "dead-airs"])

    assert result.exit_code == 2
    assert (
        "'dead-airs' is neither a rule of the library nor a theme; did you mean 'dead-air'?" in result.output
    )
