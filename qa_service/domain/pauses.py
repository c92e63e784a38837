"""What of a leg's audio is left out: since the leg is paused, or since nobody can follow and it is given up.

Decided here: where that begins and ends. A pause begins at the newest audio that was put in order before the
``pause``; what is missing right after the ``resume`` still belongs to it. However long, it is one hole, which
is passed on once audio goes on or the leg ends.
"""

from __future__ import annotations

from collections.abc import Iterable

from qa_service.domain.arrival import Hole, Piece


class Pauses:
    """The pauses of one leg, and the stretches that are given up."""

    def __init__(self, position: int, *, paused: bool) -> None:
        self.paused = paused
        """Whether audio is left out since the leg is paused."""
        self.gives_up = False
        """Whether audio is left out since nobody can follow (reason ``capacity``)."""
        self.hole = Hole(position, 0, "paused") if paused else None
        """What goes on being left out, or has just ended, as far as it is known; None: nothing is."""

    def begin(self, position: int) -> None:
        """Leave audio out from ``position`` on, the end of what was put in order."""
        self.paused = True
        if self.hole is None or not self.hole.samples:
            self.hole = Hole(position, 0, "paused")

    def end(self) -> None:
        """Leave no more audio out for a pause."""
        self.paused = False
        if self.gives_up and self.hole is not None and not self.hole.samples:
            self.hole = Hole(self.hole.pos, 0, "capacity")

    def begin_giving_up(self, position: int) -> None:
        """Give audio up from ``position`` on, the end of what was put in order."""
        self.gives_up = True
        self.hole = self.hole or Hole(position, 0, "capacity")

    def end_giving_up(self) -> None:
        """Give no more audio up."""
        self.gives_up = False

    def leave_out(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Return what of ``pieces`` is not left out, after the holes that they end."""
        kept: list[Piece] = []
        for piece in pieces:
            if self.hole is None:
                kept.append(piece)
            elif self.paused or self.gives_up or isinstance(piece, Hole):
                self.hole = Hole(self.hole.pos, piece.end - self.hole.pos, self.hole.reason)
            else:
                kept += self.close()
                kept.append(piece)
        return kept

    def close(self) -> list[Hole]:
        """Return the hole as far as it is known, if it has any length; one that goes on begins anew."""
        hole = self.hole
        if hole is None:
            return []
        if self.paused:
            self.hole = Hole(hole.end, 0, "paused")
        else:
            self.hole = Hole(hole.end, 0, "capacity") if self.gives_up else None
        return [hole] if hole.samples else []
