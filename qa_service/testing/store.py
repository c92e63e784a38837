"""A store and an outbox in memory, which behave like the ones in PostgreSQL.

Both pass the same behavioural tests. Rows go through the same conversion as the real ones, so that what
comes back is what PostgreSQL would give back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID, uuid4

import msgspec

from qa_service.domain.scores import CallScore
from qa_service.domain.writes import Claim, StoredCall, WriteBatch
from qa_service.outbox import OutboxRow, TakeBounds
from qa_service.storage import rows
from qa_service.storage.errors import StorageError, StoreRefused
from qa_service.storage.outbox import shard_of
from qa_service.storage.store import (
    assemble,
    is_stored,
    newest_calls,
    newest_incidents,
    newest_legs,
    refuse_foreign,
)

_Rows = dict[Any, dict[str, Any]]


class MemoryStore:
    """The tables as dictionaries; see :class:`qa_service.storage.store.Store`.

    ``fail_with`` makes every call raise that error until it is set to None again.
    """

    def __init__(self) -> None:
        self.fail_with: StorageError | None = None
        self.claims: dict[tuple[str, int], Claim] = {}
        self.calls: _Rows = {}
        """By call id."""
        self.legs: _Rows = {}
        """By (call id, leg id)."""
        self.entries: _Rows = {}
        """By (call id, call_seq)."""
        self.incidents: _Rows = {}
        """By incident id; evidence as JSON text."""
        self.outbox: dict[int, OutboxRow] = {}
        """By id."""
        self.scores: dict[tuple[str, str], CallScore] = {}
        """By (call id, hash of the scorecard)."""
        self.rule_sets: dict[str, str] = {}
        self.locked_shards: set[int] = set()
        self.listeners: set[asyncio.Event] = set()
        """Set, each of them, when outbox rows are added."""
        self._last_outbox_id = 0
        self._utterances: set[UUID] = set()

    async def claim(self, topic: str, partition: int, owner: str) -> Claim:  # noqa: ARG002 - the real one shows the owner to operators
        """See :meth:`Store.claim`."""
        self.fail_if_told()
        before = self.claims.get((topic, partition))
        claim = self.claims[topic, partition] = Claim(
            topic=topic,
            partition=partition,
            epoch=before.epoch + 1 if before else 1,
            token=uuid4(),
            former_token=before.token if before else None,
            write_seq=before.write_seq if before else 0,
            next_offset=before.next_offset if before else None,
        )
        return claim

    async def load_calls(self, topic: str, partition: int) -> tuple[StoredCall, ...]:
        """See :meth:`Store.load_calls`."""
        self.fail_if_told()
        return self._assemble(
            call_id
            for call_id, call in self.calls.items()
            if (call["topic"], call["partition"], call["ended"]) == (topic, partition, False)
        )

    async def load_call(self, call_id: str) -> StoredCall | None:
        """See :meth:`Store.load_call`."""
        self.fail_if_told()
        return next(iter(self._assemble({call_id} & self.calls.keys())), None)

    async def write(self, batch: WriteBatch) -> None:
        """See :meth:`Store.write`."""
        self.fail_if_told()
        where = (batch.topic, batch.partition)
        claim = self.claims.get(where)
        if is_stored(
            batch,
            epoch=claim.epoch if claim else None,
            token=claim.token if claim else None,
            write_seq=claim.write_seq if claim else 0,
        ):
            return
        refuse_foreign(batch, [call.call_id for call in batch.calls if self._may_store(call.call_id, where)])
        entries = [dict(zip(rows.ENTRY_COLUMNS, rows.entry_to_row(e), strict=True)) for e in batch.entries]
        self._refuse_repeated(entries)
        assert claim is not None  # noqa: S101 - it would be fenced off
        self.claims[where] = msgspec.structs.replace(
            claim, write_seq=batch.write_seq, next_offset=batch.next_offset
        )
        for call in newest_calls(batch):
            row = rows.call_to_row(call, *where)
            self.calls[call.call_id] = dict(zip(rows.CALL_COLUMNS, row, strict=True))
        for leg in newest_legs(batch):
            row = rows.leg_to_row(leg)
            self.legs[leg.call_id, leg.leg_id] = dict(zip(rows.LEG_COLUMNS, row, strict=True))
        for entry in entries:
            self.entries[entry["call_id"], entry["call_seq"]] = entry
            self._utterances |= {entry["utterance_id"]} - {None}
        self._store_incidents(batch)
        self.scores |= {(score.call_id, score.scorecard_hash): score for score in batch.scores}
        self._store_events(batch)

    async def save_rule_set(self, rule_set_hash: str, source: str) -> None:
        """See :meth:`Store.save_rule_set`."""
        self.fail_if_told()
        self.rule_sets.setdefault(rule_set_hash, source)

    async def rule_set(self, rule_set_hash: str) -> str | None:
        """See :meth:`Store.rule_set`."""
        self.fail_if_told()
        return self.rule_sets.get(rule_set_hash)

    async def ping(self) -> None:
        """See :meth:`Store.ping`."""
        self.fail_if_told()

    def fail_if_told(self) -> None:
        """Raise what ``fail_with`` says."""
        if self.fail_with is not None:
            raise self.fail_with

    def _may_store(self, call_id: str, where: tuple[str, int]) -> bool:
        row = self.calls.get(call_id)
        return row is None or (row["topic"], row["partition"]) == where

    def _assemble(self, call_ids: Iterable[str]) -> tuple[StoredCall, ...]:
        wanted = set(call_ids)
        return assemble(
            [self.calls[call_id] for call_id in sorted(wanted)],
            [
                leg | {"attributes": msgspec.json.decode(leg["attributes"])}
                for key, leg in sorted(self.legs.items())
                if key[0] in wanted
            ],
            [entry for key, entry in sorted(self.entries.items()) if key[0] in wanted],
        )

    def _refuse_repeated(self, entries: Sequence[dict[str, Any]]) -> None:
        keys = [(entry["call_id"], entry["call_seq"]) for entry in entries]
        utterances = [entry["utterance_id"] for entry in entries if entry["utterance_id"] is not None]
        repeated = len(set(keys)) < len(keys) or len(set(utterances)) < len(utterances)
        if repeated or self.entries.keys() & set(keys) or self._utterances & set(utterances):
            raise StoreRefused("a log entry or utterance of the batch is stored already")

    def _store_incidents(self, batch: WriteBatch) -> None:
        for change in newest_incidents(batch):
            row = dict(zip(rows.INCIDENT_COLUMNS, rows.incident_to_row(change), strict=True))
            stored = self.incidents.get(change.incident_id)
            if stored is None:
                self.incidents[change.incident_id] = row
            elif stored["n"] < change.n:
                kept = {name: stored[name] for name in ("call_id", "anchor", "opened_ms")}
                self.incidents[change.incident_id] = row | kept

    def _store_events(self, batch: WriteBatch) -> None:
        waiting = {row.event_id for row in self.outbox.values()}
        for event in batch.outbox:
            self._last_outbox_id += 1  # a repeated event uses up a number, as PostgreSQL's sequence does
            if event.event_id in waiting:
                continue
            waiting.add(event.event_id)
            self.outbox[self._last_outbox_id] = OutboxRow(
                id=self._last_outbox_id, created_at=datetime.now(UTC), **msgspec.structs.asdict(event)
            )
        if batch.outbox:
            for news in self.listeners:
                news.set()


class MemoryOutbox:
    """The outbox of a :class:`MemoryStore`; see :class:`qa_service.outbox.Outbox`.

    Several objects on one store act like several relays: a shard is taken by one at a time.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._news = asyncio.Event()
        self._listening = False

    @asynccontextmanager
    async def take(self, shards: Sequence[int], bounds: TakeBounds) -> AsyncIterator[MemoryTake]:
        """See :meth:`Outbox.take`."""
        self._news.clear()
        self._store.fail_if_told()
        locked = [shard for shard in dict.fromkeys(shards) if shard not in self._store.locked_shards]
        self._store.locked_shards.update(locked)
        try:
            waiting = (row for row in self._store.outbox.values() if shard_of(row.call_id) in locked)
            take = MemoryTake(tuple(locked), tuple(islice(_within(waiting, bounds), bounds.rows)))
            yield take
            self._store.fail_if_told()
            for row_id in take.deleted:
                self._store.outbox.pop(row_id, None)
        finally:
            self._store.locked_shards.difference_update(locked)

    async def wait_for_rows(self, timeout: float) -> bool:  # noqa: ASYNC109 - a quiet end is a result here, not an error
        """See :meth:`Outbox.wait_for_rows`."""
        self._store.fail_if_told()
        if not self._listening:
            self._store.listeners.add(self._news)
            self._listening = True
            self._news.set()
        try:
            await asyncio.wait_for(self._news.wait(), timeout)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """See :meth:`Outbox.close`."""
        self._store.listeners.discard(self._news)
        self._listening = False


def _within(rows: Iterable[OutboxRow], bounds: TakeBounds) -> Iterator[OutboxRow]:
    """The rows of calls that are not left out, so many of each call."""
    taken = Counter[str]()
    for row in rows:
        taken[row.call_id] += 1
        if row.call_id not in bounds.without_calls and taken[row.call_id] <= bounds.rows_per_call:
            yield row


class MemoryTake:
    """Rows taken from a :class:`MemoryOutbox`; see :class:`qa_service.outbox.OutboxTake`."""

    def __init__(self, shards: tuple[int, ...], rows: tuple[OutboxRow, ...]) -> None:
        self.shards = shards
        self.rows = rows
        self.deleted: set[int] = set()

    async def delete(self, ids: Collection[int]) -> None:
        """See :meth:`OutboxTake.delete`."""
        self.deleted.update(ids)
