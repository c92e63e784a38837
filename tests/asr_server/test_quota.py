from __future__ import annotations

import itertools

from hypothesis import given, strategies as st

from qa_service.asr_server.quota import SessionQuota


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_so_many_are_granted_at_once_and_no_more():
    quota = SessionQuota(20, clock=Clock())

    assert [quota.take(b"key") for _ in range(22)] == [True] * 20 + [False] * 2


def test_a_second_later_there_is_room_again():
    clock = Clock()
    quota = SessionQuota(2, clock=clock)
    quota.take(b"key")
    clock.now += 0.6
    quota.take(b"key")
    clock.now += 0.4

    assert [quota.take(b"key"), quota.take(b"key")] == [True, False]


def test_each_key_has_a_share_of_its_own():
    quota = SessionQuota(1, clock=Clock())

    assert [quota.take(key) for key in (b"one", b"one", b"two")] == [True, False, True]


@given(st.integers(1, 5), st.lists(st.floats(0, 0.7), max_size=60))
def test_no_second_ever_has_more_and_who_waits_a_second_is_served(per_second, pauses):
    clock = Clock()
    quota = SessionQuota(per_second, clock=clock)
    granted = []
    for pause in pauses:
        clock.now += pause
        if quota.take(b"key"):
            granted.append(clock.now)
    clock.now += 1.0

    assert all(
        later - earlier >= 1.0
        for earlier, later in zip(granted, itertools.islice(granted, per_second, None), strict=False)
    )
    assert quota.take(b"key")
