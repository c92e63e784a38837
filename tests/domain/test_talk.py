"""What is said of how two sides talk with each other."""

from __future__ import annotations

import pytest

from qa_service.domain.talk import Heard, Pace, Talk, Turn, measure_pace


def hear(*turns: tuple[str, int, int]) -> tuple[Talk, list[Heard]]:
    """Take turns of a role from a second to a second."""
    talk = Talk()
    heard = [talk.hear(Turn(role, role, start, end)) for role, start, end in turns]  # type: ignore[arg-type]
    talk.settle()
    return talk, heard


def test_shares_and_overtalk_add_up() -> None:
    talk, _ = hear(("customer", 0, 4_000), ("agent", 3_000, 6_000), ("customer", 8_000, 9_000))

    assert talk.speech_ms == {"customer": 5_000, "agent": 3_000}
    assert (talk.anybody_ms, talk.overtalk_ms) == (7_000, 1_000)
    assert talk.share("agent") == 3 / 8
    assert Talk().share("agent") is None


def test_two_legs_of_one_role_do_not_talk_over_each_other() -> None:
    talk = Talk()
    talk.hear(Turn("agent", "agent", 0, 5_000))
    talk.hear(Turn("agent-2", "agent", 1_000, 4_000))
    talk.settle()

    assert (talk.anybody_ms, talk.overtalk_ms) == (5_000, 0)


@pytest.mark.parametrize(
    ("start", "end", "cuts"),
    [
        (2_000, 9_000, True),
        (200, 9_000, True),
        (199, 9_000, False),
        (4_800, 9_000, True),
        (4_801, 9_000, False),
        (2_000, 5_000, False),
        (2_000, 3_000, False),
    ],
)
def test_who_goes_on_after_the_other_has_ended_cuts_in(start: int, end: int, *, cuts: bool) -> None:
    _, heard = hear(("customer", 0, 5_000), ("agent", start, end))

    assert bool(heard[1].interrupted) is cuts


def test_a_response_comes_after_the_other_role_with_nobody_between() -> None:
    _, heard = hear(("customer", 0, 1_000), ("agent", 3_000, 4_000), ("agent", 5_000, 6_000))

    assert [each.response_ms for each in heard] == [None, 2_000, None]
    assert hear(("customer", 0, 1_000), ("agent", 900, 4_000))[1][1].response_ms is None


def test_no_delay_is_told_over_a_gap() -> None:
    talk = Talk()
    talk.hear(Turn("customer", "customer", 0, 1_000))
    talk.lose(2_000)

    assert talk.hear(Turn("agent", "agent", 3_000, 4_000)).response_ms is None


def test_a_stretch_of_overtalk_goes_on_with_the_next_turn_that_overlaps() -> None:
    _, heard = hear(("customer", 0, 9_000), ("agent", 2_000, 4_000), ("agent", 4_000, 6_000))

    assert [each.overtalk for each in heard] == [None, (2_000, 4_000), (2_000, 6_000)]


@pytest.mark.parametrize(
    ("text", "language", "duration_ms", "expected"),
    [
        ("one two, three - four", "en", 2_000, Pace(120.0, "words")),
        ("one two", None, 4_000, Pace(30.0, "words")),
        ("你好，世界", "zh", 2_000, Pace(120.0, "characters")),
        ("もう一度", "ja-JP", 2_000, Pace(120.0, "characters")),
        ("too short", "en", 1_999, None),
    ],
)
def test_pace_is_counted_in_words_or_characters(
    text: str, language: str | None, duration_ms: int, expected: Pace | None
) -> None:
    assert expected == measure_pace(text, language, duration_ms)
