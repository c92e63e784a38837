"""Which calls are left out, and for how long."""

from __future__ import annotations

from qa_service.alerts.stuck_calls import Failure, StuckCalls
from qa_service.backoff import Backoff

NOBODY = frozenset[str]()


def stuck_calls(most: int = 10) -> StuckCalls:
    return StuckCalls(Backoff(first_s=1, ceiling_s=4), most=most)


def a_failure(call: str, since: float = 0.0) -> Failure:
    return Failure(call, f"{call} cannot be published", since)


def test_a_call_waits_longer_from_failure_to_failure():
    stuck, now, waits = stuck_calls(), 0.0, []
    for _ in range(4):
        stuck.settle([a_failure("a")], left_out=NOBODY, now=now)
        waits.append(stuck.next_due_s(now))
        assert stuck.left_out(now) == {"a"}
        now += waits[-1]
        assert stuck.left_out(now) == NOBODY

    assert waits == [1, 2, 4, 4]


def test_a_call_that_was_tried_and_did_not_fail_is_free():
    stuck = stuck_calls()
    stuck.settle([a_failure("a"), a_failure("b")], left_out=NOBODY, now=0.0)
    stuck.settle([], left_out=frozenset("b"), now=1.0)

    assert (len(stuck), stuck.first) == (1, a_failure("b"))

    stuck.settle([], left_out=NOBODY, now=2.0)

    assert (len(stuck), stuck.first, stuck.next_due_s(2.0)) == (0, None, None)


def test_the_first_is_the_one_that_waits_longest():
    stuck = stuck_calls()
    stuck.settle([a_failure("a", 20.0), a_failure("b", 10.0)], left_out=NOBODY, now=0.0)

    assert stuck.first == a_failure("b", 10.0)


def test_only_so_many_are_left_out():
    stuck = stuck_calls(most=2)
    stuck.settle([a_failure(call) for call in "abc"], left_out=NOBODY, now=0.0)

    assert stuck.is_full
    assert stuck.left_out(0.0) == {"a", "b"}
