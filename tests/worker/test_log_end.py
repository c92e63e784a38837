"""As of when a partition is known to be read to its end: never later than an answer was asked for."""

from __future__ import annotations

from math import inf

from hypothesis import given, strategies as st

from qa_service.worker.log_end import LogEnd


def test_one_answer_proves_nothing_since_nobody_knows_when_it_was_asked_for() -> None:
    end = LogEnd()
    end.look(told_at=None, highwater=None, position=5, now=1.0)
    end.look(told_at=100, highwater=5, position=5, now=2.0)

    assert end.read_until == -inf


def test_an_answer_is_believed_as_of_the_look_before_the_one_before_it_was_seen() -> None:
    end = LogEnd()
    end.look(told_at=None, highwater=None, position=5, now=1.0)
    end.look(told_at=100, highwater=5, position=5, now=2.0)
    end.look(told_at=200, highwater=5, position=5, now=3.0)
    assert end.read_until == 1.0
    end.look(told_at=300, highwater=5, position=5, now=4.0)

    assert end.read_until == 2.0


def test_without_a_new_answer_time_stands_still() -> None:
    end = LogEnd()
    for now, told_at in enumerate([None, 100, 200, 200, 200, 200]):
        end.look(told_at=told_at, highwater=5, position=5, now=float(now))

    assert end.read_until == 0.0


def test_what_waits_to_be_read_is_not_passed_and_takes_nothing_back() -> None:
    end = LogEnd()
    for now, told_at in enumerate([None, 100, 200, 300]):
        end.look(told_at=told_at, highwater=5, position=5, now=float(now))
    before = end.read_until
    for now, told_at in enumerate([400, 500, 600], start=4):
        end.look(told_at=told_at, highwater=9, position=7, now=float(now))
    assert end.read_until == before
    end.look(told_at=600, highwater=9, position=9, now=7.0)

    assert end.read_until == 4.0


def test_an_answer_that_was_read_long_after_it_was_given_is_as_old_as_its_question() -> None:
    end = LogEnd()
    for now, told_at in ((0.0, None), (0.2, 100), (0.4, 200)):
        end.look(told_at=told_at, highwater=5, position=5, now=now)
    # The process is frozen; the next answer has been waiting in its socket all the while.
    end.look(told_at=20_000, highwater=5, position=5, now=20.0)

    assert end.read_until <= 0.4


@given(
    exchanges=st.lists(
        st.tuples(st.floats(0.01, 3), st.floats(0.01, 3), st.floats(0.01, 3)), min_size=1, max_size=30
    ),
    looks=st.lists(st.floats(0.01, 1), min_size=1, max_size=200),
)
def test_it_never_claims_more_than_the_broker_has_said(
    exchanges: list[tuple[float, float, float]], looks: list[float]
) -> None:
    """Exchanges follow each other: the way to the broker, the way back, a rest before the next one."""
    now, arrivals = 0.0, []
    for there, back, rest in exchanges:
        said_at = now + there
        arrivals.append((said_at + back, said_at))
        now = said_at + back + rest
    end, now = LogEnd(), 0.0
    for step in looks:
        now += step
        arrived = [arrival for arrival in arrivals if arrival[0] <= now]
        told_at, said_at = arrived[-1] if arrived else (None, -inf)
        end.look(
            told_at=None if told_at is None else int(told_at * 1_000_000),
            highwater=5 if arrived else None,
            position=5,
            now=now,
        )

        assert end.read_until <= said_at
