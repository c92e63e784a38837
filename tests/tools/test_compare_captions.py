"""The rule by which the comparison says when words had settled, on captions written by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tools.compare.captions import (
    Caption,
    Said,
    heard_ends,
    last_text,
    partial_gaps_ms,
    settled_ms,
)

GREETING = Said("Good morning.", 0, 1000)
QUESTION = Said("How can I help?", 3000, 4500)


def captions(*texts: str) -> list[Caption]:
    """One every second."""
    return [Caption(1000.0 * number, text) for number, text in enumerate(texts, start=1)]


def test_an_utterance_has_settled_when_its_last_word_is_there() -> None:
    found = settled_ms([GREETING], captions("Good", "good morning", "Good morning."))

    assert found == [2000]


def test_a_word_that_is_changed_later_had_not_settled() -> None:
    found = settled_ms([GREETING], captions("Good morning", "Good warning", "Good morning", "Good morning."))

    assert found == [3000]


def test_words_that_are_only_left_out_for_a_while_had_settled() -> None:
    found = settled_ms([GREETING], captions("Good morning", "Good", "", "Good morning"))

    assert found == [1000]


def test_words_left_out_at_the_end_are_still_there() -> None:
    shown = captions("Good morning", "Good morning How can I help", "Good morning")

    assert last_text(shown) == "Good morning How can I help"
    assert settled_ms([GREETING, QUESTION], shown) == [1000, 2000]


def test_a_later_utterance_does_not_unsettle_an_earlier_one() -> None:
    shown = captions("Good morning", "Good morning how", "Good morning who", "Good morning How can I help?")

    assert settled_ms([GREETING, QUESTION], shown) == [1000, 4000]


def test_an_utterance_of_which_nothing_was_heard_has_no_time() -> None:
    assert settled_ms([GREETING, QUESTION], captions("How can I help")) == [None, 1000]
    assert settled_ms([GREETING], []) == [None]


def test_a_last_word_misheard_still_ends_the_utterance() -> None:
    assert settled_ms([GREETING], captions("Good", "Good mourning")) == [2000]


@pytest.mark.parametrize(
    ("heard", "ends"),
    [
        ("a b c d", [2, 4]),
        ("a x c d", [2, 4]),
        ("a c d", [None, 3]),
        ("a b x y c d", [2, 6]),
        ("x y", [None, None]),
        ("c d", [None, 2]),
    ],
)
def test_the_ends_of_utterances_are_found_in_what_was_heard(heard: str, ends: list[int | None]) -> None:
    assert heard_ends([["a", "b"], ["c", "d"]], heard.split()) == ends


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5), min_size=1, max_size=5))
def test_what_is_heard_word_for_word_ends_where_it_was_said(said: list[list[str]]) -> None:
    heard = [word for utterance in said for word in utterance]
    lengths = [len(utterance) for utterance in said]

    assert heard_ends(said, heard) == [sum(lengths[: n + 1]) for n in range(len(lengths))]


@given(st.lists(st.text(alphabet="ab ", max_size=8), max_size=8))
def test_what_is_there_at_the_end_never_settles_before_it_was_first_shown(texts: list[str]) -> None:
    shown = captions(*texts)
    said = Said(last_text(shown), 0, 1)

    (at_ms,) = settled_ms([said], shown)

    first = [caption.at_ms for caption in shown if len(caption.text.split()) >= len(said.text.split())]
    assert at_ms is None or at_ms >= min(first)
    assert (at_ms is None) == (not said.text.split())


def test_gaps_are_those_within_speech_only() -> None:
    shown = [Caption(at_ms, "") for at_ms in (500, 800, 2000, 4000)]

    assert partial_gaps_ms([GREETING, QUESTION], shown) == [500, 300, 200, 1000, 500]
