"""The library of rules to begin with: a YAML file per theme, each rule with its phrases and its tests.

Each file is complete and loads as it is; :func:`excerpt` makes a complete file of chosen rules. Below a
file's ``lists`` a comment before the phrases of each language names it: ``# en``.
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
_BLOCK = re.compile(r"  (?:- \{?(?:id|rule): ([\w-]+)|([\w-]+): \[)")
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
    folder = resources.files(__name__)
    return {theme: folder.joinpath(f"{theme}.yaml").read_text(encoding="utf-8") for theme in THEMES}


@cache
def read_library() -> tuple[LibraryRule, ...]:
    """Read all rules of all themes."""
    return tuple(_read_theme())


def excerpt(names: Collection[str] = THEMES, *, with_tests: bool = True) -> str:
    """Return a complete rule file of the rules and themes of these names, with their lists and tests.

    Raises ``KeyError`` for a name that is neither.
    """
    chosen = {each.rule.id: each for each in read_library() if {each.rule.id, each.theme} & set(names)}
    unknown = set(names) - set(chosen) - set(THEMES)
    if unknown:
        raise KeyError(min(unknown))
    used = {name for each in chosen.values() for name in each.lists}
    parts: dict[str, dict[str, str]] = {"lists": {}, "rules": {}, "tests": {}}
    for source in sources().values():
        for section, blocks in split_source(source).items():
            wanted = used if section == "lists" else chosen
            parts[section].update((name, text) for name, text in blocks.items() if name in wanted)
    if not with_tests:
        del parts["tests"]
    sections = (
        f"{section}:\n" + ("" if section == "lists" else "\n").join(blocks.values())
        for section, blocks in parts.items()
        if blocks
    )
    return "version: 1\n\n" + "\n".join(sections)


def split_source(source: str) -> dict[str, dict[str, str]]:
    """Split a file of the library into the text of each list, of each rule and of each rule's tests.

    A comment belongs to what stands below it.
    """
    sections: dict[str, dict[str, str]] = {}
    blocks: dict[str, str] = {}
    name, above = "", ""
    for line in source.splitlines(keepends=True):
        if section := _SECTION.fullmatch(line):
            blocks = sections.setdefault(section[1], {})
            name = ""
        elif begun := _BLOCK.match(line):
            name = begun[1] or begun[2]
            blocks[name] = blocks.get(name, "") + above + line
            above = ""
        elif line.startswith("  #"):
            above += line
        elif name and line.strip():
            blocks[name] += line
    return sections


def _read_theme() -> Iterator[LibraryRule]:
    for theme, source in sources().items():
        sections = split_source(source)
        for rule in read_rules(source, f"{theme}.yaml"):
            lists = tuple(dict.fromkeys(_LIST_NAME.findall(sections["rules"][rule.id])))
            languages = dict.fromkeys(
                language for name in lists for language in _LANGUAGE.findall(sections["lists"][name])
            )
            yield LibraryRule(theme, rule, lists, tuple(languages))
