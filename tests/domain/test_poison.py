from __future__ import annotations

from hypothesis import given, strategies as st

from qa_service.domain.poison import LEAST, WINDOW, PoisonGuard


def test_a_bad_record_among_good_ones_is_an_accident() -> None:
    guard = PoisonGuard(max_run=3, max_ratio=0.5)

    verdicts = []
    for _ in range(1000):
        verdicts.append(guard.note_bad())
        guard.note_good(2)

    assert set(verdicts) == {None}


def test_a_run_of_bad_records_stops_reading() -> None:
    guard = PoisonGuard(max_run=3, max_ratio=0.5)

    assert [guard.note_bad() for _ in range(3)] == [None, None, "3 undecodable records in a row"]


def test_a_large_share_of_bad_records_stops_reading() -> None:
    guard = PoisonGuard(max_run=1000, max_ratio=0.5)
    verdicts = []
    for _ in range(LEAST):
        guard.note_good()
        verdicts += [guard.note_bad(), guard.note_bad()]

    assert next(filter(None, verdicts)) == "67 of the last 100 records are undecodable"


@given(st.lists(st.booleans(), max_size=3 * WINDOW))
def test_the_share_is_that_of_the_newest_records(are_bad: list[bool]) -> None:
    guard = PoisonGuard(max_run=10**9, max_ratio=2.0)
    guard.note_bad()
    for is_bad in are_bad:
        if is_bad:
            guard.note_bad()
        else:
            guard.note_good()

    assert guard._bad == sum([True, *are_bad][-WINDOW:])
