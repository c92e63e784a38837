"""When what was said stood in a client's transcript for good: one rule for every server.

Decided here: a server need not say which text is final. A *caption* is all the text of a leg that a client
has at a moment. An utterance has *settled* when its last word is there and no later caption shows other words
up to it. That takes hindsight, which favours a server that never says that it is done. A caption that is
merely shorter takes nothing back. Case and punctuation do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, chain, pairwise

from qa_service.bench.scoring import words


@dataclass(frozen=True, slots=True)
class Caption:
    """The text of a leg that a client has from ``at_ms`` (of the leg) on."""

    at_ms: float
    text: str


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance as it was played; times in milliseconds of the leg."""

    text: str
    start_ms: float
    end_ms: float


def last_text(captions: Sequence[Caption]) -> str:
    """What a client has at the end; text that the last captions only leave out is still there."""
    text, found = "", list[str]()
    for caption in reversed(captions):
        earlier = _words(caption.text)
        if _common(earlier, found) < min(len(earlier), len(found)):
            break
        if len(earlier) > len(found):
            text, found = caption.text, earlier
    return text


def settled_ms(said: Sequence[Said], captions: Sequence[Caption]) -> list[float | None]:
    """When each utterance had settled; None for one that was missed, see `heard_ends`."""
    heard = _words(last_text(captions))
    shown = [(caption.at_ms, _words(caption.text)) for caption in captions]
    agreed = [(at_ms, len(found), _common(found, heard)) for at_ms, found in shown]
    ends = heard_ends([_words(utterance.text) for utterance in said], heard)
    return [None if end is None else _settled(end, agreed) for end in ends]


def heard_ends(said: Sequence[Sequence[str]], heard: Sequence[str]) -> list[int | None]:
    """How many words had been heard by the end of each utterance; None for one that was missed.

    It was missed if no word of it was heard right, or its last word was left out.
    """
    flat = list(chain.from_iterable(said))
    changes = SequenceMatcher(None, flat, heard, autojunk=False).get_opcodes()
    bounds = pairwise(accumulate((len(utterance) for utterance in said), initial=0))
    return [_heard_end(begin, end, changes) for begin, end in bounds]


def partial_gaps_ms(said: Iterable[Said], captions: Iterable[Caption]) -> list[float]:
    """Times without a new caption while somebody speaks: from its beginning to the first, …, to its end."""
    times = [caption.at_ms for caption in captions]
    gaps: list[float] = []
    for utterance in said:
        within = (at_ms for at_ms in times if utterance.start_ms < at_ms < utterance.end_ms)
        moments = (utterance.start_ms, *within, utterance.end_ms)
        gaps += (after - before for before, after in pairwise(moments))
    return gaps


def _settled(end: int, agreed: Sequence[tuple[float, int, int]]) -> float | None:
    """When the first ``end`` words were there for good; of each caption: time, words, words as at the end."""
    settled: float | None = None
    for at_ms, length, common in agreed:
        if common < min(length, end):
            settled = None
        elif common >= end and settled is None:
            settled = at_ms
    return settled


def _heard_end(begin: int, end: int, changes: Iterable[tuple[str, int, int, int, int]]) -> int | None:
    """The end in what was heard of what was said from ``begin`` to ``end``, if it has one."""
    heard_any, heard_end = False, None
    for kind, said_from, said_to, heard_from, heard_to in changes:
        heard_any |= kind == "equal" and said_from < end and said_to > begin
        if said_from < end <= said_to and kind != "delete":
            heard_end = heard_to if end == said_to else min(heard_to, heard_from + end - said_from)
    return heard_end if heard_any else None


def _common(found: Sequence[str], other: Sequence[str]) -> int:
    """The length of the common beginning."""
    pairs = zip(found, other, strict=False)
    differences = (i for i, (one, another) in enumerate(pairs) if one != another)
    return next(differences, min(len(found), len(other)))


def _words(text: str) -> list[str]:
    return words(text, "en", str)
