"""Word error rate: how far a transcript is from what was said."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NOT_A_WORD = re.compile(r"[^\w\s']+")


def words_of(text: str) -> list[str]:
    """Words without case and punctuation."""
    return _NOT_A_WORD.sub(" ", text.casefold()).split()


def count_errors(spoken: Sequence[str], heard: Sequence[str]) -> int:
    """Fewest words to replace, leave out or put in to turn one into the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, said in enumerate(spoken, start=1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(heard, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (said != got))
    return row[-1]


def word_error_rate(spoken: str, heard: str) -> float:
    """Errors per spoken word."""
    reference = words_of(spoken)
    return count_errors(reference, words_of(heard)) / len(reference)
