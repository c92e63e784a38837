from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.load import MIN_INTERVAL_S, Admission, Costs, PartialPace, Priority, Steady


def pace(*, threads: int = 2, partial_s: float = 0.3) -> PartialPace:
    costs = Costs()
    costs.learn(Priority.PARTIAL, partial_s)
    return PartialPace(threads=threads, costs=costs)


def test_a_cost_is_guessed_until_it_is_measured_and_then_follows_slowly() -> None:
    costs = Costs()
    guessed = costs.expected_s(Priority.FINAL)
    costs.learn(Priority.SPECULATIVE, 0.5)
    measured = costs.expected_s(Priority.FINAL)
    costs.learn(Priority.FINAL, 1.5)

    assert guessed > 0
    assert measured == 0.5
    assert costs.expected_s(Priority.FINAL) == pytest.approx(0.6)
    assert costs.expected_s(Priority.PARTIAL) == guessed


def test_few_utterances_are_looked_at_every_second() -> None:
    it = pace()
    it.ask("a", 10.0)

    assert it.interval_s(10.0) == MIN_INTERVAL_S


def test_looks_get_further_apart_with_each_utterance_and_with_the_work_of_finals() -> None:
    it = pace()
    for key in range(10):
        it.ask(key, 10.0)
    alone = it.interval_s(10.0)
    it.spend(3.0, 10.0)
    beside_finals = it.interval_s(10.0)

    assert alone == pytest.approx(10 * 0.3 / 1.9)
    assert beside_finals == pytest.approx(10 * 0.3 / 1.3)
    assert it.interval_s(10.0, waiting_s=1.5) == pytest.approx(10 * 0.3 / 1.0)


def test_utterances_that_are_over_do_not_count() -> None:
    it = pace()
    for key in range(10):
        it.ask(key, 10.0)
    for key in range(9):
        it.end(key)

    assert it.interval_s(10.0) == MIN_INTERVAL_S


def test_an_utterance_that_nobody_asks_about_any_more_is_forgotten() -> None:
    it = pace()
    for key in range(10):
        it.ask(key, 10.0)

    assert it.interval_s(30.0) == MIN_INTERVAL_S


def test_without_time_for_partials_there_are_none_until_there_is_clearly_enough() -> None:
    it = pace()
    for key in range(15):
        it.ask(key, 10.0)
    it.spend(2.5, 8.0)
    it.spend(1.75, 10.0)
    suspended = it.interval_s(10.0)
    hardly_better = it.interval_s(10.0 + 0.1)
    resumed = it.interval_s(13.1)

    assert suspended is None
    assert hardly_better is None
    assert resumed is not None


@given(
    utterances=st.integers(0, 60),
    spent=st.lists(st.floats(0, 2), max_size=20),
    threads=st.integers(1, 8),
    waiting_s=st.floats(0, 20),
)
def test_partials_never_get_more_than_finals_leave_over(
    utterances: int, spent: list[float], threads: int, waiting_s: float
) -> None:
    it = pace(threads=threads)
    for key in range(utterances):
        it.ask(key, 0.0)
    for seconds in spent:
        it.spend(seconds, 0.0)
    interval_s = it.interval_s(0.0, waiting_s)

    if interval_s is None:
        assert it.suspended
    else:
        assert interval_s >= MIN_INTERVAL_S
        assert utterances * 0.3 / interval_s + (sum(spent) + waiting_s) / 5 <= threads


def test_one_late_final_refuses_nobody() -> None:
    it = Admission(1.0)
    it.observe(3.0, 0.2, 0.0)
    it.observe(0.2, 0.2, 2.9)
    it.observe(3.0, 0.2, 3.5)

    assert not it.refusing
    assert it.admit(3.5, busy=True) == 0


def test_sessions_are_refused_once_finals_are_late_for_a_while_and_until_they_are_in_time_for_as_long() -> (
    None
):
    it = Admission(1.0)
    observed = []
    for delay_s, now in ((1.1, 0.0), (1.2, 3.0), (0.7, 5.0), (0.4, 6.0), (0.6, 7.0), (0.4, 8.0), (0.1, 11.0)):
        it.observe(delay_s, 0.2, now)
        observed.append(it.admit(now, busy=False))

    assert observed == [0, None, None, None, None, None, 0]


def test_sessions_are_refused_before_finals_are_late_when_these_take_most_of_the_time() -> None:
    it = Admission(1.0)
    observed = []
    for share, now in ((0.65, 0.0), (0.65, 3.0), (0.55, 6.0), (0.4, 7.0), (0.4, 10.0)):
        it.observe(0.0, share, now)
        observed.append(it.refusing)

    assert observed == [False, True, True, True, False]


def test_the_share_of_finals_is_what_they_took_in_ten_seconds() -> None:
    it = pace(threads=2)
    it.spend(4.0, 0.0)
    it.spend(6.0, 8.0)

    assert it.finals_share(9.0) == pytest.approx(0.5)
    assert it.finals_share(12.0) == pytest.approx(0.3)


def test_a_busy_server_takes_newcomers_one_after_the_other() -> None:
    it = Admission(1.0)

    assert [it.admit(now, busy=True) for now in (0.0, 0.5, 1.0, 9.0)] == [0, 1.5, 3.0, 0]
    assert [it.admit(9.0, busy=False) for _ in range(3)] == [0, 0, 0]


def test_a_busy_server_lets_nobody_wait_longer_than_clients_do() -> None:
    it = Admission(1.0)

    assert [it.admit(0.0, busy=True) for _ in range(5)] == [0, 2.0, 4.0, None, None]


def test_without_a_limit_nobody_is_refused() -> None:
    it = Admission(None)
    for now in range(10):
        it.observe(100.0, 1.0, now)

    assert not it.refusing
    assert [it.admit(10.0, busy=True) for _ in range(9)] == [0] * 9


def test_what_does_not_hold_for_two_seconds_changes_nothing() -> None:
    it = Steady()
    for now, contrary in ((0.0, True), (1.5, True), (2.5, False), (3.5, True)):
        it.observe(now, contrary=contrary)
    before = it.value
    it.observe(6.5, contrary=True)

    assert (before, it.value) == (False, True)
