from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from qa_service.asr_server.agenda import Agenda, Task
from qa_service.asr_server.load import Priority

PARTIAL_S, FINAL_S = 0.3, 0.4


def agenda(*, threads: int = 2, max_waiting_partials: int = 8, limit_s: float | None = None) -> Agenda[Task]:
    """An agenda that knows what recognitions cost."""
    it: Agenda[Task] = Agenda(
        threads=threads, max_waiting_partials=max_waiting_partials, max_final_delay_s=limit_s
    )
    for made, cost_s in ((partial("warm-up"), PARTIAL_S), (final("warm-up"), FINAL_S)):
        it.add(made, -100.0)
        assert it.begin_next(-100.0) is made
        it.finish(made, -100.0 + cost_s)
    return it


def partial(key: str, due: float = 0.0) -> Task:
    return Task(Priority.PARTIAL, key, due)


def final(key: str, due: float = 0.0) -> Task:
    return Task(Priority.FINAL, key, due)


def ahead(key: str, due: float = 0.6) -> Task:
    return Task(Priority.SPECULATIVE, key, due)


def test_what_can_wait_least_comes_first() -> None:
    it = agenda(threads=9)
    tasks = [partial("a", 0.0), ahead("b", 0.6), final("c", 0.0), final("d", -0.1), partial("e", -0.2)]
    for task in tasks:
        it.add(task, 0.0)

    assert [it.begin_next(0.0) for _ in tasks] == [tasks[place] for place in (3, 2, 4, 1, 0)]


def test_no_more_run_than_there_are_threads() -> None:
    it = agenda(threads=1)
    it.add(final("a"), 0.0)
    it.add(final("b"), 0.0)

    first = it.begin_next(0.0)
    assert first is not None
    assert it.begin_next(0.0) is None
    it.finish(first, 0.4)
    assert it.begin_next(0.4) is not None


def test_what_was_decoded_ahead_is_due_now_once_it_is_the_final() -> None:
    it = agenda()
    first, second = ahead("a", 0.5), ahead("b", 0.6)
    it.add(first, 0.0)
    it.add(second, 0.0)
    it.promote(second, 0.1)

    assert it.begin_next(0.1) is second
    assert second.priority is Priority.FINAL


def test_what_was_decoded_ahead_counts_as_the_work_of_finals_only_if_it_becomes_one() -> None:
    def interval_after(*, becomes_final: bool) -> float | None:
        it = agenda(threads=1)
        for number in range(3):
            it.add(partial(str(number)), 0.0)
        task = ahead("a")
        it.add(task, 0.0)
        it.clear()
        it.add(task, 0.0)
        assert it.begin_next(0.0) is task
        it.finish(task, 1.0)
        if becomes_final:
            it.promote(task, 1.0)
        return it.partial_interval_s(1.0)

    assert interval_after(becomes_final=False) == 1.0
    assert interval_after(becomes_final=True) == pytest.approx(3 * PARTIAL_S / (0.95 - 1.0 / 5))


def test_a_newer_partial_takes_the_place_of_the_one_before() -> None:
    it = agenda()
    old, other, new = partial("a", 0.0), partial("b", 0.1), partial("a", 0.9)
    it.add(old, 0.0)
    it.add(other, 0.1)

    assert it.add(new, 0.9) is old
    assert it.begin_next(0.9) is new


def test_the_oldest_partial_goes_when_too_many_wait() -> None:
    it = agenda(max_waiting_partials=2)
    tasks = [partial(key, due) for due, key in enumerate("abc")]

    assert [it.add(task, 2.0) for task in tasks] == [None, None, tasks[0]]


def test_a_partial_is_given_up_at_once_when_finals_take_all_the_time() -> None:
    it = agenda(threads=1)
    for number in range(20):
        it.add(final(str(number)), 0.0)
    refused = partial("a")

    assert it.partial_interval_s(0.0) is None
    assert it.add(refused, 0.0) is refused
    assert it.waiting == 20


def test_the_last_thread_is_kept_for_a_final_that_a_partial_would_make_late() -> None:
    it = agenda(threads=1)
    it.expect_final("pausing", due=0.5, now=0.0)
    it.add(partial("spoken"), 0.0)

    assert it.begin_next(0.0) is None
    assert it.recheck_at() == pytest.approx(0.25)
    assert it.begin_next(0.26) is not None


def test_a_partial_runs_beside_a_pause_whose_final_has_time() -> None:
    it = agenda(threads=1)
    it.expect_final("pausing", due=0.75, now=0.0)
    it.add(partial("spoken"), 0.0)

    assert it.begin_next(0.0) is not None


