"""How the records of one partition reach its core, and when they had better wait in Kafka.

A record is handled once it has been decoded and its call looked up, in order. Whatever stands in the way
(the database does not tell whether the call is known, the dead-letter topic cannot be reached, a leg has
more audio than its recogniser can follow), the answer is one: go back to the record, hold the partition for
a while, try again. Nothing is dropped, and no other partition waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, TypeAlias

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from qa_service import metrics
from qa_service.contract.errors import ContractViolation, Reason, UnknownVersion
from qa_service.contract.records import (
    AudioFrame,
    CallEnd,
    CallRecord,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
    decode_record,
)
from qa_service.domain.partition import stray_violation
from qa_service.domain.poison import PoisonGuard
from qa_service.domain.writes import StoredCall
from qa_service.storage.errors import StorageError
from qa_service.storage.store import Store
from qa_service.worker.clock import Clock
from qa_service.worker.dead_letters import DeadLetters
from qa_service.worker.log_end import LogEnd
from qa_service.worker.outage import Outage
from qa_service.worker.owner import PartitionOwner, log_stray_call
from qa_service.worker.rule_book import RuleSets

_log = structlog.get_logger(__name__)

HoldReason: TypeAlias = Literal["poison", "version", "database", "dead_letters", "recogniser", "capacity"]
"""Why a partition is not read.

