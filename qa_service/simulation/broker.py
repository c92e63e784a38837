"""A broker in memory: logs, groups with eager rebalances, and consumers with aiokafka's manners.

Decided here: what the worker may rely on of Kafka, and nothing more. A member that does not answer within
the session time-out is thrown out; a rebalance waits for members no longer than that; one that was thrown
out learns it from its next heartbeat or commit. While the broker is away nothing raises in a poll, as with
aiokafka: polls come back empty.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    OffsetOutOfRangeError,
)

from qa_service.contract.records import CallRecord, encode_record
from qa_service.simulation.loop import unix_ms
from qa_service.simulation.network import Network

SESSION_TIMEOUT_S: Final = 6.0
HEARTBEAT_S: Final = 1.7
_FETCH_S: Final = 0.04
_CALL_S: Final = 0.05
"""Longest way to the broker and back."""


class RebalanceListener(Protocol):
    """Who hears of what a rebalance takes and gives; aiokafka waits for both."""

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition], /) -> None:
        """All partitions are taken away."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition], /) -> None:
        """These are given."""


class _News:
    """Wakes those who wait for something to be written."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        """Wake all of them."""
        for waiter in self._waiting:
            _wake(waiter)
        self._waiting.clear()

    async def wait(self, longest_s: float) -> None:
        """Return when something was written, or after ``longest_s``."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiting.append(waiter)
        timer = loop.call_later(longest_s, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class MemoryLog:
    """One partition."""

    def __init__(self, partition: TopicPartition, news: _News) -> None:
        self.partition = partition
        self.start = 0
        """First offset that retention has left."""
        self.records: list[ConsumerRecord] = []
        self._news = news

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return len(self.records)

    def append(self, record: CallRecord, timestamp_ms: int) -> int:
        """Write a record; returns its offset."""
        encoded = encode_record(record.call_id, record.record)
        return self.append_raw(encoded.key, encoded.value, encoded.headers, timestamp_ms)

    def append_raw(
        self, key: bytes, value: bytes | None, headers: Sequence[tuple[str, bytes]], timestamp_ms: int
    ) -> int:
        """Write a record byte for byte; returns its offset."""
        offset = self.end
        self.records.append(
            ConsumerRecord(
                topic=self.partition.topic,
                partition=self.partition.partition,
                offset=offset,
                timestamp=timestamp_ms,
                timestamp_type=0,
                key=key,
                value=value,
                checksum=None,
                serialized_key_size=len(key),
                serialized_value_size=len(value or b""),
                headers=tuple(headers),
            )
        )
        self._news.tell()
        return offset


@dataclass(slots=True, eq=False)
class _Member:
    number: int
    heard_at: float
    wants: asyncio.Future[tuple[int, tuple[TopicPartition, ...]]] | None = None
    """Set while it has joined and waits for its share."""
    owned: tuple[TopicPartition, ...] = ()


class Broker:
    """A topic with its partitions and one consumer group."""

    def __init__(self, topic: str, partitions: int, network: Network) -> None:
        self.topic = topic
        self.network = network
        self.news = _News()
        numbered = (TopicPartition(topic, number) for number in range(partitions))
        self.logs = {partition: MemoryLog(partition, self.news) for partition in numbered}
        self.is_up = True
        self.generation = 0
        self.is_rebalancing = False
        self.committed: dict[TopicPartition, int] = {}
        self._members: dict[int, _Member] = {}
        self._numbers = itertools.count(1)
        self._rebalance_began = 0.0

    async def run(self) -> None:
        """Throw members out that do not answer, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.5)
            if self.is_up:
                self._review(loop.time())

    def shake(self) -> None:
        """Begin a rebalance for no reason that members could see."""
        self._begin_rebalance(asyncio.get_running_loop().time())

    def come_back(self) -> None:
        """Be there again; nobody is blamed for not having been heard meanwhile."""
        self.is_up = True
        now = asyncio.get_running_loop().time()
        self._rebalance_began = now
        for member in self._members.values():
            member.heard_at = now

    # --- what members ask -------------------------------------------------------------------------

    def join(self, number: int | None) -> tuple[int, asyncio.Future[tuple[int, tuple[TopicPartition, ...]]]]:
        """Enter the group, or a rebalance of it; the future gives the generation and the share."""
        now = asyncio.get_running_loop().time()
        member = self._members.get(number) if number is not None else None
        if member is None:
            member = _Member(next(self._numbers), now)
            self._members[member.number] = member
        member.heard_at = now
        share = member.wants = asyncio.get_running_loop().create_future()
        self._begin_rebalance(now)
        self._review(now)
        return member.number, share

    def beat(self, number: int, generation: int) -> bool:
        """Hear a member's sign of life; False if it has to join anew."""
        member = self._members.get(number)
        if member is None:
            return False
        member.heard_at = asyncio.get_running_loop().time()
        return generation == self.generation and not self.is_rebalancing

    def leave(self, number: int) -> None:
        """Take a member out at its own wish."""
        if self._members.pop(number, None) is not None:
            self._begin_rebalance(asyncio.get_running_loop().time())
            self._review(asyncio.get_running_loop().time())

    def commit(self, number: int, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Keep the advice of a member of the present generation."""
        if number not in self._members or generation != self.generation or self.is_rebalancing:
            raise CommitFailedError
        self.committed.update(offsets)

    # --- the group --------------------------------------------------------------------------------

    def _begin_rebalance(self, now: float) -> None:
        if not self.is_rebalancing:
            self.is_rebalancing, self._rebalance_began = True, now

    def _review(self, now: float) -> None:
        for number, member in list(self._members.items()):
            waits = member.wants is not None and not member.wants.done()
            if now - member.heard_at > SESSION_TIMEOUT_S and not waits:
                del self._members[number]
                self._begin_rebalance(now)
        if not self.is_rebalancing:
            return
        missing = [m for m in self._members.values() if m.wants is None]
        if missing and now - self._rebalance_began <= SESSION_TIMEOUT_S:
            return
        for member in missing:
            del self._members[member.number]
        self._deal()

    def _deal(self) -> None:
        """Share the partitions out, each to its former owner where that is fair."""
        self.is_rebalancing = False
        if not self._members:
            return
        self.generation += 1
        members = sorted(self._members.values(), key=lambda member: member.number)
        fair = -(-len(self.logs) // len(members))
        shares = {m.number: [p for p in m.owned if p in self.logs][:fair] for m in members}
        taken = {partition for share in shares.values() for partition in share}
        for partition in self.logs:
            if partition not in taken:
                shares[min(shares, key=lambda number: (len(shares[number]), number))].append(partition)
        for member in members:
            member.owned = tuple(shares[member.number])
            if member.wants is not None and not member.wants.done():
                member.wants.set_result((self.generation, member.owned))
            member.wants = None
            member.heard_at = asyncio.get_running_loop().time()


@dataclass(slots=True)
class _Position:
    offset: int | None = None
    is_paused: bool = False
    highwater: int | None = None
    told_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the broker says of a partition: records from ``offset`` on, and where the log ends."""

    partition: TopicPartition
    offset: int
    highwater: int
    records: list[ConsumerRecord]


@dataclass(slots=True)
class _Assignment:
    positions: dict[TopicPartition, _Position] = field(default_factory=dict)


class MemoryConsumer:
    """What the worker uses of :class:`aiokafka.AIOKafkaConsumer`, against a :class:`Broker`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._listener: RebalanceListener | None = None
        self._number: int | None = None
        self._generation = -1
        self._assignment: _Assignment | None = None
        self._is_assigned = asyncio.Event()
        self._coordination: asyncio.Task[None] | None = None

    def subscribe(self, topics: Sequence[str], listener: RebalanceListener) -> None:
        """Join the group; the listener hears of what is given and taken."""
        assert list(topics) == [self._broker.topic]  # noqa: S101 - there is no other
        self._listener = listener
        self._coordination = asyncio.create_task(self._coordinate(), name="group-coordination")
        self._coordination.add_done_callback(_must_not_fail)

    async def stop(self) -> None:
        """Leave the group."""
        if self._coordination is not None:
            self._coordination.cancel()
            await asyncio.wait([self._coordination])
        await self._broker.network.pass_point("kafka.leave", longest_s=_CALL_S)
        if self._number is not None and self._broker.is_up:
            self._broker.leave(self._number)

    # --- reading ----------------------------------------------------------------------------------

    async def getmany(
        self, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Records of the partitions that are assigned and not paused; see aiokafka."""
        await self._is_assigned.wait()
        await self._broker.network.pass_point("kafka.fetch")
        deadline = asyncio.get_running_loop().time() + timeout_ms / 1000
        while True:
            if not self._is_assigned.is_set():
                await self._is_assigned.wait()
            assignment = self._assignment
            assert assignment is not None  # noqa: S101 - just waited for
            answers = self._answer(assignment, max_records) if self._broker.is_up else []
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0 or any(answer.records for answer in answers):
                await self._broker.network.pass_point("kafka.fetch.answered", longest_s=_FETCH_S)
                return self._take(answers) if assignment is self._assignment else {}
            await self._broker.news.wait(left_s)

    def _answer(self, assignment: _Assignment, max_records: int) -> list[_Answer]:
        """What the broker says at this moment."""
        answers: list[_Answer] = []
        # A poll may bring any part of what there is.
        room = self._broker.network.random.choice((1, 5, 30, max_records, max_records))
        for partition, position in assignment.positions.items():
            if position.is_paused or position.offset is None:
                continue
            log = self._broker.logs[partition]
            if not log.start <= position.offset <= log.end:
                raise OffsetOutOfRangeError({partition: position.offset})
            records = log.records[position.offset : position.offset + room]
            answers.append(_Answer(partition, position.offset, log.end, records))
            room -= len(records)
            if room <= 0:
                break
        return answers

    def _take(self, answers: Iterable[_Answer]) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Take what arrived, some way after the broker said it, where it is still wanted."""
        fetched: dict[TopicPartition, list[ConsumerRecord]] = {}
        for answer in answers:
            position = self._position(answer.partition)
            if position.offset != answer.offset:
                continue
            position.highwater = answer.highwater
            position.told_at_ms = unix_ms(asyncio.get_running_loop().time())
            if answer.records and not position.is_paused:
                fetched[answer.partition] = answer.records
                position.offset = answer.offset + len(answer.records)
        return fetched

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See aiokafka."""
        self._position(partition).offset = offset

    def pause(self, partition: TopicPartition) -> None:
        """See aiokafka."""
        self._position(partition).is_paused = True

    def resume(self, partition: TopicPartition) -> None:
        """See aiokafka."""
        self._position(partition).is_paused = False

    def highwater(self, partition: TopicPartition) -> int | None:
        """See aiokafka, which takes an unassigned partition for a fault of the caller too."""
        return self._position(partition).highwater

    def last_poll_timestamp(self, partition: TopicPartition) -> int | None:
        """See aiokafka."""
        return self._position(partition).told_at_ms

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See aiokafka."""
        await self._ask("kafka.offsets")
        return {partition: self._broker.logs[partition].start for partition in partitions}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """See aiokafka."""
        await self._ask("kafka.offsets")
        return {partition: self._broker.logs[partition].end for partition in partitions}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See aiokafka."""
        if not offsets:
            raise ValueError(offsets)
        if self._assignment is None:
            raise IllegalStateError("No partitions assigned")
        for partition in offsets:
            if partition not in self._assignment.positions:
                raise IllegalStateError(f"Partition {partition} is not assigned")
        await self._ask("kafka.commit")
        assert self._number is not None  # noqa: S101 - it has an assignment
        self._broker.commit(self._number, self._generation, offsets)

    async def _ask(self, point: str) -> None:
        await self._broker.network.pass_point(point, longest_s=_CALL_S)
        if not self._broker.is_up:
            await asyncio.sleep(1.0)
            raise KafkaConnectionError("no connection to the broker")

    def _position(self, partition: TopicPartition) -> _Position:
        assert self._assignment is not None  # noqa: S101 - as aiokafka has it
        position = self._assignment.positions.get(partition)
        if position is None:
            raise IllegalStateError(f"No current assignment for partition {partition}")
        return position

    # --- the group --------------------------------------------------------------------------------

    async def _coordinate(self) -> None:
        """Join, take what is given, and show signs of life until the group says to join again."""
        network = self._broker.network
        while True:
            self._is_assigned.clear()
            if self._assignment is not None:
                await network.pass_point("kafka.revoke", longest_s=_CALL_S)
                await self._tell_revoked()
            await network.pass_point("kafka.join", longest_s=_CALL_S)
            await self._until_up()
            self._number, share = self._broker.join(self._number)
            self._generation, partitions = await share
            await network.pass_point("kafka.assign", longest_s=_CALL_S)
            self._assignment = _Assignment({partition: _Position() for partition in partitions})
            assert self._listener is not None  # noqa: S101 - set before
            await self._listener.on_partitions_assigned(set(partitions))
            self._is_assigned.set()
            await self._stay()

    async def _tell_revoked(self) -> None:
        assert self._listener is not None  # noqa: S101 - set before
        assert self._assignment is not None  # noqa: S101 - looked at by the caller
        await self._listener.on_partitions_revoked(set(self._assignment.positions))

    async def _until_up(self) -> None:
        while not self._broker.is_up:  # noqa: ASYNC110 - a client asks again and again, too
            await asyncio.sleep(0.3)

    async def _stay(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S * (0.5 + self._broker.network.random.random() / 2))
            await self._broker.network.pass_point("kafka.heartbeat", longest_s=_CALL_S)
            if not self._broker.is_up:
                continue
            assert self._number is not None  # noqa: S101 - joined before
            if not self._broker.beat(self._number, self._generation):
                return


def _must_not_fail(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": "a member's coordination failed", "exception": error}
        )
