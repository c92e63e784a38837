"""What of a leg's audio is left out since the leg is paused.

Decided here: where a pause begins and ends. It begins at the newest audio that was put in order before the
``pause``; what is missing right after the ``resume`` still belongs to it. However long, it is one hole, which
is passed on once audio goes on or the leg ends.
"""

from __future__ import annotations

from collections.abc import Iterable

from qa_service.domain.arrival import Hole, Piece


class Pauses:
    """The pauses of one leg."""

    def __init__(self, position: int, *, paused: bool) -> None:
        self.paused = paused
        """Whether audio is left out at present."""
        self.hole = Hole(position, 0, "paused") if paused else None
        """The pause that goes on, or has just ended, as far as it is known; None: nothing is left out."""

    def begin(self, position: int) -> None:
        """Leave audio out from ``position`` on, the end of what was put in order."""
        self.paused = True
        self.hole = self.hole or Hole(position, 0, "paused")

    def end(self) -> None:
        """Leave no more audio out."""
        self.paused = False

    def leave_out(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Return what of ``pieces`` belongs to no pause, after the pauses that they end."""
        kept: list[Piece] = []
        for piece in pieces:
            if self.hole is None:
                kept.append(piece)
            elif self.paused or isinstance(piece, Hole):
                self.hole = Hole(self.hole.pos, piece.end - self.hole.pos, "paused")
            else:
                kept += self.close()
                kept.append(piece)
        return kept

    def close(self) -> list[Piece]:
        """Return the pause as far as it is known, if it has any length; one that goes on begins anew."""
        hole = self.hole
        if hole is None:
            return []
        self.hole = Hole(hole.end, 0, "paused") if self.paused else None
        return [hole] if hole.samples else []
