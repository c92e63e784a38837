"""When silence is too long: a leg's own, or that of the call, which is that of all legs together.

A leg's coverage is read as stretches. *Silent*: heard, and holding no speech; also ``not_sent``, since
what the platform did not send (hold, mute, DTX) nobody heard. *Busy*: speech, or a gap of any other
reason: what was said in it is unknown, so no silence is counted over it. *Away*: before the leg's start
and after its end, or not in the role asked for.

The call is silent where no leg is busy and at least one is silent. That can be told up to the least
coverage of the live legs, and no further, so the order in which the legs' entries arrive makes no
difference. It is taken for granted that a leg's start is logged before any entry that ends after it: the
start's record comes before the audio. Speech older than what has been decided is left out of account.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from qa_service.domain.entries import Gap, LogEntry, Quiet
from qa_service.domain.incidents import Evidence, IncidentChange
from qa_service.rules.lifecycle import BEFORE_ALL_MS, IncidentTrack

Sound: TypeAlias = Literal["silent", "busy", "away"]


class Stretch(NamedTuple):
    """A part of the time axis, and what was to be heard in it."""

    start_ms: int
    end_ms: int
    sound: Sound


def read_stretches(entry: LogEntry, covered_until: int) -> list[Stretch]:
    """Read what an entry that advances coverage says of the leg from ``covered_until`` on."""
    start = max(entry.start_ms, covered_until)
    is_silent = isinstance(entry.body, Quiet) or (
        isinstance(entry.body, Gap) and entry.body.reason == "not_sent"
    )
    stretches = (
        Stretch(covered_until, start, "silent"),
        Stretch(start, entry.end_ms, "silent" if is_silent else "busy"),
    )
    return [stretch for stretch in stretches if stretch.start_ms < stretch.end_ms]


class SilenceWatch:
    """One rule on one time axis (a leg's or the call's), fed with stretches that follow each other."""

    __slots__ = ("_is_counted", "_leg_id", "_longer_than_ms", "_since", "_track")

    def __init__(self, longer_than_ms: int, track: IncidentTrack, leg_id: str | None) -> None:
        self._longer_than_ms = longer_than_ms
        self._track = track
        self._leg_id = leg_id
        self._since: int | None = None
        """Where the present silence began; None while there is none."""
        self._is_counted = False
        """Whether the present silence is evidence of the open incident already."""

    def hear(self, stretch: Stretch, call_seq: int) -> Iterator[IncidentChange]:
        """Take the next stretch."""
        if stretch.sound == "silent":
            if self._since is None:
                self._since = stretch.start_ms
            if not self._is_counted:
                yield from self._count(self._since, stretch.end_ms, call_seq)
        else:
            self._break(stretch.start_ms)
            yield from self._pass_time(stretch.end_ms, call_seq)

    def end(self, at_ms: int, call_seq: int) -> Iterator[IncidentChange]:
        """End the time axis: with it ends the silence, and the incident."""
        self._break(at_ms)
        if self._track.is_open:
            yield self._track.close(at_ms=min(at_ms, self._track.deadline), call_seq=call_seq)

    def _count(self, since: int, until: int, call_seq: int) -> Iterator[IncidentChange]:
        due = since + self._longer_than_ms
        if self._track.is_open:
            if due < self._track.deadline:
                if until > due:
                    evidence = [self._make_evidence(since, due)]
                    yield self._track.update(at_ms=due, evidence=evidence, call_seq=call_seq)
                    self._is_counted = True
                return
            yield from self._pass_time(until, call_seq)
        at_ms = max(due, self._track.cooldown_until)
        if not self._track.is_open and until > at_ms:
            evidence = [self._make_evidence(since, at_ms)]
            yield self._track.open(
                anchor=self._make_anchor(since), at_ms=at_ms, evidence=evidence, call_seq=call_seq
            )
            self._is_counted = True

    def _break(self, at_ms: int) -> None:
        if self._is_counted and self._since is not None:
            self._track.amend_last(self._make_evidence(self._since, at_ms))
        self._since = None
        self._is_counted = False

    def _pass_time(self, until_ms: int, call_seq: int) -> Iterator[IncidentChange]:
        if self._track.is_open and self._track.deadline <= until_ms:
            yield self._track.close(at_ms=self._track.deadline, call_seq=call_seq)

    def _make_anchor(self, since: int) -> str:
        return str(since) if self._leg_id is None else f"{self._leg_id}@{since}"

    def _make_evidence(self, start_ms: int, end_ms: int) -> Evidence:
        return Evidence(
            utterance_id=None, leg=self._leg_id, role=None, text=None, start_ms=start_ms, end_ms=end_ms
        )


@dataclass(slots=True)
class _Axis:
    """One leg's stretches that are not decided on yet, each where the one before it ends."""

    known_until: int
    is_live: bool = True
    ahead: deque[Stretch] = field(default_factory=deque)

    def extend(self, until_ms: int, sound: Sound, shortest: int) -> None:
        """Append a stretch; a silence of ``shortest`` or less between speech is taken for speech.

        No silence of the call that is long enough can lie in it, and so the stretches that wait for
        another leg stay few.
        """
        if until_ms <= self.known_until:
            return
        start = self.known_until
        self.known_until = until_ms
        if sound == "busy" and self._ends_in_pause(shortest):
            self.ahead.pop()
        if self.ahead and self.ahead[-1].sound == sound:
            start = self.ahead.pop().start_ms
        self.ahead.append(Stretch(start, until_ms, sound))

    def look(self, at_ms: int) -> Stretch | None:
        """Return the stretch at a time, and forget those before it; None: nothing there."""
        while self.ahead and self.ahead[0].end_ms <= at_ms:
            self.ahead.popleft()
        return self.ahead[0] if self.ahead else None

    def _ends_in_pause(self, shortest: int) -> bool:
        if len(self.ahead) < 2:  # noqa: PLR2004 - the pause, and the speech before it
            return False
        before, last = self.ahead[-2], self.ahead[-1]
        is_short = last.end_ms - last.start_ms <= shortest
        return before.sound == "busy" and last.sound == "silent" and is_short


