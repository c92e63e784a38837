"""How a phrase of a rule matches what was said: word by word, or sign by sign where none are set apart.

A text becomes words: folded (``qa_service.domain.folding``), split at blanks and punctuation, numbers kept
whole. In scripts that put no blanks between words each sign counts as a word of its own, so that a phrase
is found anywhere among them; Hangul is treated alike, since its particles cling to the word.

In a phrase, ``*`` on its own stands for up to six words (or twelve signs), also for none; ``kündig*``
for a word with any ending; ``[num]`` for a number in digits or words. What redaction took out was a
number, so its placeholder matches ``[num]``, but never words such as *card number*.

Matching takes time linear in the length of the text, whatever the phrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qa_service.domain.entries import Redaction
from qa_service.domain.folding import fold
from qa_service.domain.spoken_numbers import number_word
from qa_service.rules.errors import PhraseError

WILDCARD_REACH = 12
"""How far ``*`` reaches: a word weighs 2, a sign of a script without blanks 1."""
MAX_NUMBER_WORDS = 12
"""How many words one ``[num]`` may span."""
REMOVED = "\ufffc"
"""The word that stands for what redaction removed (U+FFFC, object replacement character)."""

_SIGNS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\u1780-\u17ff"  # Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # iteration marks, kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # ideographs
    "\uac00-\ud7af"  # Hangul
)
# Vowel signs and points that belong to a word but are no letters: Hebrew, Arabic, the scripts of India.
_MARKS = "\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_SIGN = re.compile(f"[{_SIGNS}]")
_WORD = re.compile(
    rf"{REMOVED}|\d+(?:[.,]\d+)*|(?=[{_SIGNS}])[^\W_]|(?=[{_SIGNS}])[\u0e00-\u17ff]"
    rf"|(?:(?![{_SIGNS}])(?:[^\W\d_]|[{_MARKS}]))+"
)
_PHRASE_PART = re.compile(r"\*|\[num\]|[^*\[\]]+|[\[\]]")

Words: TypeAlias = tuple[str, ...]


def read_words(text: str, redactions: Iterable[Redaction] = ()) -> Words:
    """Read the words of an utterance, each span that redaction replaced as one word, :data:`REMOVED`."""
    for redaction in sorted(redactions, key=lambda redaction: redaction.start, reverse=True):
        text = f"{text[: redaction.start]} {REMOVED} {text[redaction.end :]}"
    return tuple(_WORD.findall(fold(text)))


@dataclass(frozen=True, slots=True)
class _Word:
    word: str

    def ends(self, words: Words, start: int) -> Iterable[int]:
        return (start + 1,) if start < len(words) and words[start] == self.word else ()


@dataclass(frozen=True, slots=True)
class _Stem:
    stem: str

    def ends(self, words: Words, start: int) -> Iterable[int]:
        return (start + 1,) if start < len(words) and words[start].startswith(self.stem) else ()


@dataclass(frozen=True, slots=True)
class _Number:
    def ends(self, words: Words, start: int) -> Iterable[int]:
        for end in range(start, min(start + MAX_NUMBER_WORDS, len(words))):
            if not _is_number(words[end]):
                return
            yield end + 1


@dataclass(frozen=True, slots=True)
class _Wildcard:
    def ends(self, words: Words, start: int) -> Iterable[int]:
        yield start
        left = WILDCARD_REACH
        for end in range(start, len(words)):
            left -= 1 if _SIGN.match(words[end]) else 2
            if left < 0:
                return
            yield end + 1


_Element: TypeAlias = _Word | _Stem | _Number | _Wildcard


@dataclass(frozen=True, slots=True)
class Phrase:
    """A compiled phrase."""

    elements: tuple[_Element, ...]
    required: frozenset[str]
    """Words without which it cannot match: a cheap first look."""

    def is_said_in(self, words: Words, vocabulary: frozenset[str]) -> bool:
        """Tell whether the phrase occurs among the words, whose set is the vocabulary."""
        if not self.required <= vocabulary:
            return False
        reached: set[int] = set(range(len(words)))
        for element in self.elements:
            reached = {end for start in reached for end in element.ends(words, start)}
            if not reached:
                return False
        return True


@dataclass(frozen=True, slots=True)
class PhraseBook:
    """Several phrases, of which one suffices."""

    phrases: tuple[Phrase, ...]

    def is_said_in(self, words: Words) -> bool:
        """Tell whether any of the phrases occurs among the words."""
        vocabulary = frozenset(words)
        return any(phrase.is_said_in(words, vocabulary) for phrase in self.phrases)


def compile_book(phrases: Sequence[str]) -> PhraseBook:
    """Compile phrases; raises :class:`PhraseError` for the first that cannot be understood."""
    return PhraseBook(tuple(compile_phrase(phrase) for phrase in phrases))


def compile_phrase(text: str) -> Phrase:
    """Compile one phrase; raises :class:`PhraseError`."""
    elements: list[_Element] = []
    parts = _PHRASE_PART.findall(text)
    for position, part in enumerate(parts):
        if part in "[]":
            raise PhraseError(f"{text!r} has a stray {part!r}: the only thing in brackets is [num]")
        if part == "[num]":
            elements.append(_Number())
        elif part != "*":
            elements += map(_Word, read_words(part))
        else:
            before = parts[position - 1] if position else ""
            after = parts[position + 1] if position + 1 < len(parts) else ""
            _add_star(elements, text, before, after)
    required = frozenset(element.word for element in elements if isinstance(element, _Word))
    if not required and not any(isinstance(element, _Stem) for element in elements):
        raise PhraseError(f"{text!r} holds no word to look for")
    return Phrase(tuple(elements), required)


def _add_star(elements: list[_Element], text: str, before: str, after: str) -> None:
    if _is_letter(after[:1]) and not _SIGN.match(after):
        raise PhraseError(
            f"{text!r} has a word right after '*': put a blank between, or the '*' after the word"
        )
    last = elements[-1] if elements else None
    if isinstance(last, _Word) and _is_letter(before[-1:]) and not _SIGN.match(last.word):
        elements[-1] = _Stem(last.word)
    elif not isinstance(last, _Wildcard):
        elements.append(_Wildcard())


def _is_letter(char: str) -> bool:
    return char.isalnum()


def _is_number(word: str) -> bool:
    return word == REMOVED or word[0].isdecimal() or number_word(word) is not None
