"""Where an utterance stands among its service's recent ones, and how many a day stand higher."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.emotion.ranks import PRIOR_WEIGHT, WINDOW, RecentScores, ScorePrior, Traffic

PRIOR = ScorePrior(mean=-20.0, deviation=15.0)
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
BEGIN_S = 1_767_225_600.0

scores = st.floats(-100, 100)


@given(scores)
def test_before_there_is_a_past_the_prior_is_the_rank(score: float) -> None:
    assert RecentScores(PRIOR).rank(score) == pytest.approx(PRIOR.share_above(score))


@given(scores, scores)
def test_the_prior_falls_from_one_to_nought(first: float, second: float) -> None:
    low, high = sorted((first, second))

    assert 1 >= PRIOR.share_above(low) >= PRIOR.share_above(high) >= 0
    assert PRIOR.share_above(PRIOR.mean) == 0.5


def test_the_prior_lies_around_the_usual_voice_and_widely() -> None:
    assert ScorePrior.between(usual_score=-20, calm_score=-50) == ScorePrior(-20, 20)
    assert ScorePrior.between(usual_score=0, calm_score=0).deviation == 1


@given(st.lists(scores, max_size=40), scores)
def test_the_rank_is_the_share_at_least_as_angry_with_the_prior_for_a_few(
    past: list[float], score: float
) -> None:
    recent = RecentScores(PRIOR)
    for earlier in past:
        recent.note(earlier)
    as_angry = sum(earlier >= score for earlier in past) + PRIOR_WEIGHT * PRIOR.share_above(score)

    assert recent.rank(score) == pytest.approx(as_angry / (len(past) + PRIOR_WEIGHT))


def test_asking_for_a_rank_changes_nothing() -> None:
    recent = RecentScores(PRIOR, [1.0, 2.0])

    assert recent.rank(1.5) == recent.rank(1.5)
    assert recent.by_age == (1.0, 2.0)


def test_only_the_newest_scores_count() -> None:
    recent = RecentScores(PRIOR)
    for number in range(WINDOW + 500):
        recent.note(float(number % 7 if number < 500 else -number))

    assert len(recent) == len(recent.by_age) == WINDOW
    assert recent.by_age[0] == -500.0
    assert recent.score_at(1.0) == -(WINDOW + 499)
    assert recent.rank(0.0) < 0.01


def test_the_scores_come_back_as_they_were() -> None:
    recent = RecentScores(PRIOR, [3.0, 1.0, 2.0])
    again = RecentScores(PRIOR, recent.by_age)

    assert again.by_age == (3.0, 1.0, 2.0)
    assert again.rank(2.0) == recent.rank(2.0)


def test_where_the_angriest_begin_is_known_once_there_are_enough() -> None:
    recent = RecentScores(PRIOR, map(float, range(50)))

    assert recent.score_at(0.02) == 49.0
    assert recent.score_at(0.1) == 45.0
    assert recent.score_at(0.01) is None


def test_the_rate_is_not_known_in_the_first_hour() -> None:
    traffic = Traffic()
    assert traffic.per_day(BEGIN_S) is None
    for minute in range(60):
        traffic.note(BEGIN_S + 60 * minute)

    assert traffic.per_day(BEGIN_S + 3599) is None
    assert traffic.per_day(BEGIN_S + 3600) == pytest.approx(60 * 24)


def test_the_rate_is_that_of_the_past_week() -> None:
    traffic = Traffic()
    for hour in range(24 * 14):
        for _ in range(10 if hour < 24 * 7 else 2):
            traffic.note(BEGIN_S + hour * HOUR_S)
    now_s = BEGIN_S + 14 * DAY_S - 1

    assert traffic.per_day(now_s) == pytest.approx(48, rel=0.01)
    assert len(traffic.hours) <= 7 * 24


def test_a_standstill_lowers_the_rate() -> None:
    traffic = Traffic()
    for minute in range(100):
        traffic.note(BEGIN_S + 60 * minute)

    assert traffic.per_day(BEGIN_S + DAY_S) == pytest.approx(100)
    assert traffic.per_day(BEGIN_S + 2 * DAY_S) == pytest.approx(50)
    assert traffic.per_day(BEGIN_S + 30 * DAY_S) == 0


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    traffic = Traffic()
    traffic.note(BEGIN_S)
    traffic.note(BEGIN_S - DAY_S)

    assert traffic.per_day(BEGIN_S - DAY_S) is None


def test_the_rate_goes_on_from_what_was_counted() -> None:
    traffic = Traffic()
    for minute in range(100):
        traffic.note(BEGIN_S + 60 * minute)
    again = Traffic(traffic.since_s, traffic.hours)

    assert again.per_day(BEGIN_S + DAY_S) == traffic.per_day(BEGIN_S + DAY_S)
