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

Refusal: TypeAlias = Literal["repeated", "runs_backwards"]
"""``repeated``: heard before, or its place was given up. ``runs_backwards``: a new number at an old
position, so the producer contradicts itself."""


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


class Hole(Struct, frozen=True, gc=False):
    """A stretch of the leg for which no audio came."""

    pos: int
    samples: int
    reason: Literal["not_sent", "lost", "paused"]

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
        self._held: list[Arrival] = []

    def refusal(self, frame: Arrival) -> Refusal | None:
        """Say why a frame brings nothing new; None if it does."""
        if frame.end > self.next_pos:
            return "repeated" if any(held.pos == frame.pos for held in self._held) else None
        if self.next_seq is not None and frame.seq >= self.next_seq:
            return "runs_backwards"
        return "repeated"

    def accept(self, frame: Arrival) -> list[Piece]:
        """Take a frame that was not refused; return the pieces that are now in order."""
        if frame.pos <= self.next_pos and not self._held:  # the common case, without a detour
            piece = frame if frame.pos == self.next_pos else _without_head(frame, self.next_pos)
            self.next_pos, self.next_seq = frame.end, frame.seq + 1
            return [piece]
        self._held.append(frame)
        self._held.sort(key=lambda held: held.pos)
        pieces = self._take_ready()
        if len(self._held) > REORDER_WINDOW:
            pieces += self._take_first()
        return pieces

    def flush(self) -> list[Piece]:
        """Give up waiting for missing frames; return what is held with the holes between."""
        pieces: list[Piece] = []
        while self._held:
            pieces += self._take_first()
        return pieces

    @property
    def oldest_held_offset(self) -> int | None:
        """Smallest record offset among frames still held back."""
        return min((frame.offset for frame in self._held), default=None)

    def _take_ready(self) -> list[Piece]:
        pieces: list[Piece] = []
        while self._held and self._follows(self._held[0]):
            pieces += self._take_first_piece()
        return pieces

    def _follows(self, frame: Arrival) -> bool:
        return frame.pos <= self.next_pos or self.next_seq is None or frame.seq == self.next_seq

    def _take_first(self) -> list[Piece]:
        return [*self._take_first_piece(), *self._take_ready()]

    def _take_first_piece(self) -> list[Piece]:
        frame = self._held.pop(0)
        pieces: list[Piece] = []
        if frame.pos > self.next_pos:
            in_sequence = self.next_seq is None or frame.seq == self.next_seq
            pieces.append(
                Hole(self.next_pos, frame.pos - self.next_pos, "not_sent" if in_sequence else "lost")
            )
        elif frame.pos < self.next_pos:
            if frame.end <= self.next_pos:
                return []
            frame = _without_head(frame, self.next_pos)
        pieces.append(frame)
        self.next_pos, self.next_seq = frame.end, frame.seq + 1
        return pieces


def _without_head(frame: Arrival, position: int) -> Arrival:
    """Cut what lies before ``position``: audio that was passed on already."""
    cut = position - frame.pos
    bytes_per_sample = len(frame.audio) // frame.samples
    return Arrival(
        position,
        frame.samples - cut,
        frame.seq,
        frame.offset,
        frame.codec,
        frame.audio[cut * bytes_per_sample :],
    )
