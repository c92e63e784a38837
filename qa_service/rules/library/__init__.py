"""The library of rules to begin with: a YAML file per theme, and beside each the tests of its rules.

Each file is complete and loads as it is; :func:`excerpt` and :func:`excerpt_tests` make files of chosen
rules. In a list of phrases a comment names the language of what follows: ``# en``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Final, NamedTuple

from qa_service.rules.language import Rule
from qa_service.rules.reading import read_rules

THEMES: Final = ("compliance", "retention", "emotion", "conduct", "process")
"""What there is a file of, in the order of the documents."""

_SECTION = re.compile(r"(\w+):\n")
_BLOCK = re.compile(r"  (?:- id: |- rules: \[)?([\w-]+)(?:: \[|\])?\n")
"""How a rule, a test or a list begins, and its name; of a test, the rule that it is about."""
_LANGUAGE = re.compile(r"^    # (\w\w)$", re.MULTILINE)
_LIST_NAME = re.compile(r"\{list: ([\w-]+)\}")


class LibraryRule(NamedTuple):
    """A rule of the library, and where it stands."""

    theme: str
    rule: Rule
    lists: tuple[str, ...]
    """Names of the lists of phrases that it uses."""
    languages: tuple[str, ...]
    """Those in which it knows phrases; none: it needs no words."""


@cache
def sources() -> Mapping[str, str]:
    """Return the text of the file of each theme."""
    return {theme: _read(f"{theme}.yaml") for theme in THEMES}


@cache
def read_library() -> tuple[LibraryRule, ...]:
    """Read all rules of all themes."""
    return tuple(_read_theme())


@cache
def sources_of_tests() -> Mapping[str, str]:
    """Return the text of the file of tests of each theme."""
    return {theme: _read(f"{theme}.tests.yaml") for theme in THEMES}


def choose(names: Collection[str]) -> tuple[LibraryRule, ...]:
    """Choose the rules of these names, and those of the themes among them.

    Raises ``KeyError`` for a name that is neither.
    """
    chosen = tuple(each for each in read_library() if {each.rule.id, each.theme} & set(names))
    unknown = set(names) - {each.rule.id for each in chosen} - set(THEMES)
    if unknown:
        raise KeyError(min(unknown))
    return chosen


def excerpt(names: Collection[str] = THEMES) -> str:
    """Return a complete rule file of the rules that :func:`choose` finds, with the lists they use."""
    chosen = choose(names)
    used = {name for each in chosen for name in each.lists}
    lists, rules = (_collect(sources(), section) for section in ("lists", "rules"))
    listed = "".join(text for name, text in lists.items() if name in used)
    phrases = f"lists:\n{listed}\n" if listed else ""
    return f"version: 1\n\n{phrases}rules:\n" + "\n".join(rules[each.rule.id] for each in chosen)


def excerpt_tests(names: Collection[str] = THEMES) -> str:
    """Return a complete file of the tests of these rules."""
    tests = _collect(sources_of_tests(), "tests")
    return "version: 1\n\ntests:\n" + "\n".join(tests[each.rule.id] for each in choose(names))


def split_source(source: str) -> dict[str, dict[str, str]]:
    """Split a file of the library into the texts of each list, each rule, and the tests of each rule.

    A comment belongs to what stands below it.
    """
    sections: dict[str, dict[str, str]] = {}
    blocks: dict[str, str] = {}
    name, above = "", ""
    for line in source.splitlines(keepends=True):
        if section := _SECTION.fullmatch(line):
            blocks = sections.setdefault(section[1], {})
            name = ""
        elif begun := _BLOCK.fullmatch(line):
            name = begun[1]
            blocks[name] = f"{blocks[name]}\n" if name in blocks else ""
            blocks[name] += above + line
            above = ""
        elif line.startswith("  #"):
            above += line
        elif name and line.strip():
            blocks[name] += line
    return sections


def _collect(sources: Mapping[str, str], section: str) -> dict[str, str]:
    """Collect the blocks of a section of all themes."""
    return {
        name: text
        for source in sources.values()
        for name, text in split_source(source).get(section, {}).items()
    }


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def _read_theme() -> Iterator[LibraryRule]:
    for theme, source in sources().items():
        sections = split_source(source)
        for rule in read_rules(source, f"{theme}.yaml"):
            lists = tuple(dict.fromkeys(_LIST_NAME.findall(sections["rules"][rule.id])))
            languages = dict.fromkeys(
                language for name in lists for language in _LANGUAGE.findall(sections["lists"][name])
            )
            yield LibraryRule(theme, rule, lists, tuple(languages))
