from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings, strategies as st

from qa_service.contract.codecs import Codec, bytes_per_sample
from qa_service.contract.errors import ContractViolation, Reason
from qa_service.contract.info import LegInfo
from qa_service.contract.records import AudioFrame, CallEnd, LegPause, LegResume, LegStart, LegStop
from qa_service.domain.actions import AbandonSession, Append, OpenSession
from qa_service.domain.call import Call, CallPolicy
from qa_service.domain.entries import CallEnded, CallStarted, LegStarted
from qa_service.domain.leg import LegLimits
from qa_service.domain.partition import LINGER_S, LegKey, Partition
from qa_service.domain.scores import CallScore
from qa_service.domain.writes import StoredCall
from qa_service.protocol.events import Progress, SessionFinished
from tests.domain.builders import (
    FRAME,
    ORIGIN_TS,
    RATE,
    NoRules,
    a_claim,
    a_partition,
    frame,
    in_call,
    session_updated,
    start,
    word,
)

KEY = LegKey("call", "customer")


def feed(partition: Partition, *records: object, call_id: str = "call") -> list[str]:
    return [
        partition.handle(in_call(record, call_id), partition.position, record_ms=ORIGIN_TS, now=1.0)  # type: ignore[arg-type]
        for record in records
    ]


def frames(count: int) -> list[AudioFrame]:
    return [frame(index, word(1)) for index in range(count)]


def test_a_batch_holds_what_changed_and_the_offset_that_goes_with_it() -> None:
    partition = a_partition()
    feed(partition, start(), *frames(10))

    batch = partition.take_batch()

    assert batch is not None
    assert (batch.write_seq, batch.next_offset, batch.epoch) == (1, 1, 1)
    assert [type(entry.body) for entry in batch.entries] == [CallStarted, LegStarted]
    assert [call.call_id for call in batch.calls] == ["call"]
    assert [leg.leg_id for leg in batch.legs] == ["customer"]


def test_without_a_change_there_is_no_batch() -> None:
    partition = a_partition()
    feed(partition, start(), *frames(10))
    partition.take_batch()

    feed(partition, *[frame(index) for index in range(10, 20)])

    assert partition.take_batch() is None


def test_an_offset_that_moved_on_is_a_change() -> None:
    partition = a_partition()
    partition.skip(0)

    batch = partition.take_batch()

    assert batch is not None
    assert (batch.next_offset, batch.entries) == (1, ())


def test_the_next_offset_is_the_smallest_of_all_calls() -> None:
    partition = a_partition()
    feed(partition, start(), call_id="a")
    feed(partition, *frames(1), call_id="a")
    feed(partition, start(), *frames(3), call_id="b")

    assert partition.next_offset == 1


@pytest.mark.parametrize(
    "stray", [CallEnd(ORIGIN_TS), LegStop("customer", ORIGIN_TS), LegResume("customer", ORIGIN_TS)]
)
def test_an_end_of_something_unknown_begins_no_call(stray: object) -> None:
    partition = a_partition()

    assert feed(partition, stray) == ["without_effect"]
    assert not partition.knows("call")


def test_a_refused_record_begins_no_call_and_counts_as_read() -> None:
    partition = a_partition()

    with pytest.raises(ContractViolation):
        feed(partition, AudioFrame("customer", 0, 0, ORIGIN_TS, b"\0", "pcm_s16le"))

    assert not partition.knows("call")
    assert partition.position == 1


def test_actions_name_their_leg() -> None:
    partition = a_partition()
    feed(partition, start(), *frames(5))

    actions = partition.take_actions()

    assert [(key, type(action)) for key, action in actions] == [(KEY, OpenSession), (KEY, Append)]
    assert partition.take_actions() == []
    assert partition.session_config(KEY).extensions.emotion


def test_a_renewed_claim_goes_on_only_if_nobody_wrote_in_between() -> None:
    partition = a_partition()
    feed(partition, start())
    partition.take_batch()

    assert not partition.renew(a_claim(epoch=3, write_seq=1))
    assert not partition.renew(a_claim(epoch=2, write_seq=0))
    assert not partition.renew(a_claim(epoch=2, write_seq=1, history=1))
    assert partition.renew(a_claim(epoch=2, write_seq=1))
    assert partition.epoch == 2


def test_a_call_that_ended_is_remembered_for_a_while() -> None:
    partition = a_partition()
    feed(partition, start(), CallEnd(ORIGIN_TS))

    partition.tick(now=LINGER_S + 2, read_until=LINGER_S + 2)
    assert partition.knows("call")  # it is not even stored
    partition.take_batch()

    partition.tick(now=LINGER_S, read_until=LINGER_S)
    assert partition.knows("call")

    partition.tick(now=LINGER_S + 2, read_until=LINGER_S + 2)
    assert not partition.knows("call")


