"""Each guarantee is broken on purpose, and the simulation is shown to notice.

A mutation replaces a piece of the worker's own code by one that neglects a single thing. Schedules are run
until the first that comes out wrong; ``within`` bounds how many that may take. A mutation that goes unnoticed
is a hole in the simulation, not in the worker.
"""

# ruff: noqa: E501 - the list of mutations is a table

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

import msgspec
import pytest

from qa_service.asr import session
from qa_service.domain import call as call_module, hearing, leg as leg_module, releasing
from qa_service.domain.arrival import Arrival, Piece
from qa_service.domain.call_log import CallLog
from qa_service.domain.leg import Leg
from qa_service.domain.partition import Partition
from qa_service.domain.recognition import Item, Recognition
from qa_service.domain.writes import Claim, WriteBatch
from qa_service.simulation.world import simulate
from qa_service.storage.errors import StorageError
from qa_service.testing import store as memory
from qa_service.worker import owner, reading
from qa_service.worker.assignments import Assignments
from qa_service.worker.log_end import LogEnd
from qa_service.worker.owner import PartitionOwner
from qa_service.worker.reading import PartitionReader

# It only computes, and may have to give way to all else on the machine.
pytestmark = pytest.mark.timeout(900)

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutation:
    """One deliberate break."""

    guarantee: str
    """As numbered in docs/guarantees.md."""
    neglects: str
    apply: Callable[[Patch], None]
    kinds: tuple[str, ...] | None
    """Faults that bring it to light; None: any."""
    within: int
    """Schedules."""


# --- 1: no audio is lost --------------------------------------------------------------------------


def pass_uncovered_audio(patch: Patch) -> None:
    patch.setattr(Partition, "next_offset", property(lambda self: self.position))


def forget_frames_held_back(patch: Patch) -> None:
    patch.setattr(Leg, "first_uncovered_offset", property(lambda self: self._coverage.retained.first_offset))


def resume_where_kafka_stands(patch: Patch) -> None:
    async def load(self, partition, claim: Claim, *, at):
        end = await self._consumer.end_offsets([partition])
        return await original(self, partition, claim, at=end[partition])

    original = Assignments._load
    patch.setattr(Assignments, "_load", load)


def release_quiet_without_evidence(patch: Patch) -> None:
    def all_that_was_sent(recognition, coverage, hearing_):
        return recognition.timeline.position_at(recognition.timeline.sent_ms), "gate"

    patch.setattr(releasing, "_quiet_until", all_that_was_sent)


def let_the_stall_clock_run_from_order(patch: Patch) -> None:
    def accept(self, frame, *, now):
        before = self._arrived_at
        original(self, frame, now=now)
        if self._order.oldest_held_offset is not None:
            self._arrived_at = before

    original = Leg.accept
    patch.setattr(Leg, "accept", accept)


def believe_a_stale_end_of_the_log(patch: Patch) -> None:
    def look(self, *, told_at, highwater, position, now):
        self.read_until = now if highwater is not None and position >= highwater else -inf

    patch.setattr(LogEnd, "look", look)


def believe_the_end_of_the_log_for_long(patch: Patch) -> None:
    def look(self, *, told_at, highwater, position, now):
        original(self, told_at=told_at, highwater=highwater, position=position, now=now)
        if highwater is not None and position >= highwater:
            self.read_until = max(self.read_until, min(now, self._answered_after + 5))

    original = LogEnd.look
    patch.setattr(LogEnd, "look", look)


def begin_where_an_unannounced_leg_is_met(patch: Patch) -> None:
    patch.setattr(call_module, "_beginning", lambda first: first.pos)


# --- 2: no row and no alert is doubled ------------------------------------------------------------


def retry_an_unknown_outcome_as_another_batch(patch: Patch) -> None:
    async def write(self, batch: WriteBatch):
        try:
            await self._store.write(batch)
        except StorageError:
            self.core._write_seq += 1
            await original(self, msgspec.structs.replace(batch, write_seq=self.core._write_seq))
        else:
            self.stored_next_offset = batch.next_offset

    original = PartitionOwner._write
    patch.setattr(PartitionOwner, "_write", write)


def release_a_repeated_final_again(patch: Patch) -> None:
    def take_first(self) -> Item | None:
        item = original(self)
        self.released.clear()
        return item

    original = Recognition.take_first
    patch.setattr(Recognition, "take_first", take_first)


