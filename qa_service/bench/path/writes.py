"""Utterances a second through the real write path: the store's own transactions, as a busy worker sends them.

Each utterance comes with what always comes with it: its call's and leg's state and the event for the outbox.
A transaction holds :data:`UTTERANCES_A_BATCH` of different calls, which is what gathers on a partition under
such a load; partitions write side by side over the connections that a worker has by default.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from qa_service.domain.announcements import announce_utterance
from qa_service.domain.entries import LogEntry, Utterance
from qa_service.domain.identities import utterance_id
from qa_service.domain.writes import CallRow, Claim, LegRow, WriteBatch
from qa_service.storage.database import Database
from qa_service.storage.store import PostgresStore

UTTERANCES_A_BATCH: Final = 64
PARTITIONS: Final = 4
_CONNECTIONS: Final = 5
"""The default of QA_DATABASE_POOL_SIZE."""
_TOPIC: Final = "qa-bench-writes"
_TEXT: Final = "i have been waiting for the parts since last week and would like to know when they come"
_MS: Final = 4000
_SAMPLES_A_MS: Final = 8


async def measure_writes(database_url: str, seconds: float) -> float:
    """Utterances a second, over about ``seconds``; raises the storage's errors."""
    database = Database(database_url, pool_size=_CONNECTIONS)
    try:
        store = PostgresStore(database)
        begun = time.monotonic()
        counts = await asyncio.gather(
            *(_write_for(store, partition, begun + seconds) for partition in range(PARTITIONS))
        )
        return round(sum(counts) / (time.monotonic() - begun), 0)
    finally:
        await database.close()


async def _write_for(store: PostgresStore, partition: int, until: float) -> int:
    claim = await store.claim(_TOPIC, partition, "bench")
    number = 0
    while time.monotonic() < until:
        number += 1
        await store.write(make_batch(claim, number))
    return number * UTTERANCES_A_BATCH


def make_batch(claim: Claim, number: int) -> WriteBatch:
    """The ``number``-th transaction after a claim, from 1: the next utterance of each of its calls."""
    calls = [f"bench-{claim.epoch}-{claim.partition}-{call}" for call in range(UTTERANCES_A_BATCH)]
    entries = [_entry(call, number) for call in calls]
    return WriteBatch(
        topic=claim.topic,
        partition=claim.partition,
        epoch=claim.epoch,
        token=claim.token,
        write_seq=claim.write_seq + number,
        next_offset=number,
        calls=tuple(_call(call, number) for call in calls),
        legs=tuple(_leg(call, number) for call in calls),
        entries=tuple(entries),
        outbox=tuple(
            announce_utterance(entry, entry.body, role="customer")
            for entry in entries
            if isinstance(entry.body, Utterance)
        ),
    )


def _entry(call_id: str, number: int) -> LogEntry:
    said = Utterance(
        utterance_id=utterance_id(call_id, "customer", number),
        ordinal=number,
        text=_TEXT,
        language="en",
        emotion="neutral",
        emotion_confidence=0.7,
        emotion_abstained=False,
        start_pos=(number - 1) * _MS * _SAMPLES_A_MS,
        end_pos=number * _MS * _SAMPLES_A_MS,
        time_source="server",
        engine="bench",
        model="bench",
        final_at=time.time_ns() // 1_000_000,
    )
    return LogEntry(
        call_id=call_id,
        call_seq=number,
        leg_id="customer",
        start_ms=(number - 1) * _MS,
        end_ms=number * _MS,
        body=said,
    )


def _call(call_id: str, number: int) -> CallRow:
    return CallRow(
        call_id=call_id,
        rule_set_hash="bench",
        origin_ts=0,
        call_seq=number,
        control_offset=0,
        tenant=None,
        ended=False,
    )


def _leg(call_id: str, number: int) -> LegRow:
    return LegRow(
        call_id=call_id,
        leg_id="customer",
        role="customer",
        role_is_explicit=True,
        emotion_policy="on",
        emotion_enforced_by="none",
        codec="pcmu",
        rate=8000,
        tenant=None,
        agent_id=None,
        queue=None,
        direction=None,
        language="en",
        subject=None,
        attributes={},
        origin_ms=0,
        covered_until=number * _MS * _SAMPLES_A_MS,
        ordinal=number,
        paused=False,
        ended=False,
    )
