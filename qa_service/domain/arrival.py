"""In which order frames of a leg count, and what a jump in their numbers means.

Positions decide where audio belongs; frame numbers only tell loss from silence. A frame that was
overtaken by up to five others is put back in its place. A jump of the position without one of the number
is audio that was never sent (hold, mute, DTX); with one, it is loss.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from qa_service.contract.codecs import Codec

REORDER_WINDOW = 5
"""Frames that may overtake a missing one before it counts as lost: 100 ms at 20 ms each, the depth of a
common RTP jitter buffer."""

LARGEST_HOLE = 24 * 3600 * 16_000
"""Samples: a day at the highest rate. No call waits so long; a position further ahead is a mistake, and
taking it would make everything after it look old."""

Refusal: TypeAlias = Literal["repeated", "runs_backwards", "jumps_ahead"]
"""``repeated``: heard before, or its place was given up. ``runs_backwards``: a new number at an old
position, so the producer contradicts itself. ``jumps_ahead``: further than any call can last."""


class Arrival(Struct, frozen=True, gc=False):
    """Audio at its place in the leg, as it came."""

    pos: int
    samples: int
    seq: int
    offset: int
    """Of the record in its partition."""
    codec: Codec
    audio: bytes

    @property
    def end(self) -> int:
        """Position after the last sample."""
        return self.pos + self.samples

    def since(self, position: int) -> Arrival:
        """What of it lies at or after ``position``, which is before its end."""
        cut = position - self.pos
        if cut <= 0:
            return self
        # A packet of Opus cannot be cut: it is decoded whole, and its last samples are those meant.
        kept_from = 0 if self.codec == "opus" else cut * (len(self.audio) // self.samples)
        audio = self.audio[kept_from:]
        return Arrival(position, self.samples - cut, self.seq, self.offset, self.codec, audio)


class Hole(Struct, frozen=True, gc=False):
    """A stretch of the leg for which no audio came."""

    pos: int
    samples: int
    reason: Literal["not_sent", "lost", "offset_lost", "paused", "capacity"]

    @property
    def end(self) -> int:
        """Position after the last missing sample."""
        return self.pos + self.samples


Piece: TypeAlias = Arrival | Hole


class FrameOrder:
    """Puts the frames of one leg in order; :meth:`accept` returns what may go on, gapless by positions."""

    def __init__(self, *, next_pos: int, next_seq: int | None) -> None:
        self.next_pos = next_pos
        """Position of the next sample that has not been passed on."""
        self.next_seq = next_seq
        """Frame number expected with it; None: unknown."""
        self._began_at = next_pos
        self.held: list[Arrival] = []
        """Frames that wait for others that they have overtaken; looked at from outside, and not changed."""
        self._unread_after: int | None = None
        """End of the audio that was there when records were found to be deleted before they were read."""

    def refusal(self, frame: Arrival) -> Refusal | None:
        """Say why a frame brings nothing new; None if it does."""
        if frame.end > self.next_pos:
            if frame.pos - self.next_pos > LARGEST_HOLE:
                return "jumps_ahead"
            held = self.held
            return "repeated" if held and any(other.pos == frame.pos for other in held) else None
        # What ends before this object's own beginning was read by a predecessor, numbers unknown.
        if frame.end > self._began_at and self.next_seq is not None and frame.seq >= self.next_seq:
            return "runs_backwards"
        return "repeated"

    def accept(self, frame: Arrival) -> list[Piece]:
        """Take a frame that was not refused; return the pieces that are now in order."""
        if frame.pos <= self.next_pos and not self.held:  # the common case, without a detour
            piece = frame.since(self.next_pos) if frame.pos < self.next_pos else frame
            self.next_pos, self.next_seq = frame.end, frame.seq + 1
            return [piece]
        self.held.append(frame)
        self.held.sort(key=lambda held: held.pos)
        pieces = self._take_ready()
        if len(self.held) > REORDER_WINDOW:
            pieces += self._take_first()
            pieces += self._take_ready()
        return pieces

    def flush(self) -> list[Piece]:
        """Give up waiting for missing frames; return what is held with the holes between."""
        pieces: list[Piece] = []
        while self.held:
            pieces += self._take_first()
        return pieces

    def note_deleted_records(self) -> None:
        """Records that were never read are gone: what is missing next is missing for that."""
        self._unread_after = max((frame.end for frame in self.held), default=self.next_pos)

    @property
    def newest_seq(self) -> int | None:
        """Number of the newest frame that was passed on."""
        return None if self.next_seq is None else self.next_seq - 1

    @property
    def may_miss_its_end(self) -> bool:
        """Whether no audio has come since records were deleted: nobody knows how much there was."""
        return self._unread_after is not None and self.next_pos <= self._unread_after

    @property
    def oldest_held_offset(self) -> int | None:
        """Smallest record offset among frames still held back."""
        return min((frame.offset for frame in self.held), default=None)

    def _take_ready(self) -> list[Piece]:
        pieces: list[Piece] = []
        while self.held and self._follows(self.held[0]):
            pieces += self._take_first()
        return pieces

    def _follows(self, frame: Arrival) -> bool:
        return frame.pos <= self.next_pos or self.next_seq is None or frame.seq == self.next_seq

    def _take_first(self) -> list[Piece]:
        """Pass on the first frame that is held, with the hole before it."""
        frame = self.held.pop(0)
        if frame.end <= self.next_pos:
            return []  # wholly inside another one
        pieces: list[Piece] = []
        if frame.pos > self.next_pos:
            pieces.append(Hole(self.next_pos, frame.pos - self.next_pos, self._reason_of_hole(frame)))
        pieces.append(frame.since(self.next_pos))
        self.next_pos, self.next_seq = frame.end, frame.seq + 1
        return pieces

    def _reason_of_hole(self, frame: Arrival) -> Literal["not_sent", "lost", "offset_lost"]:
        """Say why there is no audio before a frame."""
        is_numbered = self.next_seq is not None
        if is_numbered and frame.seq == self.next_seq:
            return "not_sent"
        if self.may_miss_its_end:
            return "offset_lost"
        return "lost" if is_numbered else "not_sent"