def apply_repeated_records_again(patch: Patch) -> None:
    original = call_module.Call.restore.__func__

    def restore(cls, stored, **options):
        call = original(cls, stored, **options)
        call.control_offset = -1
        return call

    patch.setattr(call_module.Call, "restore", classmethod(restore))


def replay_without_clipping(patch: Patch) -> None:
    def since(self: Arrival, _position: int) -> Arrival:
        return self

    def restore_at_zero(cls, row, limits):
        return original(cls, msgspec.structs.replace(row, covered_until=0, covered_seq=None), limits)

    original = call_module.Party.restore.__func__
    patch.setattr(call_module.Party, "restore", classmethod(restore_at_zero))


# --- 3: fencing -----------------------------------------------------------------------------------


def drop_the_fence(patch: Patch) -> None:
    def is_stored(batch: WriteBatch, *, write_seq: int, **_claim) -> bool:
        return batch.write_seq <= write_seq

    patch.setattr(memory, "is_stored", is_stored)


def forget_a_fenced_partition(patch: Patch) -> None:
    async def may_commit(self, reader):
        return False

    patch.setattr(Assignments, "_may_commit", may_commit)


def never_prove_the_claim(patch: Patch) -> None:
    patch.setattr(owner, "PROVE_EVERY_S", inf)


# --- 4: a rebalance is no outage ------------------------------------------------------------------


def go_on_after_any_claim(patch: Patch) -> None:
    def renew(self, claim: Claim) -> bool:
        self.epoch, self._token, self._write_seq = claim.epoch, claim.token, claim.write_seq
        return True

    patch.setattr(Partition, "renew", renew)


# --- 5: trouble with the recogniser loses no speech -----------------------------------------------


def replay_nothing(patch: Patch) -> None:
    original = leg_module.Coverage.uncovered

    def uncovered(self, chunk_samples: int) -> Iterator[list[Arrival] | Piece]:
        newest = list(original(self, chunk_samples))
        yield from newest[-1:]

    patch.setattr(leg_module.Coverage, "uncovered", uncovered)


def release_out_of_order(patch: Patch) -> None:
    def take_first(self) -> Item | None:
        ready = next((item for item in self.items.values() if item.result is not None), None)
        if ready is not None:
            self.released[ready.item_id] = None
            del self.items[ready.item_id]
        return ready

    patch.setattr(Recognition, "take_first", take_first)


def wait_for_ever(patch: Patch) -> None:
    patch.setattr(leg_module, "find_failure", lambda *_args, **_options: None)
    patch.setitem(session.SessionLimits.__init__.__kwdefaults__, "finish_s", inf)  # a second line of defence


def take_short_speech_for_clicks(patch: Patch) -> None:
    patch.setattr(hearing, "SOUND_AFTER_S", hearing.MUTE_AFTER_S)


def believe_results_of_a_lost_session(patch: Patch) -> None:
    def receive(self, number, event, *, now, at_ms):
        recognition = self.recognition
        original(self, number if recognition is None else recognition.number, event, now=now, at_ms=at_ms)

    def pass_event(self, entry, event):
        entry.listener.on_event(entry.key, entry.number, event)

    async def go_on(self):
        pass

    original = Leg.receive
    patch.setattr(Leg, "receive", receive)
    patch.setattr("qa_service.worker.sessions.SessionPool._pass_event", pass_event)
    patch.setattr("qa_service.worker.sessions.RecogniserSession.close", go_on)


# --- 6: alerts ------------------------------------------------------------------------------------


def forget_the_state_of_rules(patch: Patch) -> None:
    def recall(self, entries, *, call_seq):
        self.call_seq = call_seq

    patch.setattr(CallLog, "recall", recall)


def announce_nothing(patch: Patch) -> None:
    def take_batch(self, *, even_if_empty: bool = False):
        batch = original(self, even_if_empty=even_if_empty)
        if batch is None or batch.write_seq % 2:
            return batch
        return msgspec.structs.replace(batch, outbox=())

    original = Partition.take_batch
    patch.setattr(Partition, "take_batch", take_batch)


def judge_by_the_rules_of_today(patch: Patch) -> None:
    async def prepare(self, calls):
        for stored in calls:
            self._by_hash[stored.call.rule_set_hash] = self._current

    patch.setattr("qa_service.worker.rule_book.RuleSets.prepare", prepare)


