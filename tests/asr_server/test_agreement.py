from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.agreement import Agreement, Shown, continued, joined, units


def test_words_keep_the_blanks_before_them() -> None:
    assert units("The train  to") == ["The", " train", "  to"]


def test_scripts_without_blanks_are_taken_by_character() -> None:
    assert units("你好 OK吗") == ["你", "好", " OK", "吗"]


def test_a_first_hypothesis_confirms_nothing() -> None:
    assert Agreement().observe("The train to") == Shown("", "The train to")


def test_what_two_successive_hypotheses_agree_on_is_confirmed_but_for_the_last_word() -> None:
    agreement = Agreement()
    agreement.observe("The train to")

    assert agreement.observe("The train to Leeds") == Shown("The train", " to Leeds")


def test_a_full_stop_that_goes_away_does_not_confirm_its_word() -> None:
    agreement = Agreement()
    agreement.observe("The train to.")

    assert agreement.observe("The train to Leeds leaves.") == Shown("The train", " to Leeds leaves.")


def test_confirmed_text_is_not_taken_back() -> None:
    agreement = Agreement()
    agreement.observe("The train to Leeds")
    agreement.observe("The train to Leeds leaves")
    agreement.observe("A tram to Leeds leaves at")
    shown = agreement.observe("A tram to Leeds leaves at nine")

    assert shown.text == "The train to"
    assert shown.stash == " Leeds leaves at nine"


def test_showing_a_hypothesis_does_not_count_as_agreement() -> None:
    agreement = Agreement()
    agreement.observe("The train to Leeds")
    agreement.show("The train to Leeds")

    assert agreement.text == ""


words = st.lists(st.sampled_from(["a", "b", "c.", "你", "é"]), max_size=12).map(" ".join)


@given(st.lists(words, max_size=12))
def test_stable_text_only_grows(hypotheses: list[str]) -> None:
    agreement = Agreement()
    before = ""
    for hypothesis in hypotheses:
        shown = agreement.observe(hypothesis)
        assert shown.text.startswith(before)
        before = shown.text


@given(words)
def test_units_lose_nothing_but_trailing_blanks(text: str) -> None:
    assert "".join(units(text)) == text.rstrip()


@pytest.mark.parametrize(
    ("prefix", "hypothesis", "whole"),
    [
        ("", "The train to Leeds", "The train to Leeds"),
        ("The train", "The train to Leeds", "The train to Leeds"),
        ("Please enter a new", "Please enter a new extension.", "Please enter a new extension."),
        ("please, enter a", "Please enter a new extension.", "please, enter a new extension."),
        ("the party you are", "The party or trying to reach", "the party you are trying to reach"),
        ("But password", "The passwords you entered", "But passwords you entered"),
        ("open source full", "open source full-featured PBX", "open source full-featured PBX"),
        ("an open sauce full", "an open source full-featured PBX", "an open sauce full-featured PBX"),
        ("produced the block", "produced the blockbooks which", "produced the blockbooks which"),
        ("a new,", "A new extension.", "a new, extension."),
        ("the groß", "The grosse Liste", "the große Liste"),
        ("Yes", "Oh yes I do", "Yes I do"),
        ("one one", "One one one two", "one one one two"),
        ("all that was said", "all that", "all that was said"),
        ("all that was said", "", "all that was said"),
        ("你好", "你好吗", "你好吗"),
    ],
)
def test_a_hypothesis_goes_on_where_the_confirmed_text_ends(prefix: str, hypothesis: str, whole: str) -> None:
    assert continued(prefix, hypothesis) == whole


words = st.lists(st.sampled_from(["please", "enter", "a", "new", "extension"]), max_size=8).map(" ".join)


@given(prefix=words, hypothesis=words)
def test_what_is_confirmed_stands_and_the_rest_was_heard(prefix: str, hypothesis: str) -> None:
    whole = continued(prefix, hypothesis)

    assert whole.startswith(prefix)
    assert hypothesis.endswith(whole.removeprefix(prefix).strip())


@given(said=words, count=st.integers(0, 8))
def test_no_beginning_of_what_was_said_is_ever_said_twice(said: str, count: int) -> None:
    beginning = "".join(units(said)[:count])

    assert continued(beginning, said) == said


@pytest.mark.parametrize(
    ("text", "more", "whole"),
    [
        ("", "The train", "The train"),
        ("The train", "", "The train"),
        ("The train", "to Leeds", "The train to Leeds"),
        ("The train", " to Leeds", "The train to Leeds"),
        ("Поезд", "в Москву", "Поезд в Москву"),
        ("你好", "吗", "你好吗"),
        ("你好", "OK", "你好 OK"),
    ],
)
def test_texts_are_joined_as_their_script_asks_for(text: str, more: str, whole: str) -> None:
    assert joined(text, more) == whole
