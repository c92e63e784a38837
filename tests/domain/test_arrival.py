from __future__ import annotations

from hypothesis import given, strategies as st

from qa_service.domain.arrival import LARGEST_HOLE, REORDER_WINDOW, Arrival, FrameOrder, Hole
from tests.domain.builders import FRAME, arrival


def an_order() -> FrameOrder:
    return FrameOrder(next_pos=0, next_seq=0)


def positions(pieces: list[Arrival | Hole]) -> list[tuple[str, int, int]]:
    return [
        (piece.reason if isinstance(piece, Hole) else "audio", piece.pos // FRAME, piece.samples // FRAME)
        for piece in pieces
    ]


def feed(order: FrameOrder, *indexes: int) -> list[tuple[str, int, int]]:
    return positions([piece for index in indexes for piece in order.accept(arrival(index))])


def test_frames_in_order_pass_at_once() -> None:
    assert feed(an_order(), 0, 1, 2) == [("audio", 0, 1), ("audio", 1, 1), ("audio", 2, 1)]


@given(st.permutations(range(REORDER_WINDOW + 1)))
def test_a_frame_overtaken_by_five_is_put_back(indexes: list[int]) -> None:
    assert feed(an_order(), *indexes) == [("audio", index, 1) for index in range(REORDER_WINDOW + 1)]


def test_a_frame_overtaken_by_six_is_lost() -> None:
    order = an_order()

    assert feed(order, 1, 2, 3, 4, 5) == []
    assert feed(order, 6)[:2] == [("lost", 0, 1), ("audio", 1, 1)]
    assert order.refusal(arrival(0)) == "repeated"


def test_a_jump_of_positions_alone_is_audio_that_was_not_sent() -> None:
    order = an_order()
    feed(order, 0)

    later = Arrival(50 * FRAME, FRAME, 1, 1, "pcm_s16le", bytes(2 * FRAME))

    assert positions(order.accept(later)) == [("not_sent", 1, 49), ("audio", 50, 1)]


def test_flushing_gives_up_what_is_missing() -> None:
    order = an_order()
    feed(order, 0, 2, 4)

    assert order.oldest_held_offset == 2
    assert positions(order.flush()) == [("lost", 1, 1), ("audio", 2, 1), ("lost", 3, 1), ("audio", 4, 1)]
    assert order.oldest_held_offset is None


def test_a_repeated_frame_is_refused_whether_passed_on_or_held() -> None:
    order = an_order()
    feed(order, 0, 2)

    assert order.refusal(arrival(0)) == "repeated"
    assert order.refusal(arrival(2)) == "repeated"
    assert order.refusal(arrival(1)) is None


def test_a_new_number_at_an_old_position_runs_backwards() -> None:
    order = an_order()
    feed(order, 0, 1, 2)

    assert order.refusal(Arrival(0, FRAME, 3, 3, "pcmu", bytes(FRAME))) == "runs_backwards"


def test_what_a_predecessor_read_is_repeated_whatever_its_number() -> None:
    order = FrameOrder(next_pos=100 * FRAME, next_seq=50)  # frames 50 to 99 were left out by a pause

    assert order.refusal(arrival(70)) == "repeated"


def test_a_position_days_ahead_is_refused() -> None:
    far = Arrival(LARGEST_HOLE + FRAME, FRAME, 1, 1, "pcmu", bytes(FRAME))

    assert an_order().refusal(far) == "jumps_ahead"


def test_only_the_new_part_of_an_overlapping_frame_passes() -> None:
    order = an_order()
    feed(order, 0)
    overlapping = Arrival(
        FRAME // 2, FRAME, 1, 1, "pcm_s16le", b"\1\0" * (FRAME // 2) + b"\2\0" * (FRAME // 2)
    )

    [piece] = order.accept(overlapping)

    assert piece == Arrival(FRAME, FRAME // 2, 1, 1, "pcm_s16le", b"\2\0" * (FRAME // 2))


frames = st.lists(
    st.builds(
        lambda pos, samples, seq: Arrival(pos * 10, samples * 10, seq, 0, "pcmu", bytes(samples * 10)),
        st.integers(0, 60),
        st.integers(1, 12),
        st.integers(0, 40),
    ),
    max_size=40,
)


@given(frames)
def test_whatever_comes_pieces_tile_the_leg(arrivals: list[Arrival]) -> None:
    order = an_order()
    pieces: list[Arrival | Hole] = []
    for frame in arrivals:
        if order.refusal(frame) is None:
            pieces += order.accept(frame)
    pieces += order.flush()

    assert [piece.pos for piece in pieces] == [0, *(piece.end for piece in pieces)][: len(pieces)]
    assert all(piece.samples > 0 for piece in pieces)
    assert all(len(piece.audio) == piece.samples for piece in pieces if isinstance(piece, Arrival))


def test_what_is_missing_where_records_were_deleted_unread_is_missing_for_that() -> None:
    order = an_order()
    feed(order, 0)
    order.note_deleted_records()
    assert order.may_miss_its_end

    feed(order, *range(11, 16))
    assert feed(order, 16)[0] == ("offset_lost", 1, 10)
    assert not order.may_miss_its_end
    feed(order, *range(21, 26))
    assert feed(order, 26)[0] == ("lost", 17, 4)  # by another cause


def test_a_leg_whose_records_were_not_among_the_deleted_misses_nothing() -> None:
    order = an_order()
    feed(order, 0)
    order.note_deleted_records()

    assert feed(order, 1) == [("audio", 1, 1)]
    assert not order.may_miss_its_end


def test_frames_held_back_when_records_were_deleted_lie_before_the_hole() -> None:
    order = an_order()
    feed(order, 0, 2)
    order.note_deleted_records()
    feed(order, *range(11, 15))

    assert feed(order, 15)[:2] == [("offset_lost", 1, 1), ("audio", 2, 1)]
    assert positions(order.flush())[0] == ("offset_lost", 3, 8)
