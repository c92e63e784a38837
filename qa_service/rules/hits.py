"""What conditions pass on to each other: that they hold, when, and what it rests on.

Everything has a place in the call (:class:`Place`), and places are in one order whatever order entries
arrive in. Times are call time in milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

from qa_service.domain.incidents import Evidence

MAX_PIECES = 10
"""Pieces of evidence that one hit carries: all that the widest window can ask for."""
BEFORE_ALL_MS = -(2**62)
"""Before any call time. A leg whose clock is behind that of the call's first record has times below zero."""


class Place(NamedTuple):
    """Where in the call something is: when it began; on which leg, as what utterance ("" and 0: neither)."""

    at_ms: int
    leg_id: str = ""
    ordinal: int = 0


NOWHERE = Place(BEFORE_ALL_MS)
"""Before every other place."""


class Piece(NamedTuple):
    """One piece of evidence, its place, and the name under which an incident may begin with it."""

    place: Place
    evidence: Evidence
    anchor: str


class Hit(NamedTuple):
    """A condition holds."""

    at_ms: int
    """When: the end of the speech that made it so, or the moment that passed."""
    start_ms: int
    """What it is compared by with others: the beginning of that speech."""
    end_ms: int
    place: Place
    """Of the newest that it rests on."""
    floor: Place
    """What has to be new, for it to open another incident: the oldest that it cannot do without."""
    pieces: tuple[Piece, ...]
    first: int = 0
    """First word of its first occurrence in the utterance; 0 if it is about no words."""
    last: int = 0
    """First word of its last occurrence."""


def follows(later: Hit, earlier_place: Place, earlier_first: int) -> bool:
    """Tell whether a hit comes after another; within one utterance the order of the words decides."""
    return later.place != earlier_place or later.last > earlier_first


def join_pieces(*hits: Hit) -> tuple[Piece, ...]:
    """Put the evidence of several hits in order, each piece once; in the middle it may be left out."""
    pieces = sorted({piece.place: piece for hit in hits for piece in hit.pieces}.values(), key=_place_of)
    return trim(pieces)


def trim(pieces: list[Piece]) -> tuple[Piece, ...]:
    """Keep the first and the last of many pieces."""
    half = MAX_PIECES // 2
    return tuple(pieces if len(pieces) <= MAX_PIECES else pieces[:half] + pieces[-half:])


def _place_of(piece: Piece) -> Place:
    return piece.place
