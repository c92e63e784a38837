"""A partition: the calls on it, how far it is read, and what the next transaction holds.

The one invariant: ``next_offset`` is stored with the very entries that allow it, and never passes a record
whose audio is not covered on some live leg. Whoever takes over begins there.

A call is read on one partition. If its records come on two, as producers partition differently, it belongs to
the one that stored it first, and the other refuses them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from qa_service.contract.errors import ContractViolation, Reason
from qa_service.contract.records import AudioFrame, CallEnd, CallRecord, LegResume, LegStop
from qa_service.domain.actions import Action, DamagedPackets
from qa_service.domain.announcements import PartialData
from qa_service.domain.call import Call, CallPolicy, Outcome
from qa_service.domain.call_log import CallRules
from qa_service.domain.entries import LogEntry, Quiet
from qa_service.domain.incidents import IncidentChange
from qa_service.domain.scores import CallScore
from qa_service.domain.writes import CallRow, Claim, LegRow, OutboxEvent, StoredCall, WriteBatch
from qa_service.protocol.config import SessionConfig
from qa_service.protocol.events import ServerEvent

LINGER_S = 600.0
"""How long a call that ended is remembered here; one that comes back later is read from the store."""
MOST_STRAYS = 10_000
"""Calls of other partitions that are remembered here; older ones are looked up in the store again."""


class LegKey(Struct, frozen=True, gc=False):
    """A leg of a call."""

    call_id: str
    leg_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """The rule set that new calls are pinned to, and the way to any that older calls are."""

    current: Callable[[], str]
    """Hash of the rule set for a call that begins now."""
    start: Callable[[str, str], CallRules]
    """(rule set hash, call id) → the rules' state for that call."""


@dataclass(slots=True)
class _Pending:
    """What the next transaction will hold."""

    entries: list[LogEntry] = field(default_factory=list)
    incidents: list[IncidentChange] = field(default_factory=list)
    outbox: list[OutboxEvent] = field(default_factory=list)
    scores: list[CallScore] = field(default_factory=list)
    has_news: bool = False
    """Whether any of it is more than a step through quiet."""
    dirty_calls: set[str] = field(default_factory=set)
    dirty_legs: set[LegKey] = field(default_factory=set)


