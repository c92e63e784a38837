"""Two hundred live legs, in virtual time: how many there are is no matter of the machine's speed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

import pytest
from aiokafka import TopicPartition

from qa_service.contract.info import LegInfo
from qa_service.contract.records import AudioFrame, CallEnd, CallRecord, LegStart
from qa_service.simulation.broker import Broker
from qa_service.simulation.loop import VirtualLoop, unix_ms
from qa_service.simulation.network import Network
from qa_service.simulation.oracle import Allowance, find_faults
from qa_service.simulation.recogniser import Service
from qa_service.simulation.script import RULE_SOURCES, CallScript, LegScript
from qa_service.simulation.words import ALARM_EVERY, MOST_WORDS, RATE_HZ, hush, say
from qa_service.simulation.workers import Surroundings, WorkerProcess

TOPIC: Final = "telephony.audio"
PARTITIONS: Final = 12
CALLS: Final = 100
LEGS: Final = ("customer", "agent")
FRAME: Final = RATE_HZ // 10
FRAMES_A_WORD: Final = 15
"""A word, and silence enough to end an utterance."""
WITHIN_S: Final = 60.0


class Crowd:
    """Calls that all go on at once, each leg saying a word every now and then."""

    def __init__(self, broker: Broker) -> None:
        self.scripts = [
            CallScript(f"call-{number}", legs={leg: LegScript() for leg in LEGS}) for number in range(CALLS)
        ]
        self._broker = broker
        self._frames = 0
        self._is_over = False

    def hang_up(self) -> None:
        self._is_over = True

    async def talk(self) -> None:
        loop = asyncio.get_running_loop()
        for number in range(CALLS):
            for leg in LEGS:
                info = LegInfo(role="customer" if leg == "customer" else "agent")
                self._append(number, LegStart(leg, unix_ms(loop.time()), "pcm_s16le", RATE_HZ, info))
        while not self._is_over:
            await asyncio.sleep(0.1)
            for number in range(CALLS):
                for index, leg in enumerate(LEGS):
                    self._send(number, leg, line=2 * number + index)
            self._frames += 1
        for number in range(CALLS):
            self._append(number, CallEnd(unix_ms(loop.time())))

    def _send(self, number: int, leg: str, *, line: int) -> None:
        audio, pos = hush(FRAME), self._frames * FRAME
        turn, rest = divmod(self._frames + line, FRAMES_A_WORD)  # not all of them at the same moment
        word = line * (MOST_WORDS // (2 * CALLS)) + turn + 1
        if rest == 0 and word % ALARM_EVERY:
            audio = say(word, FRAME)
            said = self.scripts[number].legs[leg]
            said.words.append(word)
            said.where[word] = (pos, pos + FRAME)
        self._append(number, AudioFrame(leg, pos, self._frames, unix_ms(pos * 1000 // RATE_HZ), audio))

    def _append(self, number: int, record: AudioFrame | LegStart | CallEnd) -> None:
        log = self._broker.logs[TopicPartition(TOPIC, number % PARTITIONS)]
        log.append(
            CallRecord(self.scripts[number].call_id, record), unix_ms(asyncio.get_running_loop().time())
        )


class Scene:
    """Workers around a crowd."""

    def __init__(self, loop: VirtualLoop, network: Network) -> None:
        recogniser = Service(loop, network, Random(2), extensions=True)
        self.around = Surroundings(loop, network, topic=TOPIC, partitions=PARTITIONS, recogniser=recogniser)
        self.crowd = Crowd(self.around.broker)
        self.workers: list[WorkerProcess] = []

    def add_worker(self) -> WorkerProcess:
        worker = WorkerProcess(f"worker-{len(self.workers)}", self.around, rules=RULE_SOURCES[0])
        self.workers.append(worker)
        return worker

    def owners(self) -> dict[int, str]:
        """Who has which partition."""
        return {
            partition.partition: worker.name
            for worker in self.workers
            if worker.is_running and worker.worker is not None
            for partition in worker.worker._assignments.readers
        }

    async def at_rest(self, workers: int) -> tuple[dict[int, str], int]:
        """Once so many workers share the partitions and every leg has its session: who has which, and how
        many sessions there have been."""
        recogniser = self.around.recogniser
        await until(
            lambda: (
                len(set(self.owners().values())) == workers
                and len(self.owners()) == PARTITIONS
                and sum(connection.is_configured for connection in recogniser.live) == 2 * CALLS
            )
        )
        await asyncio.sleep(3.0)
        return self.owners(), recogniser.opened


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.1)


def legs_on(partitions: set[int]) -> int:
    return sum(2 for number in range(CALLS) if number % PARTITIONS in partitions)


def moved(before: dict[int, str], after: dict[int, str]) -> set[int]:
    return {partition for partition in before if before[partition] != after[partition]}


@pytest.mark.timeout(300)
def test_two_hundred_legs_keep_their_sessions_while_a_worker_joins_and_leaves(
    loop: VirtualLoop, network: Network
) -> None:
    async def play() -> None:
        scene = Scene(loop, network)
        loop.spawn(None, scene.around.broker.run())
        scene.add_worker()
        scene.add_worker()
        loop.spawn(None, scene.crowd.talk())
        at_first, opened_at_first = await scene.at_rest(workers=2)
        guest = scene.add_worker()
        joined, opened_when_joined = await scene.at_rest(workers=3)
        guest.terminate()
        left, opened_in_the_end = await scene.at_rest(workers=2)
        scene.crowd.hang_up()
        tables = scene.around.database.tables
        await until(
            lambda: len(tables.calls) == CALLS and all(call["ended"] for call in tables.calls.values())
        )

        taken, given_back = moved(at_first, joined), moved(joined, left)
        assert len(taken) == len(given_back) == PARTITIONS // 3
        assert opened_at_first == 2 * CALLS
        assert opened_when_joined - opened_at_first == legs_on(taken)
        assert opened_in_the_end - opened_when_joined == legs_on(given_back)
        assert find_faults(scene.crowd.scripts, tables, Allowance()) == []
        assert min(len(leg.words) for script in scene.crowd.scripts for leg in script.legs.values()) > 10

    loop.run_until_complete(play())
    assert loop.faults == []
