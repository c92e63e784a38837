from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from aiokafka import TopicPartition

from qa_service import metrics
from qa_service.domain.call import CallPolicy
from qa_service.rules.ruleset import default_rule_set
from qa_service.testing.store import MemoryStore
from qa_service.worker.consumer import Worker, WorkerOptions
from qa_service.worker.progress import (
    ASK_EVERY_S,
    SILENCE_S,
    STUCK_AFTER_S,
    ReadingFailed,
    Sign,
    Standstill,
    Watchdog,
)
from qa_service.worker.rule_book import RuleSets
from tests.support.waiting import eventually
from tests.worker.fakes import PARTITION, ManualClock, NotedSessions


def sign(position: int = 10, highwater: int | None = 10, *, silent_s: float = 0.0) -> Sign:
    return Sign(3, position, highwater, silent_s)


def judge_over_time(standstill: Standstill, signs: list[Sign]) -> list[str | None]:
    """The judgements of signs that were taken once a second."""
    return [standstill.judge([sign], poll_s=0.0, now=float(now)) for now, sign in enumerate(signs)]


def test_a_log_without_news_is_no_standstill() -> None:
    assert judge_over_time(Standstill(), [sign()] * 100) == [None] * 100


def test_reading_that_lags_behind_and_moves_is_no_standstill() -> None:
    signs = [sign(position=n, highwater=1000 + 5 * n) for n in range(100)]

    assert judge_over_time(Standstill(), signs) == [None] * 100


def test_a_log_that_grows_past_a_position_is_a_standstill() -> None:
    signs = [sign(highwater=10 + n) for n in range(100)]

    assert judge_over_time(Standstill(), signs)[-1] == (
        "partition 3 has grown to 109 and brings nothing from 10 on"
    )


def test_an_end_of_the_log_that_is_never_brought_is_no_standstill() -> None:
    """The marker of a transaction."""
    signs = [sign(highwater=10), *[sign(highwater=11)] * 100]

    assert judge_over_time(Standstill(), signs) == [None] * 101


def test_a_partition_without_an_answer_is_a_standstill() -> None:
    quiet = sign(silent_s=SILENCE_S + 1)

    assert (
        Standstill().judge([sign(), quiet], poll_s=0.0, now=0.0) == "partition 3 has had no answer for 16 s"
    )


def test_a_poll_without_an_answer_is_a_standstill() -> None:
    assert Standstill().judge([], poll_s=SILENCE_S + 1, now=0.0) == "a poll has brought no answer for 16 s"


class Brokers:
    def __init__(self) -> None:
        self.answer: bool | Exception = True
        self.asked = 0

    async def ask(self) -> bool:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def look_on(watchdog: Watchdog, seconds: range, *, silent: bool = True) -> None:
    """Show the watchdog a partition once a second."""
    for now in seconds:
        watchdog.look([sign(silent_s=math.inf if silent else 0.0)], poll_s=0.0, now=float(now))
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_consumer_that_stands_still_while_brokers_answer_ends_the_worker() -> None:
    brokers = Brokers()
    watchdog = Watchdog(brokers.ask, topic="telephony.audio")
    before = metrics.CONSUMER_STANDSTILLS._value.get()
    with pytest.raises(ReadingFailed, match=r"telephony\.audio is stuck: partition 3 .* answer others; this"):
        await look_on(watchdog, range(100, 100 + int(STUCK_AFTER_S + 2 * ASK_EVERY_S)))

    assert metrics.CONSUMER_STANDSTILLS._value.get() == before + 1


@pytest.mark.parametrize("answer", [False, OSError("nobody is there")])
async def test_brokers_that_do_not_answer_are_waited_for(answer: Any) -> None:
    brokers = Brokers()
    brokers.answer = answer
    watchdog = Watchdog(brokers.ask, topic="telephony.audio")
    await look_on(watchdog, range(100, 1000))

    assert brokers.asked > 100
    assert watchdog.finding is None


async def test_brokers_that_went_away_again_get_the_whole_time_anew() -> None:
    brokers = Brokers()
    watchdog = Watchdog(brokers.ask, topic="telephony.audio")
    await look_on(watchdog, range(100, 125))
    brokers.answer = False
    await look_on(watchdog, range(125, 140))
    brokers.answer = True
    await look_on(watchdog, range(140, 165))

    assert watchdog.finding == "partition 3 has had no answer for inf s, although the brokers answer others"


async def test_reading_that_goes_on_is_forgiven() -> None:
    watchdog = Watchdog(Brokers().ask, topic="telephony.audio")
    await look_on(watchdog, range(100, 125))
    await look_on(watchdog, range(125, 126), silent=False)

    assert watchdog.finding is None


async def test_where_nobody_can_be_asked_nothing_is_concluded() -> None:
    watchdog = Watchdog(None, topic="telephony.audio")
    await look_on(watchdog, range(100, 1000))

    assert watchdog.finding is None


class StuckConsumer:
    """As aiokafka's after some restarts of a broker: assigned, without an error, and without an answer."""

    def subscribe(self, _topics: list[str], listener: Any) -> None:
        self._assigning = asyncio.create_task(listener.on_partitions_assigned([PARTITION]))

    async def getmany(self, **_options: Any) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0.001)
        return {}

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    end_offsets = beginning_offsets

    async def commit(self, _offsets: Any) -> None:
        pass

    def pause(self, _partition: TopicPartition) -> None:
        pass

    def resume(self, _partition: TopicPartition) -> None:
        pass

    def seek(self, _partition: TopicPartition, _offset: int) -> None:
        pass

    def highwater(self, _partition: TopicPartition) -> None:
        return None

    last_poll_timestamp = highwater


async def test_a_worker_says_that_its_consumer_is_stuck_and_then_ends() -> None:
    clock, sessions, store = ManualClock(), NotedSessions(), MemoryStore()
    worker = Worker(
        StuckConsumer(),  # type: ignore[arg-type]
        store=store,
        sessions=sessions,  # type: ignore[arg-type]
        dead_letters=None,  # type: ignore[arg-type]
        rule_sets=RuleSets(default_rule_set(), store),
        options=WorkerOptions(topic="telephony.audio", owner_name="worker", calls=CallPolicy()),
        offer_partial=lambda _partial: None,
        ask_brokers=Brokers().ask,
        clock=clock,
    )
    sessions.last_loss = None  # type: ignore[attr-defined]
    running = asyncio.create_task(worker.run(asyncio.Event()))

    def says_so() -> str:
        clock.now += 1.0
        check = worker.checks()["kafka"]()
        return "" if check.ok or "answer others" not in check.detail else check.detail

    await eventually(says_so, waiting_for="readiness to tell of it")

    def has_ended() -> bool:
        clock.now += 1.0
        return running.done()

    await eventually(has_ended, waiting_for="the worker to end")
    with pytest.raises(ReadingFailed, match="its supervisor starts it anew"):
        running.result()