class Partition:
    """The calls of one partition under one claim."""

    def __init__(
        self,
        claim: Claim,
        stored: Iterable[StoredCall],
        *,
        position: int,
        rules: RuleBook,
        policy: CallPolicy,
    ) -> None:
        self.topic = claim.topic
        self.partition = claim.partition
        self.epoch = claim.epoch
        self._token = claim.token
        self.position = position
        """Offset of the next record to be read."""
        self._write_seq = claim.write_seq
        self._stored_next_offset = claim.next_offset
        self._rules = rules
        self._policy = policy
        self._calls: dict[str, Call] = {}
        self._record_ms = 0
        self._ended_at: dict[str, float] = {}
        self._strays: dict[str, None] = {}
        """Calls that belong to another partition, in the order in which they were met."""
        self._gives_up = False
        """Whether audio is given up for lack of capacity."""
        self._owed: dict[str, tuple[int, int]] = {}
        """Records of strays that were taken before it was known, from one to before the other."""
        self._actions: list[tuple[LegKey, Action]] = []
        self._partials: list[PartialData] = []
        self._damaged: list[tuple[LegKey, DamagedPackets]] = []
        self._pending = _Pending()
        for call in stored:
            self.adopt(call)

    # --- what comes in ----------------------------------------------------------------------------

    def knows(self, call_id: str) -> bool:
        """Whether the call is in memory; others have to be looked up in the store before their records."""
        return call_id in self._calls or call_id in self._strays

    def is_stray(self, call_id: str) -> bool:
        """Whether the call belongs to another partition: :meth:`handle` refuses its records."""
        return call_id in self._strays

    @property
    def has_strays(self) -> bool:
        """Whether any call is known to belong to another partition."""
        return bool(self._strays)

    def adopt(self, stored: StoredCall) -> None:
        """Take up a stored call, or remember that it is another partition's."""
        row = stored.call
        if (stored.topic, stored.partition) != (self.topic, self.partition):
            self._note_stray(row.call_id)
            return
        self._calls[row.call_id] = Call.restore(
            stored, rules=self._rules.start(row.rule_set_hash, row.call_id), policy=self._policy
        )
        if self._gives_up:
            self._calls[row.call_id].give_up_audio(on=True, now=0.0)  # its legs have nothing to tell yet

    def handle(self, record: CallRecord, offset: int, *, record_ms: int, now: float) -> Outcome:
        """Take the record at ``offset``; raises ContractViolation, after which the record counts as read."""
        if offset >= self.position:
            self.position = offset + 1
        if record_ms > self._record_ms:  # noqa: PLR1730 - max is a call, and this is the frame path
            self._record_ms = record_ms
        call = self._calls.get(record.call_id)
        if call is not None and type(frame := record.record) is AudioFrame:
            has_decided = call.take_next(frame, offset, record_ms=self._record_ms, now=now)
            if has_decided is not None:
                if has_decided:
                    self._gather(call, now=now)
                return "accepted"
        if call is None:
            if record.call_id in self._strays:
                raise stray_violation(record.call_id)
            if isinstance(record.record, CallEnd | LegStop | LegResume):
                return "without_effect"
            call = self._begin(record)
            call.begun_at, call.gives_up = offset, self._gives_up
            outcome = call.handle(record.record, offset, record_ms=self._record_ms, now=now)
            self._calls[record.call_id] = call  # not before: a record that is refused begins no call
        else:
            outcome = call.handle(record.record, offset, record_ms=self._record_ms, now=now)
        self._gather(call, now=now)
        return outcome

    def skip(self, offset: int) -> None:
        """Count a record as read that brought nothing (it went to the dead-letter topic)."""
        self.position = max(self.position, offset + 1)

    def give_up_audio(self, *, on: bool, now: float) -> None:
        """Keep no audio of any call from here on, or keep it again; what was given up so far becomes gaps."""
        self._gives_up = on
        for call in self._calls.values():
            call.give_up_audio(on=on, now=now)
            self._gather(call, now=now)

    def lose_before(self, offset: int) -> None:
        """Go on at ``offset``: what was not read before it has been deleted."""
        self.position = max(self.position, offset)
        self.settle_owed(self.position)
        for call in self._calls.values():
            call.note_deleted_records()

    def leave(self, batch: WriteBatch, call_ids: Collection[str], *, now: float) -> WriteBatch:
        """Drop calls that another partition has stored first; return the batch without them.

        What was read of them since they began is owed: it is to be read once more, and refused.
        """
        for call_id in call_ids:
            self._note_stray(call_id)
            call = self._calls.pop(call_id, None)
            self._ended_at.pop(call_id, None)
            self._actions = [(key, action) for key, action in self._actions if key.call_id != call_id]
            if call is not None:
                call.let_go("the call is read on another partition", now=now)
                self._gather(call, now=now)
            if call is not None and call.begun_at is not None:
                self._owed[call_id] = call.begun_at, self.position
        self._pending = _without_calls(self._pending, call_ids)
        self._stored_next_offset = min(batch.next_offset, self.next_offset)
        return msgspec.structs.replace(
            batch,
            next_offset=self._stored_next_offset,
            calls=tuple(row for row in batch.calls if row.call_id not in call_ids),
            legs=tuple(row for row in batch.legs if row.call_id not in call_ids),
            entries=tuple(entry for entry in batch.entries if entry.call_id not in call_ids),
            incidents=tuple(change for change in batch.incidents if change.call_id not in call_ids),
            outbox=tuple(event for event in batch.outbox if event.call_id not in call_ids),
            scores=tuple(score for score in batch.scores if score.call_id not in call_ids),
        )

    @property
    def owed_from(self) -> int | None:
        """First record to be read once more; None: there is none."""
        return min((start for start, _ in self._owed.values()), default=None)

    def owes(self, call_id: str, offset: int) -> bool:
        """Whether a record that was taken is still to be refused, as one of a stray."""
        start, end = self._owed.get(call_id, (0, 0))
        return start <= offset < end

    def settle_owed(self, before: int) -> None:
        """Count what is owed before an offset as refused."""
        left = {call_id: (max(start, before), end) for call_id, (start, end) in self._owed.items()}
        self._owed = {call_id: owed for call_id, owed in left.items() if owed[0] < owed[1]}

    def receive(self, key: LegKey, number: int, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take an event of a leg's recogniser session; ``at_ms`` is Unix time and only stored."""
        call = self._calls.get(key.call_id)
        if call is not None:
            call.receive(key.leg_id, number, event, now=now, at_ms=at_ms)
            self._gather(call, now=now)

    def session_lost(self, key: LegKey, number: int, *, now: float) -> None:
        """A leg's recogniser session is gone."""
        call = self._calls.get(key.call_id)
        if call is not None:
            call.session_lost(key.leg_id, number, now=now)
            self._gather(call, now=now)

    def tick(self, *, now: float, read_until: float) -> None:
        """Let time-outs act, a few times a second.

        ``read_until``: whatever was published before this moment has been read (monotonic seconds).
        """
        for call in list(self._calls.values()):
            if call.ended:
                lingers = now - self._ended_at.setdefault(call.call_id, now) <= LINGER_S
                if not lingers and call.call_id not in self._pending.dirty_calls:
                    del self._calls[call.call_id], self._ended_at[call.call_id]
                continue
            self._ended_at.pop(call.call_id, None)
            if call.is_calm(now=now, read_until=read_until):
                continue
            call.tick(now=now, record_ms=self._record_ms, read_until=read_until)
            self._gather(call, now=now)

    # --- what goes out ----------------------------------------------------------------------------

    def session_config(self, key: LegKey) -> SessionConfig:
        """Tell how a leg's recogniser session is to be configured."""
        return self._calls[key.call_id].session_config(key.leg_id)

    def take_actions(self) -> list[tuple[LegKey, Action]]:
        """Return what recogniser sessions are to do, in order."""
        actions, self._actions = self._actions, []
        return actions

    def take_partials(self) -> list[PartialData]:
        """Return the intermediate results heard since the last call."""
        partials, self._partials = self._partials, []
        return partials

    def take_damaged(self) -> list[tuple[LegKey, DamagedPackets]]:
        """Return on which legs packets could not be decoded since the last call."""
        damaged, self._damaged = self._damaged, []
        return damaged

    @property
    def next_offset(self) -> int:
        """First record not yet covered on some live leg; everything before it need not be read again."""
        offsets = [o for call in self._calls.values() if (o := call.first_uncovered_offset) is not None]
        offsets += [start for start, _ in self._owed.values()]
        return min(offsets, default=self.position)

    @property
    def live_legs(self) -> int:
        """Legs that have not ended."""
        return sum(call.live_legs for call in self._calls.values())

    @property
    def served_legs(self) -> int:
        """Legs that have not ended, and whose audio is not given up."""
        return sum(call.served_legs for call in self._calls.values())

    @property
    def is_far_behind(self) -> bool:
        """Whether reading on would soon overflow the buffer of a leg: better let records wait in Kafka."""
        return any(call.is_far_behind for call in self._calls.values())

    def renew(self, claim: Claim) -> bool:
        """Go on under a newer claim if nobody else had the partition in between; say whether so."""
        if (claim.former_token, claim.write_seq) != (self._token, self._write_seq):
            return False
        if claim.epoch != self.epoch + 1:
            return False  # a release without tokens was there
        self.epoch, self._token = claim.epoch, claim.token
        return True

    @property
    def awaits_results(self) -> bool:
        """Whether the recogniser owes a final for speech that has ended."""
        return any(call.awaits_results for call in self._calls.values())

    @property
    def has_news(self) -> bool:
        """Whether something waits to be written that others wait for: anything but steps through quiet."""
        return self._pending.has_news

    def take_batch(self, *, even_if_empty: bool = False) -> WriteBatch | None:
        """Return the next transaction, or None if nothing has changed and no empty one is wanted.

        The caller must write it, in order with the others of this partition, or drop the partition.
        """
        pending, next_offset = self._pending, self.next_offset
        is_empty = not pending.dirty_calls and next_offset == self._stored_next_offset
        if is_empty and not even_if_empty:
            return None
        self._pending = _Pending()
        self._stored_next_offset = next_offset
        self._write_seq += 1
        return WriteBatch(
            topic=self.topic,
            partition=self.partition,
            epoch=self.epoch,
            token=self._token,
            write_seq=self._write_seq,
            next_offset=next_offset,
            calls=self._call_rows(pending.dirty_calls),
            legs=self._leg_rows(pending.dirty_legs),
            entries=tuple(pending.entries),
            incidents=tuple(pending.incidents),
            outbox=tuple(pending.outbox),
            scores=tuple(pending.scores),
        )

    # --- inside -----------------------------------------------------------------------------------

    def _note_stray(self, call_id: str) -> None:
        self._strays[call_id] = None
        if len(self._strays) > MOST_STRAYS:
            del self._strays[next(iter(self._strays))]

    def _begin(self, record: CallRecord) -> Call:
        rule_set_hash = self._rules.current()
        return Call.begin(
            record.call_id,
            origin_ts=record.record.ts,
            rule_set_hash=rule_set_hash,
            rules=self._rules.start(rule_set_hash, record.call_id),
            policy=self._policy,
        )

    def _gather(self, call: Call, *, now: float) -> None:
        """Move what a call decided to where the shell takes it from."""
        if call.ended:
            self._ended_at.setdefault(call.call_id, now)
        outputs = call.outputs
        if outputs.actions:
            self._actions += [(LegKey(call.call_id, leg_id), action) for leg_id, action in outputs.actions]
            outputs.actions.clear()
        if outputs.partials:
            self._partials += outputs.partials
            outputs.partials.clear()
        if outputs.damaged:
            self._damaged += [(LegKey(call.call_id, leg_id), packets) for leg_id, packets in outputs.damaged]
            outputs.damaged.clear()
        if not outputs.dirty_legs and not outputs.entries:
            return  # mostly: there is audio to send, and nothing to store
        call.take_outputs()
        pending = self._pending
        pending.entries += outputs.entries
        pending.incidents += outputs.incidents
        pending.outbox += outputs.outbox
        pending.scores += outputs.scores
        if outputs.outbox or any(type(entry.body) is not Quiet for entry in outputs.entries):
            pending.has_news = True
        pending.dirty_legs.update(LegKey(call.call_id, leg_id) for leg_id in outputs.dirty_legs)
        pending.dirty_calls.add(call.call_id)

    def _call_rows(self, call_ids: Iterable[str]) -> tuple[CallRow, ...]:
        return tuple(self._calls[call_id].row() for call_id in sorted(call_ids) if call_id in self._calls)

    def _leg_rows(self, keys: Iterable[LegKey]) -> tuple[LegRow, ...]:
        return tuple(
            self._calls[key.call_id].leg_row(key.leg_id)
            for key in sorted(keys, key=lambda key: (key.call_id, key.leg_id))
            if key.call_id in self._calls
        )


def stray_violation(call_id: str) -> ContractViolation:
    """Say why the records of a call that belongs to another partition are refused."""
    return ContractViolation(
        Reason.CALL_ON_OTHER_PARTITION,
        f"call {call_id!r} is read on another partition: let all producers of the topic partition by murmur2 "
        "of the key (librdkafka: partitioner=murmur2_random)",
    )


def _without_calls(pending: _Pending, call_ids: Collection[str]) -> _Pending:
    return _Pending(
        entries=[entry for entry in pending.entries if entry.call_id not in call_ids],
        incidents=[change for change in pending.incidents if change.call_id not in call_ids],
        outbox=[event for event in pending.outbox if event.call_id not in call_ids],
        scores=[score for score in pending.scores if score.call_id not in call_ids],
        has_news=pending.has_news,
        dirty_calls=pending.dirty_calls.difference(call_ids),
        dirty_legs={key for key in pending.dirty_legs if key.call_id not in call_ids},
    )
