"""What of a leg is released: utterances, gaps and quiet, which tile it strictly in order.

Each release covers the leg up to its end. A hole of some length is one gap, never cut: whatever else is
said to end or begin inside it is moved to its edge, since what was fed there was silence of our own. Only
a hole that a speaker talked across is inside an utterance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from qa_service.audio.loudness import active_level_dbfs
from qa_service.domain.arrival import Arrival, Hole
from qa_service.domain.entries import GapReason, TimeSource
from qa_service.domain.retention import RetainedAudio
from qa_service.protocol.events import Completed

SHORT_HOLE_MS: Final = 200
"""Up to here a hole is filled with silence of its own length and not worth a row (design, 3.1)."""
QUIET_STEP_MS: Final = 1000
"""Coverage advances through quiet in steps of at least this much: one row a second of silence."""

EndReason: TypeAlias = Literal["stop", "call_end", "idle"]


class ReleasedUtterance(Struct, frozen=True, kw_only=True):
    """A finished turn at its place in the leg."""

    start: int
    end: int
    result: Completed
    time_source: TimeSource
    final_at_ms: int
    loudness_dbfs: float | None = None


class ReleasedQuiet(Struct, frozen=True, kw_only=True):
    """A stretch that was heard and holds no speech."""

    start: int
    end: int
    time_source: TimeSource


class ReleasedGap(Struct, frozen=True, kw_only=True):
    """A stretch that nobody transcribed."""

    start: int
    end: int
    reason: GapReason


class ReleasedEnd(Struct, frozen=True):
    """Everything is released and no more is expected."""

    reason: EndReason


Release: TypeAlias = ReleasedUtterance | ReleasedQuiet | ReleasedGap | ReleasedEnd


class Coverage:
    """How far a leg is covered, and the audio that is not; every release goes to ``emit``."""

    def __init__(
        self, rate: int, *, until: int, newest_seq: int | None, emit: Callable[[Release], None]
    ) -> None:
        self.until = until
        """Position up to which everything is released."""
        self.newest_seq = newest_seq
        """Frame number of the newest frame that is covered."""
        self.retained = RetainedAudio()
        self._rate = rate
        self._short_hole = SHORT_HOLE_MS * rate // 1000
        self._quiet_step = QUIET_STEP_MS * rate // 1000
        self._emit = emit

    def release_utterance(
        self, start: int, end: int, result: Completed, *, time_source: TimeSource, final_at_ms: int
    ) -> None:
        """Release a turn; one whose place is covered already has no length, but its words are kept."""
        start = max(start, self.until)
        end = max(end, start)
        for hole in self._long_holes(end):
            if hole.pos <= start < hole.end:
                start = hole.end
            if hole.pos < end <= hole.end:
                end = hole.pos
        end = max(end, start)
        self._release_holes(start)
        utterance = ReleasedUtterance(
            start=start,
            end=end,
            result=result,
            time_source=time_source,
            final_at_ms=final_at_ms,
            # Of the audio that is kept for a replay: so a replay, and a successor, measure the very same.
            loudness_dbfs=active_level_dbfs(self.retained.pcm_between(start, end), self._rate),
        )
        inside = [hole for hole in self._long_holes(end) if hole.pos >= start]
        self._cover(end, utterance)
        for hole in inside:
            self._emit(ReleasedGap(start=hole.pos, end=hole.end, reason=hole.reason))

    def release_quiet(self, position: int, source: TimeSource) -> None:
        """Cover up to ``position``, where no speech is: quiet, but for the holes in it."""
        self._release_holes(position)
        if position > self.until:
            self._cover(position, ReleasedQuiet(start=self.until, end=position, time_source=source))

    def advance_through_quiet(self, position: int, source: TimeSource) -> None:
        """Cover up to ``position``, where no speech is, if that is a step worth a row."""
        if position - self.until >= self._quiet_step:
            self.release_quiet(position, source)

    def give_up(self, position: int, reason: GapReason, *, newest_seq: int | None = None) -> None:
        """Cover up to ``position``, which nobody transcribes; holes in it keep their own reasons.

        ``newest_seq``: the number of the newest frame in it, where its audio was not even kept.
        """
        for hole in self._long_holes(position):
            self._release_gap(hole.pos, reason)
            self._release_gap(hole.end, hole.reason)
        self._release_gap(position, reason)
        if newest_seq is not None:
            self.newest_seq = newest_seq

    def state_hole(self, reason: GapReason) -> None:
        """Tell that audio is missing here, of a length that nobody knows: a gap of none."""
        self._emit(ReleasedGap(start=self.until, end=self.until, reason=reason))

    def _release_holes(self, position: int) -> None:
        """Release the holes that begin before ``position``; the quiet between them goes without a row."""
        for hole in self._long_holes(position):
            if hole.end > self.until:
                start = max(hole.pos, self.until)
                self._cover(hole.end, ReleasedGap(start=start, end=hole.end, reason=hole.reason))

    def _release_gap(self, end: int, reason: GapReason) -> None:
        if end > self.until:
            self._cover(end, ReleasedGap(start=self.until, end=end, reason=reason))

    def _long_holes(self, position: int) -> list[Hole]:
        return [hole for hole in self.retained.holes_before(position) if hole.samples > self._short_hole]

    def _cover(self, position: int, release: Release) -> None:
        self._emit(release)
        self.until = position
        newest_seq = self.retained.cover(position)
        if newest_seq is not None:
            self.newest_seq = newest_seq

    def uncovered(self, chunk_samples: int) -> Iterator[list[Arrival] | Hole]:
        """Go over what is not covered, in order: chunks of audio of about so many samples, and holes."""
        chunk: list[Arrival] = []
        size = 0
        for piece in self.retained:
            if isinstance(piece, Arrival):
                chunk.append(piece.since(self.until))
                size += piece.samples
                if size < chunk_samples:
                    continue
            if chunk:
                yield chunk
                chunk, size = [], 0
            if isinstance(piece, Hole):
                yield piece
        if chunk:
            yield chunk
