"""From the outbox to Kafka: at least once, a call's events in order, one bad call stopping nobody else.

The next event of a call is sent only once the one before is acknowledged; calls go side by side. A failure
stops its call and leaves its rows where they are; the call is left out for a while, so that others get their
turn. Rows are struck off in the transaction that
took them, so whatever goes wrong in between (broker, database, this process) means a repeat, with the same
event id, never a loss. The relay tries for ever: it is made ready or not by what the last round has shown.

An idempotent producer of aiokafka tries for as long as the broker is away and cannot be told to forget a
record. So an event without an acknowledgement in time is not sent again: its transaction is let go, and the
next round goes on waiting for that same record.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import structlog

from qa_service import metrics
from qa_service.alerts.cloudevents import encode_event
from qa_service.alerts.stuck_calls import Failure, StuckCalls
from qa_service.backoff import Backoff
from qa_service.outbox import TakeBounds
from qa_service.web.health import Check, Heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from qa_service.domain.writes import OutboxTopic
    from qa_service.outbox import Outbox, OutboxRow

_log = structlog.get_logger(__name__)

# Looks at the outbox without having been told of rows: another relay may have let go of a shard.
_POLL_S: Final = 5.0
# Long enough for a change of the partition's leader, short enough not to keep a transaction open for nothing.
_ACKNOWLEDGED_WITHIN_S: Final = 10.0
# Beyond it without a round, or an acknowledgement within one, the relay is stuck.
_STUCK_AFTER_S: Final = 60.0
_TAKE_LIMIT: Final = 500
# A call's events go one after another: a take lasts as long as the call with the most of them.
_ROWS_PER_CALL: Final = 50
# Each may have one event with the producer, which keeps it until the broker has answered.
_MOST_STUCK: Final = 500
_BACKOFF: Final = Backoff(first_s=0.25, ceiling_s=10.0)


class Producer(Protocol):
    """What is used of aiokafka's producer."""

    async def send_and_wait(
        self, topic: str, value: bytes, key: bytes, *, headers: list[tuple[str, bytes]]
    ) -> Any:
        """Send a record and return once it is acknowledged."""
        ...


@dataclass(frozen=True, slots=True)
class RelayTopics:
    """Names of the topics."""

    alerts: str
    transcripts: str

    def name(self, topic: OutboxTopic) -> str:
        """The name of one."""
        return self.alerts if topic == "alerts" else self.transcripts


@dataclass(frozen=True, slots=True)
class _Round:
    """What became of one take."""

    acknowledged: tuple[int, ...]
    failures: tuple[Failure, ...] = ()
    has_more: bool = False
    """Whether rows were left behind for no other reason than the bounds of a take."""


@dataclass(frozen=True, slots=True)
class _Sending:
    """An event that the producer has."""

    call_id: str
    task: asyncio.Task[None]


