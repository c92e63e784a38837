"""Audio of a leg that has not been covered yet, kept for a replay, and the record offsets it came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from qa_service.domain.arrival import Arrival, Hole, Piece


class RetainedAudio:
    """Pieces of a leg in order, from the first one not wholly covered to the newest.

    Audio stays as it came (G.711 is half the size of PCM). Holes are kept too, so that a replay feeds the
    next session what the first one was fed.
    """

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()

    def push(self, piece: Piece) -> None:
        """Add the newest piece."""
        self._pieces.append(piece)

    def cover(self, position: int) -> tuple[list[Hole], int | None]:
        """Forget everything that ends at or before ``position``.

        Returns the holes among it, and the newest frame number among it.
        """
        holes: list[Hole] = []
        newest_seq: int | None = None
        pieces = self._pieces
        while pieces and pieces[0].end <= position:
            piece = pieces.popleft()
            if isinstance(piece, Hole):
                holes.append(piece)
            else:
                newest_seq = piece.seq
        return holes, newest_seq

    @property
    def first_offset(self) -> int | None:
        """Offset of the first record whose audio is not wholly covered."""
        return next((piece.offset for piece in self._pieces if isinstance(piece, Arrival)), None)

    @property
    def end(self) -> int | None:
        """Position after the newest piece; None when nothing is retained."""
        return self._pieces[-1].end if self._pieces else None

    @property
    def start(self) -> int | None:
        """Position of the oldest piece; None when nothing is retained."""
        return self._pieces[0].pos if self._pieces else None

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)

    def __bool__(self) -> bool:
        return bool(self._pieces)
