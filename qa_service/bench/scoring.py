"""How far a transcript is from what was said, and other figures of a run: pure arithmetic.

Decided here: what counts as the same words. Case, punctuation and accents do not count; Chinese is compared
by characters. In English, numbers may be written in figures: of their usual readings (figure by figure, in
pairs like a year, as a cardinal) the one with the fewest errors counts, ordinals are ordinals, and "oh" among
digits is zero. Both sides, and a direct run that is compared, are treated alike.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

_ONES: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS: Final = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
_ORDINALS: Final = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_DIGITS: Final = frozenset(_ONES[:10])
_YEAR_FIGURES: Final = 4  # a number of this length may be read in two pairs
_CARDINAL_FIGURES: Final = 6  # longer numbers are read figure by figure
_TEEN_END, _HUNDRED, _THOUSAND = 20, 100, 1000
_HAN: Final = re.compile(r"([\u3400-\u4dbf\u4e00-\u9fff])")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER: Final = re.compile(r"\d+(?:(?:st|nd|rd|th)\b)?")


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How a measure is spread; None of nothing."""

    count: int
    median: float | None
    p95: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """Errors (words put in, left out or exchanged) against the number of words that were said."""

    errors: int = 0
    words: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(self.errors + other.errors, self.words + other.words)

    @property
    def rate(self) -> float:
        """The word error rate, 0 for nothing said."""
        return self.errors / self.words if self.words else 0.0


def score(said: str, heard: str, language: str) -> Score:
    """Compare a transcript with what was said."""
    readings = (_figures, _pairs, _cardinal) if language == "en" else (_as_written,)
    reference = words(said, language, readings[0])
    errors = min(edits(reference, words(heard, language, reading)) for reading in readings)
    return Score(errors, len(reference))


def words(text: str, language: str, read_number: Callable[[str], str]) -> list[str]:
    """A text as the words that are compared."""
    joined = _THOUSANDS.sub("", text.casefold())
    spelt = _NUMBER.sub(lambda match: f" {read_number(match.group())} ", joined)
    decomposed = unicodedata.normalize("NFKD", spelt)
    plain = "".join(character for character in decomposed if not unicodedata.combining(character))
    found = re.sub(r"[^\w\s]", " ", _HAN.sub(r" \1 ", plain.replace("'", ""))).split()
    return _zeros(found) if language == "en" else found


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """The Levenshtein distance of two lists of words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which ``share`` (0 to 1) of the values are, nearest rank; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _zeros(found: list[str]) -> list[str]:
    """The words with "oh" and "o" beside a digit as "zero"."""
    around = ["", *found, ""]
    return [
        "zero" if word in ("oh", "o") and {around[i], around[i + 2]} & _DIGITS else word
        for i, word in enumerate(found)
    ]


def _as_written(number: str) -> str:
    return number


def _figures(number: str) -> str:
    if number[-1].isalpha():
        return _ordinal(number)
    return _small(int(number)) if int(number) < _HUNDRED and number[0] != "0" else _one_by_one(number)


def _pairs(number: str) -> str:
    if number[-1].isalpha() or len(number) != _YEAR_FIGURES or number[0] == "0":
        return _figures(number)
    century, years = number[:2], number[2:]
    if years == "00":
        return f"{_small(int(century))} hundred"
    return f"{_small(int(century))} {_one_by_one(years) if years[0] == '0' else _small(int(years))}"


def _cardinal(number: str) -> str:
    if number[-1].isalpha():
        return _ordinal(number)
    if number[0] == "0" or len(number) > _CARDINAL_FIGURES:
        return _one_by_one(number)
    return _spell(int(number))


def _ordinal(number: str) -> str:
    *front, last = _spell(int(number[:-2])).split()
    if last in _ORDINALS:
        return " ".join([*front, _ORDINALS[last]])
    return " ".join([*front, last[:-1] + "ieth" if last.endswith("y") else last + "th"])


def _one_by_one(number: str) -> str:
    return " ".join(_ONES[int(figure)] for figure in number)


def _small(value: int) -> str:
    if value < _TEEN_END:
        return _ONES[value]
    tens, ones = divmod(value, 10)
    return f"{_TENS[tens]} {_ONES[ones]}" if ones else _TENS[tens]


def _spell(value: int) -> str:
    if value < _HUNDRED:
        return _small(value)
    unit, name = (_HUNDRED, "hundred") if value < _THOUSAND else (_THOUSAND, "thousand")
    count, rest = divmod(value, unit)
    return f"{_spell(count)} {name}" + (f" {_spell(rest)}" if rest else "")


def spread(values: Iterable[float]) -> Spread:
    """How values are spread, to a tenth."""
    found = list(values)
    median, p95, p99, highest = (percentile(found, share) for share in (0.5, 0.95, 0.99, 1.0))
    rounded = [None if value is None else round(value, 1) for value in (median, p95, p99, highest)]
    return Spread(count=len(found), median=rounded[0], p95=rounded[1], p99=rounded[2], max=rounded[3])
