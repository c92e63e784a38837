"""How the sides of a call talk with each other: shares, overtalk, interruptions, delays, pace.

Definitions, which the reports' SQL follows too. The speech of a leg is its utterances, from start to end. The
talk share of a role is its speech over that of all roles. Overtalk is time in which legs of two roles speak
at once. B *interrupts* A if B begins at least 200 ms after A's start and 200 ms before A's end, and goes on
after A's end; what ends before is a sign of listening. A role's response delay runs from the end of
what another role said to its next word, if nobody spoke in between. Pace is words a minute, in languages
without blanks between words characters, of utterances of 2 s or more.

Gaps and overlaps between turns centre on about 200 ms in all languages looked at (Stivers et al.,
"Universals and cultural variation in turn-taking in conversation", PNAS 106, 2009): less is no cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

from qa_service.contract.info import Role

INTERRUPTION_MS: Final = 200
"""Speech on either side of a cut without which it is none."""
PACED_MS: Final = 2_000
"""Shorter utterances have no pace: a word more or less would change it by a quarter."""
UNSPACED: Final = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km"})
"""Languages without blanks between words: Chinese, Cantonese, Japanese, Thai, Lao, Burmese, Khmer."""

PaceUnit: TypeAlias = Literal["words", "characters"]


class Pace(NamedTuple):
    """How fast somebody spoke."""

    per_minute: float
    unit: PaceUnit


class Turn(NamedTuple):
    """One utterance, as far as talk is concerned; times are call time."""

    leg_id: str
    role: Role
    start_ms: int
    end_ms: int


def measure_pace(text: str, language: str | None, duration_ms: int) -> Pace | None:
    """Measure the pace of an utterance; None if it is too short."""
    if duration_ms < PACED_MS:
        return None
    if language is not None and language.split("-")[0].lower() in UNSPACED:
        return Pace(sum(map(str.isalnum, text)) * 60_000 / duration_ms, "characters")
    words = sum(any(map(str.isalnum, word)) for word in text.split())
    return Pace(words * 60_000 / duration_ms, "words")


@dataclass(frozen=True, slots=True)
class Heard:
    """What one more turn says of the talk."""

    interrupted: tuple[Turn, ...] = ()
    """Turns of other roles that this one cuts short."""
    response_ms: int | None = None
    """Time since the other role had ended; None: no answer to it."""
    overtalk: tuple[int, int] | None = None
    """The stretch of speaking at once that this turn has begun or prolonged: start and end, call time."""


@dataclass(slots=True)
class Talk:
    """The talk of one call, fed with its turns in the order of their starts.

    Shares of time at once are known up to the newest start; the rest is settled by :meth:`settle`.
    """

    speech_ms: dict[Role, int] = field(default_factory=dict)
    """By role, all turns so far."""
    anybody_ms: int = 0
    """Time in which anybody spoke, as far as it is settled."""
    overtalk_ms: int = 0
    """Time in which two roles spoke at once, as far as it is settled."""
    _settled_until: int = 0
    _active: list[Turn] = field(default_factory=list)
    """Turns that have not ended where it is settled."""
    _last: Turn | None = None
    """The turn that ended last."""
    _overtalk: tuple[int, int] | None = None
    _blind_until: int | None = None

    def lose(self, end_ms: int) -> None:
        """Take note that nobody knows what was said on some leg up to a time."""
        self._blind_until = end_ms if self._blind_until is None else max(end_ms, self._blind_until)

    def hear(self, turn: Turn) -> Heard:
        """Take the next turn."""
        self.settle(turn.start_ms)
        heard = Heard(
            interrupted=tuple(other for other in self._active if _cuts(turn, other)),
            response_ms=self._find_response(turn),
            overtalk=self._find_overtalk(turn),
        )
        self.speech_ms[turn.role] = self.speech_ms.get(turn.role, 0) + turn.end_ms - turn.start_ms
        if turn.end_ms > turn.start_ms:
            self._active.append(turn)
        if self._last is None or turn.end_ms >= self._last.end_ms:
            self._last = turn
        return heard

    def settle(self, until_ms: int | None = None) -> None:
        """Add up who speaks at once up to a time, or to the end of all turns."""
        self._active.sort(key=lambda turn: turn.end_ms)
        while self._active:
            end = self._active[0].end_ms
            stop = end if until_ms is None else min(end, until_ms)
            span = max(0, stop - self._settled_until)
            self.anybody_ms += span
            if len({turn.role for turn in self._active}) > 1:
                self.overtalk_ms += span
            self._settled_until = max(self._settled_until, stop)
            if stop < end:
                break
            del self._active[0]
        if until_ms is not None and not self._active:
            self._settled_until = until_ms

    def share(self, role: Role) -> float | None:
        """Return a role's share of all speech so far; None: nobody has spoken."""
        total = sum(self.speech_ms.values())
        return self.speech_ms.get(role, 0) / total if total else None

    def _find_response(self, turn: Turn) -> int | None:
        last = self._last
        if last is None or last.role == turn.role or last.end_ms > turn.start_ms:
            return None
        if self._blind_until is not None and self._blind_until > last.end_ms:
            return None
        return turn.start_ms - last.end_ms

    def _find_overtalk(self, turn: Turn) -> tuple[int, int] | None:
        ends = [other.end_ms for other in self._active if other.role != turn.role]
        end = min(turn.end_ms, max(ends, default=turn.start_ms))
        if end <= turn.start_ms:
            return None
        before = self._overtalk
        if before is not None and turn.start_ms <= before[1]:
            self._overtalk = (before[0], max(before[1], end))
        else:
            self._overtalk = (turn.start_ms, end)
        return self._overtalk


def _cuts(turn: Turn, other: Turn) -> bool:
    return (
        other.role != turn.role
        and turn.start_ms - other.start_ms >= INTERRUPTION_MS
        and other.end_ms - turn.start_ms >= INTERRUPTION_MS
        and turn.end_ms > other.end_ms
    )
