from __future__ import annotations

from hypothesis import given, strategies as st

from qa_service.domain.arrival import Arrival, Hole
from qa_service.domain.retention import RetainedAudio
from tests.domain.builders import FRAME, arrival


def retaining(*pieces: Arrival | Hole) -> RetainedAudio:
    retained = RetainedAudio()
    for piece in pieces:
        retained.push(piece)
    return retained


def test_audio_is_kept_until_its_last_sample_is_covered() -> None:
    retained = retaining(arrival(0), arrival(1))

    assert retained.cover(FRAME * 2 - 1) == 0
    assert retained.first_offset == 1
    assert retained.cover(FRAME * 2) == 1
    assert retained.first_offset is None


def test_holes_take_no_room() -> None:
    retained = retaining(arrival(0), Hole(FRAME, 10**9, "not_sent"))

    assert retained.samples == FRAME


def test_holes_are_found_by_where_they_begin() -> None:
    hole = Hole(FRAME, FRAME, "lost")
    retained = retaining(arrival(0), hole, arrival(2))

    assert retained.holes_before(FRAME) == []
    assert retained.holes_before(FRAME + 1) == [hole]


@given(st.permutations(range(12)), st.integers(0, 11))
def test_a_successor_reads_from_the_smallest_offset_that_is_not_covered(
    offsets: list[int], covered: int
) -> None:
    retained = retaining(*(arrival(index, offset=offset) for index, offset in enumerate(offsets)))

    retained.cover(covered * FRAME)

    assert retained.first_offset == min(offsets[covered:])


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 20))
def test_the_newest_audio_that_fits_begins_at_a_piece(are_holes: list[bool], frames: int) -> None:
    pieces = [
        Hole(i * FRAME, FRAME, "lost") if is_hole else arrival(i) for i, is_hole in enumerate(are_holes)
    ]
    retained = retaining(*pieces)

    retained.cover(retained.start_of_newest(frames * FRAME))

    assert retained.samples == min(frames, are_holes.count(False)) * FRAME