def test_a_stored_call_is_taken_up_where_it_was() -> None:
    partition = a_partition()
    feed(partition, start(), *frames(10), LegStop("customer", ORIGIN_TS))
    partition.receive(KEY, 1, SessionFinished(), now=2.0, at_ms=0)
    batch = partition.take_batch()
    assert batch is not None
    stored = StoredCall(
        topic=batch.topic,
        partition=batch.partition,
        call=batch.calls[0],
        legs=batch.legs,
        entries=batch.entries,
    )

    successor = a_partition(a_claim(epoch=2, write_seq=1, next_offset=batch.next_offset), (stored,))

    assert successor.live_legs == 0
    assert feed(successor, CallEnd(ORIGIN_TS)) == ["accepted"]
    assert [entry.call_seq for entry in successor.take_batch().entries] == [len(batch.entries) + 1]  # type: ignore[union-attr]


def test_a_leg_far_behind_asks_to_let_records_wait() -> None:
    partition = a_partition(policy=CallPolicy(limits=LegLimits(replay_buffer_s=1.0)))
    feed(partition, start(), *frames(37))
    assert not partition.is_far_behind

    feed(partition, frame(37, word(1)))  # 760 ms of a buffer of a second

    assert partition.is_far_behind


def test_publishers_whose_clocks_differ_do_not_end_each_others_legs() -> None:
    partition = a_partition()
    offset = 0
    for index in range(50):
        for call_id, ahead_ms in (("ahead", 120_000), ("behind", 0)):
            record = in_call(frame(index, word(1)), call_id)
            record_ms = ORIGIN_TS + 20 * index + ahead_ms
            partition.handle(record, offset, record_ms=record_ms, now=0.02 * index)
            offset += 1
        partition.tick(now=0.02 * index, read_until=0.02 * index)

    actions = {type(action) for _, action in partition.take_actions()}

    assert actions == {OpenSession, Append}  # nothing was told to finish


def test_events_for_forgotten_calls_are_void() -> None:
    partition = a_partition()

    partition.receive(KEY, 1, SessionFinished(), now=0.0, at_ms=0)
    partition.session_lost(KEY, 1, now=0.0)

    assert partition.take_batch() is None


def a_stored_call(call_id: str, *, partition: int) -> StoredCall:
    other = a_partition()
    other.handle(in_call(start(), call_id), 0, record_ms=ORIGIN_TS, now=0.0)
    batch = other.take_batch()
    assert batch is not None
    return StoredCall(
        topic=batch.topic, partition=partition, call=batch.calls[0], legs=batch.legs, entries=batch.entries
    )


def test_a_call_of_another_partition_is_not_taken_up_and_its_records_are_refused() -> None:
    partition = a_partition()
    partition.adopt(a_stored_call("call", partition=5))

    assert partition.knows("call")
    assert partition.live_legs == 0
    with pytest.raises(ContractViolation, match="murmur2") as caught:
        feed(partition, start())
    assert caught.value.reason is Reason.CALL_ON_OTHER_PARTITION
    assert partition.position == 1


def test_calls_that_another_partition_stored_first_are_left_to_it_and_owed() -> None:
    partition = a_partition()
    feed(partition, start(), *frames(10))
    partition.handle(in_call(start(), "other"), 11, record_ms=ORIGIN_TS, now=0.0)
    feed_from = partition.position
    partition.take_actions()
    batch = partition.take_batch()
    assert batch is not None
    feed_after = frames(20)[10:]
    for index, record in enumerate(feed_after):
        partition.handle(in_call(record), feed_from + index, record_ms=ORIGIN_TS, now=0.0)

    left = partition.leave(batch, {"call"}, now=1.0)

    assert [row.call_id for row in left.calls] == ["other"]
    assert {entry.call_id for entry in left.entries} == {"other"}
    assert {row.call_id for row in left.legs} == {"other"}
    assert (left.write_seq, left.next_offset) == (batch.write_seq, 0)
    actions = partition.take_actions()
    assert [type(action) for key, action in actions if key == KEY][-1] is AbandonSession
    assert partition.live_legs == 1
    assert partition.take_batch() is None  # nothing of the call is left to write
    assert partition.owed_from == 0
    assert partition.owes("call", feed_from)
    assert not partition.owes("other", 11)

    partition.settle_owed(before=5)
    assert partition.next_offset == 5
    partition.settle_owed(before=partition.position)
    assert partition.owed_from is None
    assert partition.next_offset == partition.position


def test_no_more_strays_are_remembered_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qa_service.domain.partition.MOST_STRAYS", 2)
    partition = a_partition()
    for number in range(4):
        partition.adopt(a_stored_call(f"call-{number}", partition=5))

    assert [number for number in range(4) if partition.is_stray(f"call-{number}")] == [2, 3]


