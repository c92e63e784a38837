"""Waits double up to a ceiling and are spread by jitter."""

from __future__ import annotations

from hypothesis import given, strategies as st

from qa_service.backoff import Backoff


def test_bounds_double_up_to_the_ceiling():
    backoff = Backoff(first_s=0.5, ceiling_s=3.0)

    assert [backoff.bound_s(attempt) for attempt in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_randomness_takes_a_share_of_the_bound():
    assert Backoff(first_s=1.0).delay_s(2, 0.25) == 1.0


@given(attempt=st.integers(0, 10**9), randomness=st.floats(0, 1))
def test_no_wait_is_negative_or_beyond_the_ceiling(attempt, randomness):
    assert 0 <= Backoff(first_s=0.2, ceiling_s=30).delay_s(attempt, randomness) <= 30
