"""Which beginning of a growing transcript is stable: the prefix on which two successive hypotheses agree.

Decided here (protocol section 4.8): the stable text only grows and is never revised; it ends at a word, or
at a character in scripts that write no blanks; the last word of a hypothesis is never stable, since the
sound of it may be cut off. What a hypothesis says beyond the stable text is shown as stash, blanks inside
the strings. A hypothesis that differs from the stable text is aligned with it: the decoder is not made to
begin with it, since it may then say it again, or nothing more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

_UNSPACED: Final = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Thai, kana, Han
_NEEDS_NO_GAP: Final = re.compile(rf"[\s{_UNSPACED}]")
_UNIT: Final = re.compile(rf"\s*(?:[{_UNSPACED}]|[^\s{_UNSPACED}]+)")


def units(text: str) -> list[str]:
    """The words of a text, or characters where a script writes no blanks, each with the blanks before it."""
    return _UNIT.findall(text)


def joined(text: str, more: str) -> str:
    """Two texts, one after the other, with a blank between them where the script of the second has blanks."""
    return text + (" " if text and more and not _NEEDS_NO_GAP.match(more) else "") + more


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


def continued(prefix: str, hypothesis: str) -> str:
    """``prefix``, which must stand, and what ``hypothesis`` on the same sound says beyond it.

    The two are aligned by their letters, so that nothing is said twice, and no word lost, where they differ;
    a word of the hypothesis may go on with one of the prefix ("full" and "full-featured").
    """
    begun, found = units(prefix), units(hypothesis)
    if not begun:
        return hypothesis
    same = len(_common([_plain(unit) for unit in begun], [_plain(unit) for unit in found]))
    cut = _best_cut(_plain("".join(begun[same:])), found[same:])
    rest = "".join(found[same:])[cut:]
    gap = " " if rest and not same and not cut and not _NEEDS_NO_GAP.match(rest) else ""
    return prefix + gap + rest


def _best_cut(begun: str, found: list[str]) -> int:
    """After how many characters ``found`` is most like ``begun``: with the fewest letters to change."""
    if not begun:
        return 0
    # The costs of changing each beginning of ``begun`` into the letters so far.
    column = list(range(len(begun) + 1))
    # Each place to cut with its cost; inside a word half a letter more.
    cuts, end = [(column[-1] * 2, 0)], 0
    for unit in found:
        for place, character in enumerate(unit, start=1):
            for letter in _plain(character):
                column = _next_column(column, begun, letter)
            if _plain(character):
                cuts.append((column[-1] * 2 + 1, end + place))
        end += len(unit)
        cuts.append((column[-1] * 2, end))
    # Of equally good cuts the last: what stands in the place of the end is not said again.
    _, best = min(cuts, key=lambda cut: (cut[0], -cut[1]))
    return best


def _next_column(column: list[int], begun: str, letter: str) -> list[int]:
    """One step of the edit distance: the costs with one more letter."""
    following = [column[0] + 1]
    for i, other in enumerate(begun, start=1):
        following.append(min(column[i] + 1, following[-1] + 1, column[i - 1] + (letter != other)))
    return following


def _plain(unit: str) -> str:
    """A unit without what successive hypotheses put differently: case, blanks, punctuation."""
    return "".join(character for character in unit.casefold() if character.isalnum())


def _common(one: list[str], other: list[str]) -> list[str]:
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return [unit for unit, _ in pairs]
