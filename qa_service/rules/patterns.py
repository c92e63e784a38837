"""Regular expressions in linear time: RE2, so that no rule can stall the service.

Patterns are matched without regard to case, against the text in compatibility form (NFKC). Accents count,
unlike in phrases: what a pattern asks for is what it gets.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import re2

MAX_PROGRAM_BYTES: Final = 1 << 20
"""Memory that one compiled pattern may take; a larger one is refused when the file is loaded."""


@cache
def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = MAX_PROGRAM_BYTES
    return options


def explain_pattern(pattern: str) -> str | None:
    """Tell what is wrong with a pattern; None if nothing is."""
    try:
        re2.compile(normalise(pattern), _options())
    except re2.error as error:
        told = error.args[0]
        return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
    return None


def normalise(text: str) -> str:
    """Bring a text, or a pattern, into the form in which they are compared."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


class PatternSet:
    """Many patterns, looked for in one pass over a text."""

    def __init__(self, patterns: Sequence[str]) -> None:
        options = _options()
        self._set = re2.Set.SearchSet(options)
        for pattern in patterns:
            self._set.Add(normalise(pattern))
        self._is_empty = not patterns
        if patterns:
            self._set.Compile()

    def find(self, text: str) -> frozenset[int]:
        """Return the numbers of the patterns that occur in a text."""
        return frozenset() if self._is_empty else frozenset(self._set.Match(normalise(text)) or ())
