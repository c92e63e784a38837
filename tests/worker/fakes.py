"""Stand-ins for what surrounds a partition: sessions and a consumer that only note, a clock by hand."""

# ruff: noqa: ARG002 - stand-ins have the parameters of what they stand for

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import ConsumerRecord, TopicPartition

from qa_service.contract import encode_record
from qa_service.domain.actions import OpenSession
from qa_service.testing.store import MemoryStore
from qa_service.worker.clock import Clock
from qa_service.worker.outage import Outage
from qa_service.worker.owner import PartitionOwner
from tests.domain.builders import a_partition

if TYPE_CHECKING:
    from qa_service.contract.records import Record
    from qa_service.domain.actions import Action
    from qa_service.domain.partition import LegKey
    from qa_service.protocol.events import ServerEvent
    from qa_service.worker.sessions import SessionListener

PARTITION = TopicPartition("telephony.audio", 0)


class ManualClock(Clock):
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def unix_ms(self) -> int:
        return int(self.now * 1000)


class NotedSessions:
    """Takes the place of a SessionPool."""

    def __init__(self) -> None:
        self.opened: list[tuple[LegKey, int]] = []
        self.actions: list[Action] = []
        self.abandoned = 0
        self._listener: SessionListener | None = None

    def open(self, key: LegKey, action: OpenSession, config: object, listener: SessionListener) -> None:
        self.opened.append((key, action.number))
        self._listener = listener

    def apply(self, key: LegKey, action: Action) -> None:
        self.actions.append(action)

    def abandon(self, listener: SessionListener) -> None:
        self.abandoned += 1

    def say(self, *events: ServerEvent) -> None:
        """Let the newest session say something."""
        assert self._listener is not None
        for event in events:
            self._listener.on_event(*self.opened[-1], event)


class NotedConsumer:
    """Takes the place of aiokafka's consumer."""

    def __init__(self) -> None:
        self.position: int | None = None
        self.is_paused = False
        self.commit_error: Exception | None = None

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.commit_error is not None:
            raise self.commit_error

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 7)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.position = offset

    def pause(self, partition: TopicPartition) -> None:
        self.is_paused = True

    def resume(self, partition: TopicPartition) -> None:
        self.is_paused = False


async def an_owner(store: MemoryStore, clock: Clock, **options: Any) -> PartitionOwner:
    """The owner of a partition that was just claimed in ``store``; by default its failures raise."""

    def fail(_owner: PartitionOwner, error: Exception) -> None:
        raise error

    claim = await store.claim(PARTITION.topic, PARTITION.partition, "test")
    return PartitionOwner(
        a_partition(claim),
        store=store,
        clock=clock,
        store_outage=Outage("store", clock),
        **{"sessions": NotedSessions(), "offer_partial": lambda _: None, "on_end": fail} | options,
    )


def fetched(offset: int, record: Record, call_id: str = "call", **headers: bytes) -> ConsumerRecord:
    """A record as aiokafka delivers it, with some headers replaced."""
    encoded = encode_record(call_id, record)
    return ConsumerRecord(
        topic=PARTITION.topic,
        partition=PARTITION.partition,
        offset=offset,
        timestamp=1_700_000_000_000 + offset,
        timestamp_type=0,
        key=encoded.key,
        value=encoded.value,
        checksum=None,
        serialized_key_size=0,
        serialized_value_size=0,
        headers=tuple({**dict(encoded.headers), **headers}.items()),
    )