def test_what_a_call_scored_stands_in_the_batch_that_ends_it() -> None:
    score = CallScore(
        call_id="call",
        scorecard_hash="hash",
        scorecard_id="card",
        scorecard_version=1,
        score=100.0,
        auto_failed=False,
        answered=1,
        left_out=0,
        answers=(),
    )

    class Graded(NoRules):
        def score(self) -> CallScore:
            return score

    partition = a_partition(rules=Graded)
    feed(partition, start())
    started = partition.take_batch()
    feed(partition, CallEnd(ORIGIN_TS))
    ended = partition.take_batch()

    assert started is not None
    assert started.scores == ()
    assert ended is not None
    assert isinstance(ended.entries[-1].body, CallEnded)
    assert ended.scores == (score,)


_STEPS = (
    "ahead",
    "back",
    "pause",
    "resume",
    "stop",
    "recode",
    "opened",
    "heard",
    "finished",
    "lost",
    "give up",
    "keep",
    "tick",
)


@settings(max_examples=200)
@given(
    codec=st.sampled_from(["pcmu", "pcma", "pcm_s16le"]),
    order=st.lists(st.sampled_from([*["on"] * 3 * len(_STEPS), *_STEPS]), min_size=20, max_size=80),
)
@example("pcmu", ["on", "on", "ahead", "back", "on", "on", "on", "on", "pause"])
@example("pcmu", ["on", "on", "give up", "on", "keep", "on", "pause"])
@example("pcmu", [*["on"] * 5, "lost", "on", "on", "tick", "tick", "tick", "pause"])
@example("pcmu", [*["on"] * 5, "stop", "recode", "on", "finished", "tick"])
@example("pcmu", ["on", "on", "recode", "on", "pause"])
def test_the_short_way_of_a_frame_comes_to_the_same_as_the_long_one(codec: Codec, order: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Call, "take_next", lambda *_, **__: None)
        *the_long_way, next_offset = _play(codec, order)

    *the_short_way, earlier_offset = _play(codec, order)

    assert the_short_way == the_long_way
    assert earlier_offset <= next_offset  # frames are put together, and count as read with their first


class _Journey:
    """A leg's frames on their way through a partition, whatever happens meanwhile."""

    def __init__(self, codec: Codec) -> None:
        self.partition = a_partition()
        self.outcomes: list[str] = []
        self.sent: dict[int, bytes] = {}
        """To each session."""
        self.others: list[object] = []
        """Actions other than appends."""
        self._codec: Codec = codec
        self._index = -1
        self._now = 0.0
        self._feed(LegStart("customer", ORIGIN_TS, codec, RATE, LegInfo(role="customer")))

    def take(self, step: str) -> None:
        self._now += 1.0
        if step in {"on", "ahead", "back"}:
            self._send_frame({"on": 1, "ahead": 3, "back": -2}[step])
        elif step in {"opened", "heard", "finished", "lost"}:
            if self.sent:
                self._hear(step, max(self.sent))
        else:
            self._steer(step)
        for _, action in self.partition.take_actions():
            if isinstance(action, Append):
                self.sent[action.number] = self.sent.get(action.number, b"") + action.pcm
            else:
                self.others.append(action)

    def _send_frame(self, step: int) -> None:
        index = self._index = max(self._index + step, 0)
        audio = bytes([index]) * FRAME * bytes_per_sample(self._codec)
        self._feed(AudioFrame("customer", index * FRAME, index, ORIGIN_TS + 20 * index, audio, self._codec))

    def _hear(self, step: str, session: int) -> None:
        if step == "lost":
            self.partition.session_lost(KEY, session, now=self._now)
            return
        heard_ms = len(self.sent[session]) // 2 * 1000 // RATE * 2 // 3
        events = {
            "opened": session_updated(extensions=True),
            "heard": Progress(heard_ms),
            "finished": SessionFinished(),
        }
        self.partition.receive(KEY, session, events[step], now=self._now, at_ms=0)

    def _steer(self, step: str) -> None:
        match step:
            case "pause":
                self._feed(LegPause("customer", ORIGIN_TS))
            case "resume":
                self._feed(LegResume("customer", ORIGIN_TS))
            case "stop":
                self._feed(LegStop("customer", ORIGIN_TS))
            case "recode":
                self._codec = "pcma" if self._codec == "pcmu" else "pcmu"
                info = LegInfo(role="customer")
                self._feed(LegStart("customer", ORIGIN_TS, self._codec, RATE, info))
            case "tick":
                self.partition.tick(now=self._now, read_until=self._now)
            case _:
                self.partition.give_up_audio(on=step == "give up", now=self._now)

    def _feed(self, record: object) -> None:
        self.outcomes += feed(self.partition, record)


def _play(codec: Codec, order: list[str]) -> tuple[object, ...]:
    """What becomes of it all, with the record to go on with at the end."""
    journey = _Journey(codec)
    for step in order:
        journey.take(step)
    batch = journey.partition.take_batch()
    assert batch is not None
    legs = [msgspec.structs.replace(leg, covered_seq=None) for leg in batch.legs]
    decided = journey.outcomes, journey.sent, journey.others
    return *decided, batch.calls, legs, batch.entries, batch.next_offset