def test_a_partial_runs_where_another_thread_is_free_for_the_final() -> None:
    it = agenda(threads=2)
    it.expect_final("pausing", due=0.1, now=0.0)
    it.add(partial("spoken"), 0.0)

    assert it.begin_next(0.0) is not None


def test_a_partial_does_not_wait_longer_than_half_a_second_for_finals_that_may_come() -> None:
    it = agenda(threads=1)
    it.add(partial("spoken", due=0.0), 0.0)
    it.expect_final("pausing", due=0.6, now=0.4)

    assert it.begin_next(0.4) is None
    assert it.recheck_at() == pytest.approx(0.5)
    assert it.begin_next(0.5) is not None


def test_an_utterance_that_goes_on_is_not_expected_to_end() -> None:
    it = agenda(threads=1)
    it.expect_final("a", due=0.2, now=0.0)
    it.add(partial("a"), 0.0)

    assert it.begin_next(0.0) is not None


def test_nothing_is_rechecked_where_nothing_waits_or_no_thread_is_free() -> None:
    it = agenda(threads=1)
    idle = it.recheck_at()
    it.add(final("a"), 0.0)
    it.begin_next(0.0)
    it.add(partial("b"), 0.0)

    assert idle is None
    assert it.recheck_at() is None


def test_the_delay_of_a_final_is_the_work_before_it() -> None:
    it = agenda(threads=2)
    idle = it.final_delay_s(0.0)
    for number in range(6):
        it.add(final(str(number)), 0.0)
    it.begin_next(0.0)
    it.begin_next(0.0)

    assert idle == 0.0
    assert it.final_delay_s(0.1) == pytest.approx((4 * FINAL_S + 2 * (FINAL_S - 0.1)) / 2)


def test_a_final_that_waits_longer_than_it_should_counts_by_its_wait() -> None:
    it = agenda(threads=1)
    it.add(final("stuck"), 0.0)
    it.begin_next(0.0)
    it.add(final("late", due=0.0), 0.0)

    assert it.final_delay_s(9.0) == 9.0


def test_sessions_fit_until_finals_are_late_and_fit_again_when_they_are_done() -> None:
    it = agenda(threads=1, limit_s=1.0)
    before = it.admit_session(0.0)
    for number in range(10):
        it.add(final(str(number)), 0.0)
    it.begin_next(0.0)
    it.admit_session(0.1)
    late = it.admit_session(3.2)
    it.clear()
    it.admit_session(4.0)

    assert (before, late) == (0, None)
    assert it.refuses_sessions
    assert it.admit_session(9.0) == 0


def test_clearing_gives_what_waited() -> None:
    it = agenda()
    tasks = [final("a"), partial("b")]
    for task in tasks:
        it.add(task, 0.0)

    assert it.clear() == tasks
    assert it.is_idle


steps = st.lists(
    st.tuples(
        st.sampled_from(["partial", "final", "ahead", "finish", "begin", "promote", "remove", "expect"]),
        st.sampled_from("abcde"),
        st.floats(0, 1),
    ),
    max_size=80,
)


@settings(max_examples=200)
@given(steps, st.integers(1, 3))
def test_finals_are_begun_unless_somebody_removes_them_and_threads_are_never_idle_for_one(  # noqa: C901
    steps: list[tuple[str, str, float]], threads: int
) -> None:
    it = agenda(threads=threads, max_waiting_partials=2)
    makers = {"partial": partial, "final": final, "ahead": ahead}
    owed: list[Task] = []
    running: list[Task] = []
    now = 0.0

    def begin() -> None:
        task = it.begin_next(now)
        if len(running) < threads and owed:
            assert task is not None, "a thread is free and a final waits"
            least = min(other.due for other in owed)
            assert task.due == least if task in owed else task.due + 0.6 < least
        if task is not None:
            running.append(task)
            assert len(running) <= threads
            if task in owed:
                owed.remove(task)

    for what, key, pause_s in steps:
        now += pause_s
        if what in makers:
            task = makers[what](key, now)
            given_up = it.add(task, now)
            assert given_up is None or given_up.priority is Priority.PARTIAL
            if what != "partial":
                owed.append(task)
        elif what == "finish" and running:
            it.finish(running.pop(), now)
        elif what == "begin":
            begin()
        elif what == "promote" and owed:
            it.promote(owed[-1], now)
        elif what == "remove" and owed:
            assert it.remove(owed.pop())
        elif what == "expect":
            it.expect_final(key, now + 0.5, now)
    while owed:
        now += 1.0
        if running:
            it.finish(running.pop(), now)
        begin()
