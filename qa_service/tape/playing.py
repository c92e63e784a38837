"""A tape through the whole chain, offline: the worker's own core, sessions and writer, and a store in memory.

Records are read as fast as the recogniser follows, as a worker does that catches up. What the records do not
say, the clock of the play does not either: legs end by ``stop``, ``call_end`` or the end of the tape.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.rate import SessionGate
from qa_service.asr.session import make_http_session
from qa_service.contract.errors import ContractViolation
from qa_service.contract.records import decode_record
from qa_service.domain.call import CallPolicy
from qa_service.domain.entries import LogEntry
from qa_service.domain.partition import Partition
from qa_service.rules.ruleset import RuleSet
from qa_service.tape.tapes import Tape, TapeRecord
from qa_service.testing.store import MemoryStore
from qa_service.worker.clock import Clock
from qa_service.worker.outage import Outage
from qa_service.worker.owner import PartitionOwner
from qa_service.worker.rule_book import RuleSets
from qa_service.worker.sessions import SessionPool

_log = structlog.get_logger(__name__)

TICK_S = 0.2
"""As often as the worker looks at time-outs."""
_BREATH_EVERY = 50
"""Records between two breaths of the event loop, in which results come in."""
STANDSTILL_S = 120.0
"""Nothing covered for so long: the recogniser is not there, or not able. As long as a leg's buffer."""
_WRITE_WITHIN_S = 5.0


class PlayStandstill(Exception):  # noqa: N818 - named after what happened
    """The recogniser brings nothing; the message says why, as far as is known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call."""

    entries: tuple[LogEntry, ...]
    incidents: tuple[dict[str, Any], ...]
    """As rows of ``qa.incident``."""


async def play_tape(
    tape: Tape,
    endpoint: RecogniserEndpoint,
    rule_set: RuleSet,
    policy: CallPolicy,
    *,
    tell: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcome:
    """Play a tape; ``tell`` hears how many records of how many have been read.

    Raises PlayStandstill, UnknownVersion, and whatever ends the work on a partition.
    """
    store = MemoryStore()
    rule_sets = RuleSets(rule_set, store)
    await rule_sets.publish()
    async with make_http_session() as http:
        sessions = SessionPool(http, endpoint, SessionGate(20.0))
        try:
            player = await _Player.ready(tape, store, sessions, rule_sets, policy)
            try:
                await player.play(tell)
            finally:
                await player.owner.drop()
        finally:
            await sessions.close()
    stored = await store.load_call(tape.label.call_id)
    return Outcome(stored.entries if stored else (), tuple(store.incidents.values()))


class _Player:
    def __init__(self, tape: Tape, core: Partition, store: MemoryStore, sessions: SessionPool) -> None:
        self._tape = tape
        self._clock = Clock()
        self._sessions = sessions
        self._failure: Exception | None = None
        self._covered = -1
        self._covered_at = self._clock.monotonic()
        self.owner = PartitionOwner(
            core,
            store=store,
            sessions=sessions,
            clock=self._clock,
            offer_partial=lambda _partial: None,
            store_outage=Outage("store", self._clock),
            on_end=self._fail,
        )

    @classmethod
    async def ready(
        cls, tape: Tape, store: MemoryStore, sessions: SessionPool, rule_sets: RuleSets, policy: CallPolicy
    ) -> _Player:
        label = tape.label
        claim = await store.claim(label.topic, label.partition, "tape")
        first = tape.records[0].offset if tape.records else 0
        core = Partition(claim, (), position=first, rules=rule_sets.book, policy=policy)
        return cls(tape, core, store, sessions)

    async def play(self, tell: Callable[[int, int], None]) -> None:
        core, total = self.owner.core, len(self._tape.records)
        for number, record in enumerate(self._tape.records, start=1):
            with self.owner.or_ended():
                self._take(record)
                self.owner.step()
            if number % _BREATH_EVERY == 0:
                tell(number, total)
                await asyncio.sleep(0)
                while core.is_far_behind:
                    await self._wait(read_all=False)
            self._check()
        tell(total, total)
        while core.live_legs and (core.next_offset < core.position or core.awaits_results):
            await self._wait(read_all=True)
        await self.owner.flush(_WRITE_WITHIN_S)
        self._check()

    def _take(self, record: TapeRecord) -> None:
        core = self.owner.core
        try:
            content = decode_record(record.key, record.headers, record.value)
            core.handle(content, record.offset, record_ms=record.timestamp, now=self._clock.monotonic())
        except ContractViolation as violation:
            _log.warning("tape_record_refused", offset=record.offset, reason=str(violation))
            core.skip(record.offset)

    async def _wait(self, *, read_all: bool) -> None:
        await asyncio.sleep(TICK_S)
        self.owner.tick(read_until=self._clock.monotonic() if read_all else -math.inf)
        self._check()
        now = self._clock.monotonic()
        if self.owner.core.next_offset != self._covered:
            self._covered, self._covered_at = self.owner.core.next_offset, now
        elif now - self._covered_at > STANDSTILL_S:
            lost = self._sessions.last_loss
            why = "it is silent" if lost is None else lost.detail
            raise PlayStandstill(f"the recogniser has brought nothing for {STANDSTILL_S:g} s: {why}")

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, _owner: PartitionOwner, error: Exception) -> None:
        self._failure = error