class Relay:
    """Publishes what the outbox holds; give :attr:`heartbeat` and :meth:`checks` to the health routes.

    ``shards`` are those this relay tries to get: all, where several relays share the work as it comes.
    The producer is started, and should be idempotent. An event that is not acknowledged within
    ``acknowledged_within_s`` seconds counts as a failure for this round.
    """

    def __init__(
        self,
        outbox: Outbox,
        producer: Producer,
        topics: RelayTopics,
        *,
        shards: Sequence[int],
        limit: int = _TAKE_LIMIT,
        rows_per_call: int = _ROWS_PER_CALL,
        most_stuck: int = _MOST_STUCK,
        backoff: Backoff = _BACKOFF,
        poll_s: float = _POLL_S,
        acknowledged_within_s: float = _ACKNOWLEDGED_WITHIN_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._producer = producer
        self._topics = topics
        self._shards = shards
        self._limit = limit
        self._rows_per_call = rows_per_call
        self._backoff = backoff
        self._stuck = StuckCalls(backoff, most=most_stuck)
        self._poll_s = poll_s
        self._acknowledged_within_s = acknowledged_within_s
        # By row id: what the producer has and the broker has not acknowledged yet.
        self._under_way: dict[int, _Sending] = {}
        # Unix seconds; for stamps and ages alone.
        self._clock = clock
        self._outbox_check = Check(ok=False, detail="not looked at yet")
        self._kafka_check = Check(ok=True, detail="connected; nothing published yet")
        self.heartbeat = Heartbeat(_STUCK_AFTER_S + poll_s + acknowledged_within_s)

    def checks(self) -> Mapping[str, Callable[[], Check]]:
        """What readiness rests on: how the last look at the outbox and the last publishing went."""
        return {"outbox": lambda: self._outbox_check, "kafka": lambda: self._kafka_check}

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until ``stop`` is set; the round that is under way then is brought to its end."""
        try:
            await self._run_rounds(stop)
        finally:
            for sending in self._under_way.values():
                sending.task.cancel()

    async def _run_rounds(self, stop: asyncio.Event) -> None:
        failed_rounds = 0
        while not stop.is_set():
            self.heartbeat.beat()
            done = await self._try_round()
            if done is None or (done.failures and self._stuck.is_full):
                await _rest(stop, self._backoff.delay_s(failed_rounds, random.random()))  # noqa: S311 - jitter
                failed_rounds += 1
                continue
            failed_rounds = 0
            if not done.has_more:
                await self._await_rows(stop)

    async def _try_round(self) -> _Round | None:
        """One round; None when the outbox could not be taken from, or not be struck off."""
        try:
            done = await self._publish_once()
        except Exception as error:  # noqa: BLE001 - nothing is lost by it, and the relay must go on
            self._doubt_outbox(error)
            return None
        if not self._outbox_check.ok and self._outbox_check.detail != "not looked at yet":
            _log.info("outbox_reached_again")
        self._outbox_check = Check(ok=True, detail="taken from")
        self._judge_kafka(done)
        return done

    async def _publish_once(self) -> _Round:
        began = time.monotonic()
        left_out = self._stuck.left_out(began)
        bounds = TakeBounds(rows=self._limit, rows_per_call=self._rows_per_call, without_calls=left_out)
        async with self._outbox.take(self._shards, bounds) as take:
            self._forget_settled({row.id for row in take.rows}, left_out)
            self._note_age(take.rows)
            done = await self._publish_calls(take.rows)
            await take.delete(done.acknowledged)
        self._stuck.settle(done.failures, left_out=left_out, now=time.monotonic())
        if take.rows:
            metrics.RELAY_BATCH.observe(time.monotonic() - began)
        return done

    async def _publish_calls(self, rows: Sequence[OutboxRow]) -> _Round:
        by_call: dict[str, list[OutboxRow]] = defaultdict(list)
        for row in rows:
            by_call[row.call_id].append(row)
        results = await asyncio.gather(*(self._publish_call(call) for call in by_call.values()))
        return _Round(
            acknowledged=tuple(row_id for acknowledged, _ in results for row_id in acknowledged),
            failures=tuple(failure for _, failure in results if failure is not None),
            has_more=len(rows) >= self._limit
            or any(len(call) >= self._rows_per_call for call in by_call.values()),
        )

    async def _publish_call(self, rows: Sequence[OutboxRow]) -> tuple[list[int], Failure | None]:
        """Publish one call's rows one after another up to the first failure."""
        acknowledged: list[int] = []
        for row in rows:
            topic = self._topics.name(row.topic)
            try:
                await self._publish(topic, row)
            except Exception as error:  # noqa: BLE001 - it stops this call, whatever it is, and is told
                metrics.RELAY_FAILURES[topic].inc()
                _log.debug(
                    "event_not_published",
                    call_id=row.call_id,
                    call_seq=row.call_seq,
                    event_id=str(row.event_id),
                    type=row.type,
                    topic=topic,
                    error=_words(error),
                )
                return acknowledged, Failure(row.call_id, _words(error), row.created_at.timestamp())
            self.heartbeat.beat()
            metrics.RELAY_PUBLISHED[topic].inc()
            acknowledged.append(row.id)
        return acknowledged, None

    async def _publish(self, topic: str, row: OutboxRow) -> None:
        """Send an event, unless it is under way already, and return once it is acknowledged."""
        sending = self._under_way.get(row.id)
        if sending is None:
            task = asyncio.create_task(self._send(topic, row), name="relay-send")
            sending = self._under_way[row.id] = _Sending(row.call_id, task)
        done, _ = await asyncio.wait((sending.task,), timeout=self._acknowledged_within_s)
        if not done:
            raise TimeoutError(f"no acknowledgement within {self._acknowledged_within_s:g} s")
        del self._under_way[row.id]
        sending.task.result()

    async def _send(self, topic: str, row: OutboxRow) -> None:
        now = self._clock()
        record = encode_event(
            event_id=row.event_id,
            type=row.type,
            call_id=row.call_id,
            call_seq=row.call_seq,
            time=row.created_at,
            data=stamp(row.data, durable_at=row.created_at, published_at_ms=round(now * 1000)),
        )
        await self._producer.send_and_wait(topic, record.value, record.key, headers=record.headers)
        if row.topic == "alerts":
            _log.info(
                "alert_published",
                call_id=row.call_id,
                call_seq=row.call_seq,
                event_id=str(row.event_id),
                type=row.type,
                age_ms=round((now - row.created_at.timestamp()) * 1000),
            )

    def _forget_settled(self, taken: Collection[int], left_out: Collection[str]) -> None:
        """Drop what was settled since and is not ours to strike off: another relay has taken it."""
        for row_id, sending in list(self._under_way.items()):
            if row_id in taken or sending.call_id in left_out or not sending.task.done():
                continue
            del self._under_way[row_id]
            if not sending.task.cancelled():
                error = sending.task.exception()
                _log.debug(
                    "event_settled_late", row_id=row_id, error=None if error is None else _words(error)
                )

    def _note_age(self, rows: Sequence[OutboxRow]) -> None:
        now = self._clock()
        written = [rows[0].created_at.timestamp()] if rows else []
        if self._stuck.first is not None:
            written.append(self._stuck.first.waits_since)
        metrics.RELAY_OUTBOX_AGE.set(max(0.0, now - min(written, default=now)))

    def _doubt_outbox(self, error: Exception) -> None:
        if self._outbox_check.ok or self._outbox_check.detail != _words(error):
            _log.error("outbox_unreachable", error=_words(error), error_type=type(error).__name__)
        self._outbox_check = Check(ok=False, detail=_words(error))

    def _judge_kafka(self, done: _Round) -> None:
        if done.failures:
            _log.warning("calls_not_published", calls=len(done.failures), error=done.failures[0].error)
        first = self._stuck.first
        if first is not None:
            self._kafka_check = Check(
                ok=False, detail=f"{len(self._stuck)} calls wait, the first because of: {first.error}"
            )
        elif done.acknowledged or not self._kafka_check.ok:
            self._kafka_check = Check(ok=True, detail=f"last round published {len(done.acknowledged)} events")

    async def _await_rows(self, stop: asyncio.Event) -> None:
        """Until rows may have come, or a call or the outbox is due to be tried, or the relay shall stop."""
        next_due_s = self._stuck.next_due_s(time.monotonic())
        at_most_s = self._poll_s if next_due_s is None else min(next_due_s, self._poll_s)
        waiting = asyncio.create_task(self._outbox.wait_for_rows(at_most_s), name="outbox-wait")
        stopping = asyncio.create_task(stop.wait(), name="relay-stop")
        try:
            await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done() and (error := waiting.exception()) is not None:
                # The next take will fail for the same reason and count it; without a nap this would spin.
                _log.debug("outbox_wait_failed", error=_words(error))
                await _rest(stop, self._backoff.bound_s(0))
        finally:
            for task in (waiting, stopping):
                task.cancel()
            await asyncio.wait((waiting, stopping))


def stamp(data: bytes, *, durable_at: datetime, published_at_ms: int) -> bytes:
    """Add to an event's ``stamps`` what only the relay knows: when it became durable and is sent, Unix ms."""
    decoded: dict[str, Any] = msgspec.json.decode(data)
    decoded["stamps"] = {
        **decoded.get("stamps", {}),
        "durable_at": round(durable_at.timestamp() * 1000),
        "published_at": published_at_ms,
    }
    return msgspec.json.encode(decoded)


def _words(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not beyond ``stop``."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