class CallSilence:
    """One rule on the silence of the call: decides as far as all live legs are covered."""

    __slots__ = ("_axes", "_decided_until", "_heard_until", "_longer_than_ms", "_watch")

    def __init__(self, longer_than_ms: int, track: IncidentTrack) -> None:
        self._longer_than_ms = longer_than_ms
        self._watch = SilenceWatch(longer_than_ms, track, leg_id=None)
        self._axes: dict[str, _Axis] = {}
        self._decided_until = BEFORE_ALL_MS
        self._heard_until = BEFORE_ALL_MS
        """How far the leg that is ahead of all others is covered."""

    def start_leg(self, leg_id: str, at_ms: int) -> None:
        """Take up a leg, or one that comes back; decides nothing, as others may start with it."""
        axis = self._axes.setdefault(leg_id, _Axis(self._decided_until))
        axis.is_live = True
        axis.known_until = max(axis.known_until, self._decided_until)
        axis.extend(at_ms, "away", self._longer_than_ms)

    def hear(self, leg_id: str, stretch: Stretch, call_seq: int) -> Iterator[IncidentChange]:
        """Take a live leg's next stretch."""
        self._heard_until = max(self._heard_until, stretch.end_ms)
        self._axes[leg_id].extend(stretch.end_ms, stretch.sound, self._longer_than_ms)
        yield from self._decide(call_seq)

    def end_leg(self, leg_id: str, call_seq: int) -> Iterator[IncidentChange]:
        """Wait for the leg no more; the call's silence may go on without it."""
        self._axes[leg_id].is_live = False
        yield from self._decide(call_seq)

    def end(self, call_seq: int) -> Iterator[IncidentChange]:
        """End the call, where the last leg's coverage ends."""
        for axis in self._axes.values():
            axis.is_live = False
        yield from self._decide(call_seq)
        yield from self._watch.end(self._decided_until, call_seq)

    def _decide(self, call_seq: int) -> Iterator[IncidentChange]:
        frontier = self._find_frontier()
        while self._decided_until < frontier:
            stretch = self._merge(self._decided_until, frontier)
            self._decided_until = stretch.end_ms
            yield from self._watch.hear(stretch, call_seq)

    def _find_frontier(self) -> int:
        # That a leg starts late says nothing of others that may start before it; audio does.
        live = (axis.known_until for axis in self._axes.values() if axis.is_live)
        return min((self._heard_until, *live))

    def _merge(self, start_ms: int, end_ms: int) -> Stretch:
        stretches = [stretch for axis in self._axes.values() if (stretch := axis.look(start_ms)) is not None]
        sounds = {stretch.sound for stretch in stretches}
        sound: Sound = "busy" if "busy" in sounds else "silent" if "silent" in sounds else "away"
        return Stretch(start_ms, min([end_ms, *(stretch.end_ms for stretch in stretches)]), sound)
