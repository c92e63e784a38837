"""When the words of a transcript were said, out of when a decoder's tokens were.

Decided here: a word begins where the first token that reaches into it does. A transcript may begin with words
that were confirmed before; what it has from this decoding is its end, so words are matched from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from qa_service.asr_server.agreement import units
from qa_service.asr_server.engines import Word

_POSITION_S: Final = 0.02  # what one position of Whisper's encoder stands for


def words_of(
    text: str, heard: str, token_ends: Sequence[int], token_starts: Mapping[int, int]
) -> tuple[Word, ...]:
    """The words of ``text`` that are also the last ones ``heard``, with their times.

    ``token_ends``: how many characters of what was heard each token completes. ``token_starts``: the encoder
    position at which each token begins, by its number; one may be missing.
    """
    found: list[Word] = []
    index, place = len(text.rstrip()), len(heard.rstrip())
    for word, other in zip(reversed(units(text)), reversed(units(heard)), strict=False):
        if word.strip() != other.strip():
            break
        index -= len(word)
        place -= len(other)
        first_letter = place + len(other) - len(other.lstrip())
        token = next((n for n, end in enumerate(token_ends) if end > first_letter), None)
        if token is None or token not in token_starts:
            break
        found.append(Word(index=index, start_s=token_starts[token] * _POSITION_S))
    return tuple(reversed(found))
