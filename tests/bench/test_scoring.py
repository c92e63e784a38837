from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.bench.scoring import Score, edits, percentile, score, spread


@pytest.mark.parametrize(
    ("said", "heard", "language", "errors"),
    [
        ("the train to Leeds", "The train, to Leeds.", "en", 0),
        ("the train to Leeds", "The brain to", "en", 2),
        ("Por favor intente de nuevo", "Por favór inténte de nuevo.", "es", 0),
        ("you're late", "youre late", "en", 0),
        ("砸自己的脚", "砸自己脚", "zh", 1),
        ("one zero zero oh two", "1 0 0 0 2", "en", 0),
        ("one zero zero zero", "1000", "en", 0),
        ("the fifteenth century", "the 15th century", "en", 0),
        ("about fourteen fifty-five", "about 1455", "en", 0),
        ("in nineteen oh five", "in 1905", "en", 0),
        ("one thousand two hundred and five", "1,205", "en", 1),
        ("twenty-first", "21st", "en", 0),
        ("the thirtieth", "the 30th", "en", 0),
        ("oh no", "Oh no", "en", 0),
        ("", "something", "en", 1),
    ],
)
def test_case_punctuation_accents_and_the_way_numbers_are_written_do_not_count(
    said: str, heard: str, language: str, errors: int
) -> None:
    assert score(said, heard, language).errors == errors


def test_errors_are_counted_against_the_words_that_were_said() -> None:
    total = score("one two three four", "one two", "en") + score("five six", "five six", "en")

    assert total == Score(errors=2, words=6)
    assert total.rate == pytest.approx(1 / 3)
    assert Score().rate == 0.0


words = st.lists(st.sampled_from("abc"), max_size=8)


@given(words, words, words)
def test_the_number_of_edits_is_a_distance(one: list[str], two: list[str], three: list[str]) -> None:
    assert (edits(one, two) == 0) == (one == two)
    assert edits(one, two) == edits(two, one)
    assert edits(one, three) <= edits(one, two) + edits(two, three)


@pytest.mark.parametrize(("share", "value"), [(0.5, 10), (0.95, 19), (0.99, 20), (1.0, 20)])
def test_a_percentile_is_one_of_the_values(share: float, value: int) -> None:
    assert percentile(list(range(20, 0, -1)), share) == value


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 0.5) is None


def test_a_spread_of_nothing_tells_so() -> None:
    assert spread([]).count == 0
    assert spread([]).median is None


def test_a_spread_is_given_to_a_tenth() -> None:
    found = spread(number / 3 for number in range(1, 101))

    assert (found.count, found.median, found.p95, found.max) == (100, 16.7, 31.7, 33.3)
