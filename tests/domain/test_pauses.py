from __future__ import annotations

from qa_service.domain.arrival import Hole
from qa_service.domain.pauses import Pauses
from tests.domain.builders import FRAME, arrival


def test_nothing_is_left_out_before_a_pause() -> None:
    pauses = Pauses(0, paused=False)

    assert pauses.leave_out([arrival(0), arrival(1)]) == [arrival(0), arrival(1)]
    assert pauses.close() == []


def test_a_pause_is_one_hole_before_the_audio_that_goes_on() -> None:
    pauses = Pauses(0, paused=False)
    pauses.begin(FRAME)

    assert pauses.leave_out([arrival(1), Hole(2 * FRAME, FRAME, "lost"), arrival(3)]) == []

    pauses.end()

    assert pauses.leave_out([arrival(4)]) == [Hole(FRAME, 3 * FRAME, "paused"), arrival(4)]
    assert pauses.hole is None


def test_what_is_missing_right_after_a_pause_belongs_to_it() -> None:
    pauses = Pauses(0, paused=True)
    pauses.end()

    assert pauses.leave_out([Hole(0, FRAME, "not_sent"), arrival(1)]) == [
        Hole(0, FRAME, "paused"),
        arrival(1),
    ]


def test_a_pause_without_audio_leaves_no_hole() -> None:
    pauses = Pauses(0, paused=True)
    pauses.end()

    assert pauses.leave_out([arrival(0)]) == [arrival(0)]


def test_a_pause_that_goes_on_when_it_is_told_begins_anew() -> None:
    pauses = Pauses(0, paused=True)
    pauses.leave_out([arrival(0)])

    assert pauses.close() == [Hole(0, FRAME, "paused")]
    assert pauses.hole == Hole(FRAME, 0, "paused")
    assert pauses.close() == []


def test_a_second_pause_before_any_audio_is_one_with_the_first() -> None:
    pauses = Pauses(0, paused=True)
    pauses.leave_out([arrival(0)])
    pauses.end()
    pauses.begin(FRAME)
    pauses.leave_out([arrival(1)])

    assert pauses.close() == [Hole(0, 2 * FRAME, "paused")]


def test_what_is_given_up_is_told_in_stretches_and_ends_with_audio_that_is_not() -> None:
    pauses = Pauses(0, paused=False)
    pauses.begin_giving_up(0)
    pauses.leave_out([arrival(0), arrival(1)])
    assert pauses.close() == [Hole(0, 2 * FRAME, "capacity")]

    pauses.leave_out([arrival(2)])
    pauses.end_giving_up()

    assert pauses.leave_out([arrival(3)]) == [Hole(2 * FRAME, FRAME, "capacity"), arrival(3)]
    assert pauses.hole is None


def test_a_pause_in_what_is_given_up_keeps_its_own_reason() -> None:
    pauses = Pauses(0, paused=False)
    pauses.begin_giving_up(0)
    pauses.begin(0)
    pauses.leave_out([arrival(0)])
    told = pauses.close()
    pauses.end()
    pauses.leave_out([arrival(1)])

    assert told + pauses.close() == [Hole(0, FRAME, "paused"), Hole(FRAME, FRAME, "capacity")]
