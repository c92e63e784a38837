"""Which beginning of a growing transcript is stable: the prefix on which two successive hypotheses agree.

Decided here (protocol section 4.8): the stable text only grows and is never revised; it ends at a word, or
at a character in scripts that write no blanks; the last word of a hypothesis is never stable, since the
sound of it may be cut off. What a hypothesis says beyond the stable text is shown as stash, blanks inside
the strings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

_UNSPACED: Final = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Thai, kana, Han
_UNIT: Final = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")


def units(text: str) -> list[str]:
    """The words of a text, or characters where a script writes no blanks, each with the blanks before it."""
    return _UNIT.findall(text)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a client shows of an unfinished utterance: ``text`` is confirmed, ``stash`` may still change."""

    text: str = ""
    stash: str = ""


class Agreement:
    """The stable text of one utterance, fed with the hypotheses about it in order."""

    def __init__(self) -> None:
        # Confirmed units; grows only.
        self._stable: list[str] = []
        # The hypothesis before, which the next one must confirm.
        self._previous: list[str] = []

    @property
    def text(self) -> str:
        """The stable text so far."""
        return "".join(self._stable)

    def observe(self, hypothesis: str) -> Shown:
        """Take the next hypothesis on the whole utterance so far; give what to show."""
        found = units(hypothesis)
        if agreed := _common(self._previous[:-1], found[:-1]):
            self._grow(agreed)
        self._previous = found
        return self.show(hypothesis)

    def show(self, hypothesis: str) -> Shown:
        """What to show for a hypothesis without letting it count."""
        return Shown(self.text, "".join(units(hypothesis)[len(self._stable) :]))

    def _grow(self, agreed: list[str]) -> None:
        if len(agreed) > len(self._stable) and agreed[: len(self._stable)] == self._stable:
            self._stable = agreed


def _common(one: list[str], other: list[str]) -> list[str]:
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return [unit for unit, _ in pairs]
