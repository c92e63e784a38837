"""Word error rate: how far a transcript is from what was said."""

from __future__ import annotations

import re

from qa_service.bench.scoring import edits

_NOT_A_WORD = re.compile(r"[^\w\s']+")


def words_of(text: str) -> list[str]:
    """Words without case and punctuation."""
    return _NOT_A_WORD.sub(" ", text.casefold()).split()


def word_error_rate(spoken: str, heard: str) -> float:
    """Errors per spoken word."""
    reference = words_of(spoken)
    return edits(reference, words_of(heard)) / len(reference)