``poison``, ``version``: a person has to act. ``database``, ``dead_letters``: they do not answer.
``recogniser``: a leg's audio is far ahead of its results. ``capacity``: as many legs as the worker may hold,
and none of them here; what waits for longer than ``max_lag_s`` is read to be given up.
"""

_Content: TypeAlias = CallRecord | ContractViolation | UnknownVersion

RETRY_AFTER_S = 1.0
"""A partition that was held for something outside tries again after this."""
LOOK_UP_WITHIN_S = 5.0
"""For what the database knows of the calls of one poll; the main loop waits for it."""
LOOK_UPS_AT_ONCE = 4
"""One less than the connections a process has by default: writers go on meanwhile."""
REVIEW_EVERY = 100
"""Records between two looks whether a leg is too far ahead of its recogniser: at most 20 s of audio (200 ms a
frame), and a part of what the buffer of a leg still holds then."""
LOOK_FOR_OLD_EVERY_S = 10.0
"""A partition held for capacity is looked at as often for audio that is too old: a gap a leg each time."""
STANDSTILL_S = 30.0
"""A partition held for a recogniser that answers, and yet covers nothing for so long, is read on: an
utterance that does not end (hold music) is only ended by the audio that comes after it."""


@dataclass(frozen=True, slots=True)
class ReaderTools:
    """What the readers of a worker share."""

    consumer: AIOKafkaConsumer
    store: Store
    store_outage: Outage
    rule_sets: RuleSets
    dead_letters: DeadLetters
    dead_letters_outage: Outage
    clock: Clock
    max_lag_s: float = 0.0
    """Age of records at which audio that waits for capacity is given up; 0: it waits for ever."""


class PartitionReader:
    """Feeds one partition's records to its owner's core, while the partition is assigned to us."""

    def __init__(
        self, partition: TopicPartition, owner: PartitionOwner, tools: ReaderTools, guard: PoisonGuard
    ) -> None:
        self.partition = partition
        self.owner = owner
        self.log_end = LogEnd()
        self.held_for: HoldReason | None = None
        """Why the partition is not read at present; None: it is."""
        self.reads_since = 0.0
        """When reading began, or was taken up again (monotonic seconds)."""
        self.stopped: str | None = None
        """What a person has to deal with before the partition is read on."""
        self._stop_reason: Literal["poison", "version"] = "poison"
        self._tools = tools
        self._guard = guard
        self._is_assigned = False
        self._retry: tuple[HoldReason, float] | None = None
        self._gives_up = False
        """Whether the partition, held for capacity, is read nevertheless, to give up what is too old."""
        self._has_told_given_up = False
        self._look_for_old_at = 0.0
        """When that is due again (monotonic seconds)."""
        self._standstill: tuple[int, float] | None = None
        """While a leg is far ahead of its recogniser: ``next_offset``, and since when it stands there."""
        self._reads_on = False
        """Whether to read although a leg is far ahead of its recogniser."""
        self._absent: set[str] = set()
        """Calls of the present poll that the database does not know."""
        self._sought: int | None = None
        """Where the consumer was told to read again what the core owes."""
        self._refused: frozenset[int] = frozenset()
        """Records of the present poll that were refused, as their calls are another partition's."""
        self._undelivered: int | None = None
        """Record that is to go to the dead-letter topic, and has not got there yet."""

    # --- assigned or not --------------------------------------------------------------------------

    def begin(self) -> None:
        """Read from where the core stands; the partition is assigned to us."""
        self._is_assigned = True
        self._go_back()
        if self.stopped is None:
            self._read()
        else:
            self._hold(self._stop_reason)

    def park(self) -> None:
        """The partition may go elsewhere; what was fetched and not handled is fetched again."""
        self._is_assigned = False

    @property
    def is_current(self) -> bool:
        """Whether the partition is assigned to us and its core can be trusted."""
        return self._is_assigned and self.owner.is_active

    def read_until(self, now: float) -> float:
        """Tell up to when everything that was published has been read (monotonic seconds).

        Behind a record that stops the partition nothing is read by this worker any more. Its calls have gone
        silent as far as we can hear: they end by their time-outs, and their sessions with them. What comes
        behind the record opens their legs again once it is read.
        """
        return now if self.stopped is not None else self.log_end.read_until

    # --- records ----------------------------------------------------------------------------------

    async def take(self, records: list[ConsumerRecord]) -> None:
        """Feed records to the core, in order, as far as that is possible now."""
        if not self.is_current:
            return
        if self._gives_up:
            await self._give_up_old(records)
        elif self.held_for is not None:  # fetched just before the partition was held
            self._go_back()
        else:
            await self._take(records)

    async def _take(self, records: list[ConsumerRecord]) -> None:
        with self.owner.or_ended():
            contents = [_decode(record) for record in records]
            if await self._look_up(contents):
                await self._feed(records, contents)
                self._absent.clear()
            if self.owner.is_active:
                self.owner.step()

    async def _give_up_old(self, records: list[ConsumerRecord]) -> None:
        """Take what has waited for too long, without its audio, and let the rest wait."""
        clock, max_lag_s = self._tools.clock, self._tools.max_lag_s
        oldest_ms = clock.unix_ms() - max_lag_s * 1000
        old = list(takewhile(lambda record: 0 <= record.timestamp < oldest_ms, records))
        if old:
            self._tell_given_up()
            with self.owner.or_ended():
                self.owner.core.give_up_audio(on=True, now=clock.monotonic())
            await self._take(old)
        if not (self._gives_up and self.is_current):
            return  # meanwhile it was parked, held for something else, or is read as any other
        if old:
            with self.owner.or_ended():
                self.owner.core.give_up_audio(on=True, now=clock.monotonic())  # as gaps, up to here
                self.owner.step()
        if len(old) < len(records):
            waits_s = (records[len(old)].timestamp - oldest_ms) / 1000
            self._give_back("capacity", look_after_s=max(waits_s, LOOK_FOR_OLD_EVERY_S))

    def _tell_given_up(self) -> None:
        if not self._has_told_given_up:
            self._has_told_given_up = True
            _log.error(
                "audio_given_up",
                partition=self.partition.partition,
                older_than_s=self._tools.max_lag_s,
                remedy="more workers, or a higher QA_MAX_LEGS; QA_MAX_LAG_S says how long audio may wait",
            )

    async def _feed(self, records: list[ConsumerRecord], contents: list[_Content]) -> None:
        if not await self._refuse_strays(records, contents):
            return
        counts = _Counts(self._guard)
        try:
            for begin in range(0, len(records), REVIEW_EVERY):
                end = begin + REVIEW_EVERY
                if not await self._feed_some(records[begin:end], contents[begin:end], counts):
                    return
                if end <= len(records) and self.owner.core.is_far_behind and not self._reads_on:
                    self._give_back("recogniser")
                    return
        finally:
            counts.settle()

    async def _feed_some(
        self, records: list[ConsumerRecord], contents: list[_Content], counts: _Counts
    ) -> bool:
        """Feed records to the core; False if reading is to stop. Waits for nothing while records are good."""
        core, now = self.owner.core, self._tools.clock.monotonic()
        for record, content in zip(records, contents, strict=True):
            if record.offset < core.position and record.offset != self._undelivered:
                continue  # the partition was taken up again since, from further on
            if record.offset in self._refused:
                core.skip(record.offset)
            elif type(content) is CallRecord:
                try:
                    outcome = core.handle(content, record.offset, record_ms=record.timestamp, now=now)
                except ContractViolation as violation:
                    counts.settle()
                    if not await self._refuse(record, violation):
                        return False
                    now = self._tools.clock.monotonic()
                else:
                    if type(content.record) is AudioFrame:  # counted here: a call for each frame is dear
                        counts.audio += 1
                        counts.repeated += outcome == "repeated"
                    else:
                        counts.note(content)
            elif not await self._set_aside(record, content, counts):
                return False
        return True

    async def _set_aside(self, record: ConsumerRecord, content: _Content, counts: _Counts) -> bool:
        """Deal with a record that could not be decoded; False if reading is to stop at it."""
        if isinstance(content, UnknownVersion):
            self._stop(str(content), "version")
            return False
        assert isinstance(content, ContractViolation)  # noqa: S101 - the third kind has been handled
        counts.settle()
        return await self._refuse(record, content)

    async def _look_up(self, contents: Iterable[_Content]) -> bool:
        """Fetch the calls that are not in memory: they may have ended long ago, and be back."""
        core = self.owner.core
        named = {content.call_id: None for content in contents if type(content) is CallRecord}
        unknown = deque(
            call_id for call_id in named if not core.knows(call_id) and call_id not in self._absent
        )
        if not unknown:
            return True
        try:
            async with asyncio.timeout(LOOK_UP_WITHIN_S):
                await asyncio.gather(*(self._adopt_each(unknown) for _ in range(LOOK_UPS_AT_ONCE)))
        except (StorageError, TimeoutError) as error:
            unknown.clear()
            slow = (
                "the database does not say in time which calls it knows; check that it is up and fast enough"
            )
            self._tools.store_outage.note(slow if isinstance(error, TimeoutError) else str(error))
            if self.is_current:
                self._give_back("database")
            return False
        return self.is_current

    async def _adopt_each(self, call_ids: deque[str]) -> None:
        while call_ids:
            call_id = call_ids.popleft()
            stored = await self._tools.store.load_call(call_id)
            self._tools.store_outage.end()
            if stored is None:
                self._absent.add(call_id)
            else:
                await self._adopt(stored)

    async def _adopt(self, stored: StoredCall) -> None:
        await self._tools.rule_sets.prepare([stored])
        with self.owner.or_ended():
            call_id = stored.call.call_id
            if not self.owner.core.knows(call_id):
                self.owner.core.adopt(stored)
                if self.owner.core.is_stray(call_id):
                    log_stray_call(call_id, self.partition.partition)

    async def _refuse(self, record: ConsumerRecord, violation: ContractViolation) -> bool:
        """Put a record on the dead-letter topic; False if reading is to stop here."""
        if not await self._send_letters([(record, violation)]):
            return False
        self.owner.core.skip(record.offset)
        if violation.reason is Reason.CALL_ON_OTHER_PARTITION:
            return True  # well-formed, so no poison
        why = self._guard.note_bad()
        if why is not None:
            self._stop(why, "poison")
        return why is None

    async def _refuse_strays(self, records: list[ConsumerRecord], contents: list[_Content]) -> bool:
        """Put the records of other partitions' calls on the dead-letter topic; False if reading is to stop.

        All of a poll at once: they are as many as a producer sends.
        """
        core, first = self.owner.core, records[0].offset
        self._refused = frozenset()
        if not core.has_strays:
            return True
        if core.owed_from is not None and first >= core.position:
            self._go_back()  # this was fetched before it was known that anything is owed
            return False
        letters = [
            (record, stray_violation(content.call_id))
            for record, content in zip(records, contents, strict=True)
            if isinstance(content, CallRecord)
            and core.is_stray(content.call_id)
            and (record.offset >= core.position or core.owes(content.call_id, record.offset))
        ]
        if letters and not await self._send_letters(letters):
            return False
        self._refused = frozenset(record.offset for record, _ in letters)
        if first < core.position:
            core.settle_owed(records[-1].offset + 1)
            self._sought = core.owed_from
        return True

    async def _send_letters(self, letters: list[tuple[ConsumerRecord, ContractViolation]]) -> bool:
        """Keep records on the dead-letter topic; False if reading is to stop here."""
        try:
            await asyncio.gather(*(self._tools.dead_letters.send(*letter) for letter in letters))
        except (KafkaError, TimeoutError) as error:
            self._tools.dead_letters_outage.note(str(error) or "no answer in time; does the topic exist?")
            if self.is_current:
                self._undelivered = letters[0][0].offset
                self._give_back("dead_letters", at=min(self._undelivered, self.owner.core.position))
            return False
        self._undelivered = None
        self._tools.dead_letters_outage.end()
        return self.is_current

    # --- waiting ----------------------------------------------------------------------------------

    def _stop(self, why: str, reason: Literal["poison", "version"]) -> None:
        """Stop at a record that only a person can deal with; see :meth:`read_until` for calls in progress."""
        self.stopped, self._stop_reason = why, reason
        self._go_back()
        self._hold(reason)
        _log.error(
            "partition_stopped",
            partition=self.partition.partition,
            offset=self.owner.core.position,
            reason=why,
            remedy="repair the producer, then restart the worker",
        )

    def _give_back(
        self, reason: HoldReason, at: int | None = None, *, look_after_s: float = LOOK_FOR_OLD_EVERY_S
    ) -> None:
        """Leave the records that were not handled to a later poll."""
        self._go_back(at)
        self._hold(reason, look_after_s=look_after_s)
        if reason not in ("recogniser", "capacity"):  # those are reviewed by themselves
            self._retry = reason, self._tools.clock.monotonic() + RETRY_AFTER_S

    def _go_back(self, at: int | None = None) -> None:
        """Read on at an offset, by default after what was handled; what is owed comes before it."""
        offset, self._sought = self.owner.core.position if at is None else at, self.owner.core.owed_from
        self._tools.consumer.seek(self.partition, offset if self._sought is None else self._sought)

    def review(self, *, is_full: bool, recogniser_answers: bool) -> None:
        """Decide anew whether the partition is to be read; called a few times a second."""
        if self.owner.core.owed_from not in {None, self._sought}:
            self._go_back()
        reason = self._reason_to_wait(is_full=is_full, recogniser_answers=recogniser_answers)
        if reason == self.held_for:
            if reason == "capacity" and not self._gives_up:
                self._look_for_old()
            return
        if reason is not None:
            self._hold(reason)
        else:
            self._read()

    def _look_for_old(self) -> None:
        """Read on although there is no capacity, to give up what has waited for too long."""
        if self._tools.max_lag_s and self._tools.clock.monotonic() >= self._look_for_old_at:
            self._gives_up = True
            self._tools.consumer.resume(self.partition)

    def _read(self) -> None:
        self.held_for, self._gives_up, self._has_told_given_up = None, False, False
        self.owner.core.give_up_audio(on=False, now=self._tools.clock.monotonic())
        self.reads_since = self._tools.clock.monotonic()
        self._tools.consumer.resume(self.partition)

    def _hold(self, reason: HoldReason, *, look_after_s: float = LOOK_FOR_OLD_EVERY_S) -> None:
        self.held_for, self._gives_up = reason, False
        self._look_for_old_at = self._tools.clock.monotonic() + look_after_s
        self._tools.consumer.pause(self.partition)

    def _reason_to_wait(self, *, is_full: bool, recogniser_answers: bool) -> HoldReason | None:
        now = self._tools.clock.monotonic()
        if self.stopped is not None:
            return self._stop_reason
        if self.owner.write_failure is not None:
            return "database"
        if self._retry is not None:
            reason, due = self._retry
            if now < due:
                return reason
            self._retry = None
        if self._is_behind(now, recogniser_answers=recogniser_answers):
            return "recogniser"
        if is_full and not self.owner.core.served_legs:
            return "capacity"
        return None

    def _is_behind(self, now: float, *, recogniser_answers: bool) -> bool:
        core = self.owner.core
        if not core.is_far_behind:
            self._standstill, self._reads_on = None, False
            return False
        next_offset = core.next_offset
        if self._standstill is None or self._standstill[0] != next_offset or not recogniser_answers:
            self._standstill, self._reads_on = (next_offset, now), False
        elif now - self._standstill[1] > STANDSTILL_S and not self._reads_on:
            self._reads_on = True
            _log.warning("partition_stood_still", partition=self.partition.partition, offset=next_offset)
        return not self._reads_on


class _Counts:
    """What a poll brought, counted once for all its records."""

    def __init__(self, guard: PoisonGuard) -> None:
        self._guard = guard
        self.audio = 0
        """Frames that were handled, and of them"""
        self.repeated = 0
        """those that had been before."""
        self._others = 0

    def note(self, content: CallRecord) -> None:
        """Count a record that was handled and is no frame."""
        self._others += 1
        metrics.RECORDS[_TYPES[type(content.record)]].inc()

    def settle(self) -> None:
        """Pass on what was counted."""
        if good := self.audio + self._others:
            self._guard.note_good(good)
        if self.audio:
            metrics.RECORDS["audio"].inc(self.audio)
        if self.repeated:
            metrics.FRAMES_REPEATED.inc(self.repeated)
        self.audio = self.repeated = self._others = 0


def _decode(record: ConsumerRecord) -> _Content:
    try:
        return decode_record(record.key, record.headers, record.value)
    except (ContractViolation, UnknownVersion) as error:
        return error


_TYPES: dict[type, str] = {
    LegStart: "start",
    LegUpdate: "update",
    LegPause: "pause",
    LegResume: "resume",
    LegStop: "stop",
    CallEnd: "call_end",
}
