from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaConnectionError, OffsetOutOfRangeError

from qa_service.simulation.broker import SESSION_TIMEOUT_S, Broker, MemoryConsumer
from qa_service.simulation.loop import Process, VirtualLoop
from qa_service.simulation.network import Network

TOPIC = "telephony.audio"


class Member:
    """A consumer, and what its listener was told."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.process = Process(name)
        self.consumer = MemoryConsumer(broker)
        self.owned: set[int] = set()
        self.told: list[str] = []

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition], /) -> None:
        self.told.append(f"revoked {sorted(p.partition for p in revoked)}")
        self.owned = set()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition], /) -> None:
        self.owned = {p.partition for p in assigned}
        self.told.append(f"assigned {sorted(self.owned)}")
        for partition in assigned:
            self.consumer.seek(partition, 0)

    async def join(self) -> None:
        self.consumer.subscribe([TOPIC], listener=self)


@pytest.fixture
def broker(loop: VirtualLoop, network: Network) -> Broker:
    def make() -> Broker:
        return Broker(TOPIC, 3, network)

    return make()


def run(loop: VirtualLoop, broker: Broker, scene: Coroutine[object, object, None]) -> None:
    async def main() -> None:
        loop.spawn(None, broker.run())
        await scene

    loop.run_until_complete(main())
    assert loop.faults == []


def join(loop: VirtualLoop, broker: Broker, *names: str) -> list[Member]:
    members = [Member(broker, name) for name in names]
    for member in members:
        loop.spawn(member.process, member.join())
    return members


def shares(*members: Member) -> list[set[int]]:
    return [member.owned for member in members]


def test_a_group_shares_the_partitions_out(loop: VirtualLoop, broker: Broker) -> None:
    async def scene() -> None:
        one, two = join(loop, broker, "one", "two")
        await asyncio.sleep(20.0)
        assert one.owned | two.owned == {0, 1, 2}
        assert not one.owned & two.owned

    run(loop, broker, scene())


def test_a_rebalance_takes_everything_and_gives_it_back_to_its_owner(
    loop: VirtualLoop, broker: Broker
) -> None:
    async def scene() -> None:
        one, two = join(loop, broker, "one", "two")
        await asyncio.sleep(20.0)
        before = shares(one, two)
        broker.shake()
        await asyncio.sleep(10.0)

        assert shares(one, two) == before
        assert one.told[-2:] == [f"revoked {sorted(before[0])}", f"assigned {sorted(before[0])}"]

    run(loop, broker, scene())


def test_a_member_that_is_frozen_for_too_long_is_thrown_out_and_learns_it(
    loop: VirtualLoop, broker: Broker
) -> None:
    async def scene() -> None:
        one, two = join(loop, broker, "one", "two")
        await asyncio.sleep(20.0)
        loop.freeze(one.process)
        await asyncio.sleep(2 * SESSION_TIMEOUT_S + 5)
        assert two.owned == {0, 1, 2}
        assert one.owned  # it has not heard of it
        with pytest.raises(CommitFailedError):
            await one.consumer.commit({TopicPartition(TOPIC, min(one.owned)): 1})
        loop.thaw(one.process)
        await asyncio.sleep(20.0)
        assert all(shares(one, two))

    run(loop, broker, scene())


def test_a_short_freeze_goes_unnoticed(loop: VirtualLoop, broker: Broker) -> None:
    async def scene() -> None:
        one, two = join(loop, broker, "one", "two")
        await asyncio.sleep(20.0)
        before = shares(one, two)
        loop.freeze(one.process)
        await asyncio.sleep(5.0)
        loop.thaw(one.process)
        await asyncio.sleep(20.0)

        assert shares(one, two) == before
        assert one.told[-1].startswith("assigned")

    run(loop, broker, scene())


def test_a_member_that_leaves_is_succeeded_without_a_wait(loop: VirtualLoop, broker: Broker) -> None:
    async def scene() -> None:
        one, two = join(loop, broker, "one", "two")
        await asyncio.sleep(20.0)
        await one.consumer.stop()
        await asyncio.sleep(4.0)

        assert two.owned == {0, 1, 2}

    run(loop, broker, scene())


def test_a_fetch_gives_what_there_is_and_waits_for_the_rest(loop: VirtualLoop, broker: Broker) -> None:
    async def scene() -> None:
        [one] = join(loop, broker, "one")
        await asyncio.sleep(2.0)
        partition = TopicPartition(TOPIC, 0)
        assert await one.consumer.getmany(timeout_ms=100, max_records=10) == {}
        for _ in range(2):
            broker.logs[partition].append_raw(b"key", b"value", (), 0)
        fetched = 0
        while fetched < 2:
            records = await one.consumer.getmany(timeout_ms=100, max_records=10)
            fetched += len(records.get(partition, []))
        assert one.consumer.highwater(partition) == 2

    run(loop, broker, scene())


def test_a_broker_that_is_away_answers_no_fetch_and_refuses_what_is_asked(
    loop: VirtualLoop, broker: Broker
) -> None:
    async def scene() -> None:
        [one] = join(loop, broker, "one")
        await asyncio.sleep(2.0)
        broker.logs[TopicPartition(TOPIC, 0)].append_raw(b"key", b"value", (), 0)
        broker.is_up = False
        assert await one.consumer.getmany(timeout_ms=100, max_records=10) == {}
        with pytest.raises(KafkaConnectionError):
            await one.consumer.end_offsets([TopicPartition(TOPIC, 0)])
        await asyncio.sleep(60.0)
        broker.come_back()
        await asyncio.sleep(5.0)
        assert one.owned == {0, 1, 2}
        assert len(one.told) == 1

    run(loop, broker, scene())


def test_an_offset_that_the_log_does_not_hold_is_refused(loop: VirtualLoop, broker: Broker) -> None:
    async def scene() -> None:
        [one] = join(loop, broker, "one")
        await asyncio.sleep(2.0)
        one.consumer.seek(TopicPartition(TOPIC, 1), 7)
        with pytest.raises(OffsetOutOfRangeError):
            await one.consumer.getmany(timeout_ms=100, max_records=10)

    run(loop, broker, scene())


def test_partitions_of_others_are_no_business_of_a_member(loop: VirtualLoop, broker: Broker) -> None:
    async def scene() -> None:
        one, two = join(loop, broker, "one", "two")
        await asyncio.sleep(20.0)
        theirs = TopicPartition(TOPIC, min(two.owned))
        with pytest.raises(IllegalStateError):
            one.consumer.highwater(theirs)
        with pytest.raises(IllegalStateError):
            await one.consumer.commit({theirs: 1})

    run(loop, broker, scene())
