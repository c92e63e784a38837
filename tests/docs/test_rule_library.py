"""The page of the rule library says of each rule what its file says."""

from __future__ import annotations

import re
from pathlib import Path

from qa_service.rules.library import THEMES, read_library

PAGE = Path(__file__).parents[2] / "docs" / "rule-library.md"
ROW = re.compile(r"^\| `([\w-]+)` \| (.+) \| (\w+) \| (\w+) \| ([\w, ]+) \|$", re.MULTILINE)


def test_the_page_lists_every_rule_under_its_theme_as_its_file_has_it():
    expected = [
        (
            each.theme,
            each.rule.id,
            each.rule.description,
            each.rule.severity,
            each.rule.audience,
            ", ".join(each.languages) or "any",
        )
        for each in read_library()
    ]

    chapters = re.split(r"^## (\w+)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    listed = [
        (theme.lower(), *row)
        for theme, text in zip(chapters[::2], chapters[1::2], strict=True)
        for row in ROW.findall(text)
    ]

    assert expected == listed


def test_the_page_counts_the_rules_and_has_a_chapter_for_each_theme():
    text = PAGE.read_text(encoding="utf-8")

    assert f"begin with: {len(read_library())} of them" in text
    assert [theme.lower() for theme in re.findall(r"^## (\w+)", text, re.MULTILINE)] == list(THEMES)