# --- 7: poison never blocks -----------------------------------------------------------------------


def skip_poison_before_it_is_kept(patch: Patch) -> None:
    async def refuse(self, record, violation):
        self.owner.core.skip(record.offset)
        await original(self, record, violation)
        return self.is_current

    original = PartitionReader._refuse
    patch.setattr(PartitionReader, "_refuse", refuse)


def let_poison_block(patch: Patch) -> None:
    async def refuse(self, record, violation):
        self._go_back(record.offset)
        return False

    patch.setattr(PartitionReader, "_refuse", refuse)


def let_a_database_that_is_away_hide_calls(patch: Patch) -> None:
    async def look_up(self, contents):
        return True

    patch.setattr(reading.PartitionReader, "_look_up", look_up)


DEATHS = ("kill", "kill at a point", "terminate")
PAUSES = ("freeze", "freeze at a point")

MUTATIONS = (
    Mutation("1", "next_offset waits for coverage", pass_uncovered_audio, None, 5),
    Mutation("1", "frames that wait for their turn are not covered", forget_frames_held_back, DEATHS, 60),
    Mutation("1", "the store, not Kafka, says where to read on", resume_where_kafka_stands, None, 5),
    Mutation("1", "quiet needs evidence", release_quiet_without_evidence, None, 5),
    Mutation("1", "found: a frame held back has arrived", let_the_stall_clock_run_from_order, None, 200),
    Mutation("1", "found: what is not read is not known", believe_a_stale_end_of_the_log, ("broker outage",), 200),
    Mutation("1", "found: news of the log's end grow old", believe_the_end_of_the_log_for_long, ("broker outage",), 200),
    Mutation("1", "found: a first frame may be overtaken", begin_where_an_unannounced_leg_is_met, None, 300),
    Mutation("2", "an unknown outcome is the same batch again", retry_an_unknown_outcome_as_another_batch, ("outcome unknown",), 20),
    Mutation("2", "a final is released once", release_a_repeated_final_again, ("final comes twice",), 20),
    Mutation("2", "a record that changes a leg counts once", apply_repeated_records_again, DEATHS, 60),
    Mutation("2", "what is covered is not sent again", replay_without_clipping, DEATHS, 20),
    Mutation("3", "a write of an older epoch is refused", drop_the_fence, PAUSES, 100),
    Mutation("3", "a fenced member of the group claims again", forget_a_fenced_partition, ("foreign claim",), 20),
    Mutation("3", "found: a quiet partition proves its claim", never_prove_the_claim, ("database set back",), 200),
    Mutation("4", "memory is kept only if nobody else was there", go_on_after_any_claim, ("database set back", "rebalance"), 20),
    Mutation("5", "a new session gets all that is not released", replay_nothing, ("connection lost",), 20),
    Mutation("5", "results are released in order", release_out_of_order, ("finals out of order", "final never comes"), 60),
    Mutation("5", "what fails is given up in time", wait_for_ever, ("recogniser mute",), 60),
    Mutation("5", "found: short speech is speech", take_short_speech_for_clicks, ("connection stalls",), 300),
    Mutation("5", "results of a lost session are void", believe_results_of_a_lost_session, ("final comes too late",), 200),
    Mutation("6", "a successor knows what rules have seen", forget_the_state_of_rules, DEATHS, 20),
    Mutation("6", "an event goes with its entry", announce_nothing, None, 5),
    Mutation("6", "a call keeps the rules it began with", judge_by_the_rules_of_today, DEATHS, 60),
    Mutation("7", "a dead letter is kept before its record is passed", skip_poison_before_it_is_kept, ("dead-letter outage",), 20),
    Mutation("7", "poison does not block", let_poison_block, ("poison",), 5),
    Mutation("2", "a call that is not in memory is looked up", let_a_database_that_is_away_hide_calls, None, 100),
)  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.apply.__name__)
def test_the_simulation_notices_a_worker_that(mutation: Mutation, monkeypatch: Patch) -> None:
    mutation.apply(monkeypatch)
    if not any(simulate(seed, kinds=mutation.kinds).faults for seed in range(mutation.within)):
        pytest.fail(f"{mutation.within} schedules came out right without this: {mutation.neglects}")
