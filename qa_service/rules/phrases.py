"""How a phrase of a rule matches what was said: word by word, or sign by sign where none are set apart.

A text becomes words: folded (``qa_service.domain.folding``), split at blanks and punctuation, numbers kept
whole. In scripts that put no blanks between words each sign counts as a word of its own, so that a phrase
is found anywhere among them; Hangul is treated alike, since its particles cling to the word.

In a phrase, ``*`` on its own stands for up to six words (or twelve signs), also for none; ``kündig*``
for a word with any ending; ``[num]`` for a number in digits or words. What redaction took out was a
number, so its placeholder matches ``[num]``, but never words such as *card number*.

Matching takes time linear in the length of the text, whatever the phrase. All phrases of a rule set are
looked for at once (:class:`PhraseIndex`): each is filed under what a text must hold for it to be there, and
only those of which that is in the text are matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from qa_service.domain.entries import Redaction
from qa_service.domain.folding import fold
from qa_service.domain.spoken_numbers import number_word
from qa_service.rules.errors import PhraseError

WILDCARD_REACH = 12
"""How far ``*`` reaches: a word weighs 2, a sign of a script without blanks 1."""
MAX_NUMBER_WORDS = 12
"""How many words one ``[num]`` may span."""
MAX_STEM_KEY = 4
"""Letters of a stem by which phrases without a whole word are filed."""
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
_ASCII_WORD = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+")
_PHRASE_PART = re.compile(r"\*|\[num\]|[^*\[\]]+|[\[\]]")

Words: TypeAlias = tuple[str, ...]


def read_words(text: str, redactions: Iterable[Redaction] = ()) -> Words:
    """Read the words of an utterance, each span that redaction replaced as one word, :data:`REMOVED`."""
    for redaction in sorted(redactions, key=lambda redaction: redaction.start, reverse=True):
        text = f"{text[: redaction.start]} {REMOVED} {text[redaction.end :]}"
    folded = fold(text)
    return tuple((_ASCII_WORD if folded.isascii() else _WORD).findall(folded))


@dataclass(frozen=True, slots=True)
class _Word:
    word: str

    def ends(self, words: Words, start: int) -> Sequence[int]:
        return (start + 1,) if start < len(words) and words[start] == self.word else ()


@dataclass(frozen=True, slots=True)
class _Stem:
    stem: str

    def ends(self, words: Words, start: int) -> Sequence[int]:
        return (start + 1,) if start < len(words) and words[start].startswith(self.stem) else ()


@dataclass(frozen=True, slots=True)
class _Number:
    def ends(self, words: Words, start: int) -> Sequence[int]:
        stop = start
        while stop < min(start + MAX_NUMBER_WORDS, len(words)) and _is_number(words[stop]):
            stop += 1
        return range(start + 1, stop + 1)


@dataclass(frozen=True, slots=True)
class _Wildcard:
    def ends(self, words: Words, start: int) -> Sequence[int]:
        left, stop = WILDCARD_REACH, start
        while stop < len(words):
            left -= 1 if _SIGN.match(words[stop]) else 2
            if left < 0:
                break
            stop += 1
        return range(start, stop + 1)


_Element: TypeAlias = _Word | _Stem | _Number | _Wildcard


class Span(NamedTuple):
    """Where in an utterance a phrase is: its first word, and the one after its last."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """A compiled phrase: elements of which the first and the last are no wildcards."""

    elements: tuple[_Element, ...]

    plain: Words | None
    """The words, if there is nothing else in it."""

    def find(self, words: Words) -> tuple[Span, ...]:
        """Find where it is said: from each place where it begins, the shortest."""
        if self.plain is not None:
            length, plain = len(self.plain), self.plain
            starts = (start for start in range(len(words) - length + 1) if words[start] == plain[0])
            return tuple(
                Span(start, start + length)
                for start in starts
                if length == 1 or words[start : start + length] == plain
            )
        layers = self._reach(words)
        if not layers:
            return ()
        # Back from the last element: where each place that was reached ends first.
        ends = {end: end for end in layers[-1]}
        for element, reached in zip(reversed(self.elements), reversed(layers[:-1]), strict=True):
            ends = {
                start: min(found)
                for start in reached
                if (found := [ends[end] for end in element.ends(words, start) if end in ends])
            }
        return tuple(Span(start, ends[start]) for start in sorted(ends))

    def _reach(self, words: Words) -> list[set[int]]:
        """List the places that are reached before each element and after the last; none if it is not said."""
        layers = [set(range(len(words)))]
        for element in self.elements:
            reached = {end for start in layers[-1] for end in element.ends(words, start)}
            if not reached:
                return []
            layers.append(reached)
        return layers


class PhraseIndex:
    """Many phrases, looked for at once; they are known by their numbers."""

    def __init__(self, phrases: Sequence[str]) -> None:
        self._phrases = tuple(compile_phrase(phrase) for phrase in phrases)
        self._by_word: dict[str, tuple[int, ...]] = {}
        self._by_pair: dict[str, tuple[int, ...]] = {}
        self._by_stem: dict[str, tuple[int, ...]] = {}
        for number, phrase in enumerate(self._phrases):
            index, key = self._file(phrase)
            index[key] = (*index.get(key, ()), number)
        self._stem_lengths = sorted({len(stem) for stem in self._by_stem})

    def find(self, words: Words) -> dict[int, tuple[Span, ...]]:
        """Find which phrases are said, and where."""
        vocabulary = set(words)
        candidates = [self._by_word[word] for word in self._by_word.keys() & vocabulary]
        if self._by_pair and not all(map(str.isascii, vocabulary)):
            pairs = self._by_pair.keys() & set(map(str.__add__, words, words[1:]))
            candidates += [self._by_pair[pair] for pair in pairs]
        for length in self._stem_lengths:
            stems = self._by_stem.keys() & {word[:length] for word in vocabulary}
            candidates += [self._by_stem[stem] for stem in stems]
        return {
            number: spans
            for numbers in candidates
            for number in numbers
            if (spans := self._phrases[number].find(words))
        }

    def _file(self, phrase: Phrase) -> tuple[dict[str, tuple[int, ...]], str]:
        """Choose what to file a phrase under: two signs in a row, else its longest word, else a stem."""
        for one, two in pairwise(phrase.elements):
            if isinstance(one, _Word) and isinstance(two, _Word) and _SIGN.match(one.word + two.word):
                return self._by_pair, one.word + two.word
        words = [element.word for element in phrase.elements if isinstance(element, _Word)]
        if words:
            return self._by_word, max(words, key=len)
        stems = [element.stem for element in phrase.elements if isinstance(element, _Stem)]
        return self._by_stem, max(stems, key=len)[:MAX_STEM_KEY]


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
    if not any(isinstance(element, _Word | _Stem) for element in elements):
        raise PhraseError(f"{text!r} holds no word to look for")
    while isinstance(elements[0], _Wildcard):  # it may stand for nothing, so it asks for nothing
        del elements[0]
    while isinstance(elements[-1], _Wildcard):
        del elements[-1]
    plain = tuple(element.word for element in elements if isinstance(element, _Word))
    return Phrase(tuple(elements), plain if len(plain) == len(elements) else None)


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
