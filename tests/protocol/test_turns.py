from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.protocol.errors import OutOfOrder
from qa_service.protocol.events import (
    Committed,
    Completed,
    Failed,
    ItemCreated,
    Partial,
    SpeechStarted,
    SpeechStopped,
)
from qa_service.protocol.turns import Turns


@pytest.fixture
def turns():
    return Turns()


def speak(turns, item_id, start=0, end=1000):
    turns.started(item_id, start)
    return turns.stopped(item_id, end, None)


def test_the_end_of_speech_closes_the_audio_and_creates_the_item_at_once(turns):
    """Section 5.1: three events in immediate succession."""
    assert SpeechStarted("A", 640) == turns.started("A", 640)
    assert turns.stopped("A", 3980, 3980) == (
        SpeechStopped("A", 3980),
        Committed("A", None),
        ItemCreated("A", None),
    )
    assert speak(turns, "B", 4000, 5000)[1:] == (Committed("B", "A"), ItemCreated("B", "A"))


def test_one_item_is_open_at_a_time(turns):
    """Section 5.1."""
    turns.started("A", 0)

    with pytest.raises(OutOfOrder, match="A is still open"):
        turns.started("B", 100)
    assert (turns.open_item, turns.unfinished_items) == ("A", ("A",))


def test_items_do_not_overlap(turns):
    """Section 4.4: they go upward; touching is allowed, as when a long utterance is cut (section 5.3)."""
    speak(turns, "A", 0, 1000)

    with pytest.raises(OutOfOrder, match="nothing may before 1000 ms"):
        turns.started("B", 999)
    assert SpeechStarted("B", 1000) == turns.started("B", 1000)


def test_nothing_starts_in_audio_that_was_reported_as_done(turns):
    """Extension: the promise of `qa.progress`."""
    turns.rule_out_before(2000)
    turns.rule_out_before(1500)

    with pytest.raises(OutOfOrder):
        turns.started("A", 1999)
    assert turns.earliest_start_ms == 2000


@pytest.mark.parametrize("end", [0, 499, 500, 1001])
def test_speech_ends_after_its_start_and_within_the_audio_received(turns, end):
    """Section 4.4: start < end <= audio received."""
    turns.started("A", 500)

    with pytest.raises(OutOfOrder, match="cannot end"):
        turns.stopped("A", end, 1000)


def test_an_end_is_not_checked_against_audio_of_unknown_length(turns):
    """Section 4.4: Opus does not tell how long it is."""
    turns.started("A", 500)

    assert turns.stopped("A", 10**9, None)


def test_only_the_open_item_can_be_stopped(turns):
    """Section 5.1."""
    speak(turns, "A")

    with pytest.raises(OutOfOrder, match="A is not open"):
        turns.stopped("A", 2000, None)


def test_a_manual_turn_is_committed_without_speech_events(turns):
    """Section 5.2."""
    turns.open("A")

    assert turns.committed("A") == (Committed("A", None), ItemCreated("A", None))
    with pytest.raises(OutOfOrder):
        turns.stopped("A", 100, None)


def test_a_manual_turn_has_no_end_of_speech(turns):
    """Section 5.2: no speech_stopped in manual mode."""
    turns.open("A")

    with pytest.raises(OutOfOrder):
        turns.stopped("A", 100, None)


def test_the_final_of_a_younger_item_waits_for_the_older(turns):
    """Section 5.1: everything of A comes before the final of B."""
    speak(turns, "A", 0, 100)
    speak(turns, "B", 100, 200)
    speak(turns, "C", 200, 300)

    assert turns.final(Completed("B", "two")) == ()
    assert turns.final(Completed("A", "one")) == (Completed("A", "one"), Completed("B", "two"))
    assert turns.final(Failed("C", "x")) == (Failed("C", "x"),)
    assert turns.unfinished_items == ()


def test_an_item_has_one_final(turns):
    """Section 5.1: exactly one of completed and failed, held ones included."""
    speak(turns, "A", 0, 100)
    speak(turns, "B", 100, 200)
    turns.final(Completed("B"))

    with pytest.raises(OutOfOrder, match="final result already"):
        turns.final(Failed("B"))
    with pytest.raises(OutOfOrder, match="final result already"):
        turns.partial(Partial("B", "late"))
    with pytest.raises(OutOfOrder, match="never started"):
        turns.final(Completed("Z"))


def test_an_open_item_has_no_final(turns):
    """Section 5.1: `committed` comes before `.completed`."""
    turns.started("A", 0)

    with pytest.raises(OutOfOrder, match="still open"):
        turns.final(Completed("A"))


def test_partials_may_come_before_and_after_the_end_of_speech(turns):
    """Section 5.1."""
    turns.started("A", 0)

    assert turns.partial(Partial("A", "", "one")) == (Partial("A", "", "one"),)
    turns.stopped("A", 100, None)
    assert turns.partial(Partial("A", "one", "")) == (Partial("A", "one", ""),)


def test_an_exact_repeat_is_left_out(turns):
    """Section 4.8."""
    turns.started("A", 0)
    turns.partial(Partial("A", "one", " two", "en", "neutral"))

    assert turns.partial(Partial("A", "one", " two", "en", "neutral")) == ()
    assert turns.partial(Partial("A", "one", " two", "en", "angry"))


def test_confirmed_text_is_not_shortened(turns):
    """Section 4.8: each `text` is a prefix of the next."""
    turns.started("A", 0)
    turns.partial(Partial("A", "one two", " three"))

    assert turns.partial(Partial("A", "one", " two four")) == (Partial("A", "one two", " four"),)


def test_confirmed_text_is_not_taken_back(turns):
    """Section 4.8."""
    turns.started("A", 0)
    turns.partial(Partial("A", "one two"))

    with pytest.raises(OutOfOrder, match="takes that back"):
        turns.partial(Partial("A", "one too"))


def test_nothing_more_is_said_of_a_cleared_item(turns):
    """Section 3.4: dropped, with no further events."""
    speak(turns, "A", 0, 100)
    turns.started("B", 200)
    turns.clear()

    assert turns.partial(Partial("B", "late")) == ()
    assert turns.stopped("B", 300, None) == ()
    assert turns.final(Completed("B")) == ()
    assert (turns.unfinished_items, turns.open_item) == ((("A",), None))
    assert speak(turns, "C", 400, 500)[1] == Committed("C", "A")


def test_clearing_without_an_open_item_drops_nothing(turns):
    """Section 3.4: committed audio is out of its reach."""
    speak(turns, "A")
    turns.clear()

    assert turns.unfinished_items == ("A",)


@given(st.permutations("ABCDEF"))
def test_finals_leave_in_the_order_of_their_items_whatever_the_order_of_arrival(order):
    """Section 5.1."""
    turns = Turns()
    for start, item_id in enumerate("ABCDEF"):
        speak(turns, item_id, start, start + 1)

    released = [event.item_id for item_id in order for event in turns.final(Completed(item_id))]

    assert released == list("ABCDEF")
