"""New sessions keep to their share of the account's rate."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, strategies as st

from qa_service import metrics
from qa_service.asr.rate import SessionGate, TokenBucket
from tests.support.waiting import eventually


def test_saved_tokens_go_at_once_and_the_rest_in_turn():
    bucket = TokenBucket(2.0, 3, now_s=0.0)

    assert [bucket.take(0.0) for _ in range(5)] == [0, 0, 0, 0.5, 1.0]


def test_time_fills_the_bucket_up_to_its_rim():
    bucket = TokenBucket(2.0, 3, now_s=0.0)
    for _ in range(3):
        bucket.take(0.0)

    assert [bucket.take(100.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_token_given_back_goes_to_the_next():
    bucket = TokenBucket(1.0, 1, now_s=0.0)
    bucket.take(0.0)
    assert bucket.take(0.0) == 1.0
    bucket.give_back(0.0)

    assert bucket.take(0.0) == 1.0


def test_nothing_is_given_out_while_held_off():
    bucket = TokenBucket(10.0, 10, now_s=0.0)
    bucket.hold_off(0.0, 5.0)

    assert [round(bucket.take(0.0), 6), round(bucket.take(5.0), 6)] == [5.0, 0.1]


def test_a_bucket_without_rate_or_room_is_refused():
    with pytest.raises(ValueError, match="positive rate"):
        TokenBucket(0, 1, 0)
    with pytest.raises(ValueError, match="room"):
        TokenBucket(1, 0.5, 0)


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 50),
    steps=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_no_stretch_of_time_sees_more_than_rate_times_length_and_the_burst(rate, burst, steps):
    bucket = TokenBucket(rate, burst, 0.0)
    now, granted = 0.0, []
    for step in steps:
        now += step
        granted.append(now + bucket.take(now))
    granted.sort()

    for first in range(len(granted)):
        for last in range(first, len(granted)):
            most = burst + rate * (granted[last] - granted[first]) + 1e-6
            assert last - first + 1 <= most + 1


async def test_sessions_wait_their_turn_at_the_gate():
    gate = SessionGate(50.0, burst=1)
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(*(gate.pass_through() for _ in range(6)))

    assert clock() - began >= 5 / 50 - 0.001


async def test_a_cancelled_wait_gives_its_turn_back():
    gate = SessionGate(0.001, burst=1)
    await gate.pass_through()
    waiting = asyncio.create_task(gate.pass_through())
    await eventually(
        lambda: metrics.REGISTRY.get_sample_value("qa_sessions_waiting") == 1, "the task to wait at the gate"
    )
    waiting.cancel()
    await asyncio.wait([waiting])

    assert round(gate._bucket._tokens, 3) == 0


async def test_a_held_off_gate_lets_nobody_through():
    gate = SessionGate(1000.0)
    gate.hold_off(60.0)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(gate.pass_through(), 0.05)
