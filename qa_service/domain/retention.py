"""Audio of a leg that has not been covered yet, kept for a replay, and the record offsets it came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import groupby

import msgspec

from qa_service.audio.pcm import BYTES_PER_SAMPLE, to_pcm
from qa_service.domain.arrival import Arrival, Hole, Piece


class RetainedAudio:
    """Pieces of a leg in order, from the first one not wholly covered to the newest.

    Audio stays as it came (G.711 is half the size of PCM). Holes are kept too, so that a replay feeds the
    next session what the first one was fed.
    """

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._newest_offset = -1
        self._holes = 0
        """How many of the pieces are holes: mostly none, and then none need be looked for."""
        self.samples = 0
        """How much audio is kept; holes take no room."""

    def push(self, piece: Piece) -> None:
        """Add the newest piece."""
        if isinstance(piece, Arrival):
            if piece.offset < self._newest_offset:
                self._lower_offsets(piece.offset)
            else:
                self._newest_offset = piece.offset
            self.samples += piece.samples
        else:
            self._holes += 1
        self._pieces.append(piece)

    def cover(self, position: int) -> int | None:
        """Forget everything that ends at or before ``position``; return the newest frame number among it."""
        newest_seq: int | None = None
        pieces = self._pieces
        while pieces:
            piece = pieces[0]
            if piece.pos + piece.samples > position:
                break
            pieces.popleft()
            if isinstance(piece, Arrival):
                newest_seq = piece.seq
                self.samples -= piece.samples
            else:
                self._holes -= 1
        return newest_seq

    @property
    def first_offset(self) -> int | None:
        """Offset from which a successor has to read to get all of this; None if no audio is kept."""
        return next((piece.offset for piece in self._pieces if isinstance(piece, Arrival)), None)

    def holes_before(self, position: int) -> list[Hole]:
        """Return the holes that begin before ``position``, in order."""
        holes: list[Hole] = []
        if not self._holes:
            return holes
        for piece in self._pieces:
            if piece.pos >= position:
                break
            if isinstance(piece, Hole):
                holes.append(piece)
        return holes

    def pcm_between(self, start: int, end: int) -> bytes:
        """Decode what is kept of a stretch, 16-bit PCM; holes in it are left out."""
        # Asked of every frame of every utterance: so without a call for its end.
        pieces = [
            piece
            for piece in self._pieces
            if piece.pos < end and piece.pos + piece.samples > start and isinstance(piece, Arrival)
        ]
        if not pieces:
            return b""
        excess = max(pieces[-1].end - end, 0)
        pieces[0] = pieces[0].since(start)
        runs = groupby(pieces, key=lambda piece: piece.codec)
        pcm = b"".join(to_pcm(codec, b"".join([piece.audio for piece in run])) for codec, run in runs)
        return pcm[: len(pcm) - BYTES_PER_SAMPLE * excess]

    def start_of_newest(self, samples: int) -> int:
        """Position of the first piece from which on no more than ``samples`` of audio are kept."""
        excess = self.samples - samples
        for piece in self._pieces:
            if excess <= 0:
                return piece.pos
            if isinstance(piece, Arrival):
                excess -= piece.samples
        return self._pieces[-1].end if self._pieces else 0

    def __iter__(self) -> Iterator[Piece]:
        return iter(self._pieces)

    def _lower_offsets(self, offset: int) -> None:
        """Let pieces that overtook the newest one count as read only with it.

        With that, offsets never fall from piece to piece, and the first one is the smallest.
        """
        for index in range(len(self._pieces) - 1, -1, -1):
            piece = self._pieces[index]
            if isinstance(piece, Hole):
                continue
            if piece.offset <= offset:
                return
            self._pieces[index] = msgspec.structs.replace(piece, offset=offset)
