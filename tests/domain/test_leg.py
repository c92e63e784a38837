from __future__ import annotations

from collections import deque
from itertools import pairwise
from math import inf

import pytest

from qa_service.domain.actions import AbandonSession, Append, FinishSession, HeardPartial, OpenSession, Output
from qa_service.domain.arrival import Arrival
from qa_service.domain.coverage import ReleasedEnd, ReleasedGap, ReleasedQuiet, ReleasedUtterance
from qa_service.domain.leg import NO_FRAME_YET, Leg, LegLimits
from qa_service.domain.patience import RETRY_MAX_S
from qa_service.protocol.events import (
    Completed,
    ErrorEvent,
    Failed,
    ServerEvent,
    SessionFinished,
    SpeechStarted,
    SpeechStopped,
)
from tests.domain.builders import FRAME, RATE, arrival, hush, word
from tests.domain.model_recogniser import ModelRecogniser


class Line:
    """A leg on a line: frames of 20 ms go in, and a recogniser answers, or does not."""

    def __init__(
        self, *, extensions: bool = True, limits: LegLimits | None = None, answers: bool = True
    ) -> None:
        self.leg = Leg(codec="pcm_s16le", rate=RATE, limits=limits)
        self.now = 0.0
        self.index = 0
        self.seq = 0
        self.answers = answers
        self.outputs: list[Output] = []
        self._extensions = extensions
        self._sessions: dict[int, ModelRecogniser] = {}

    def send(self, *words: int | None) -> None:
        """Send frames in real time; None is one without a word."""
        for number in words:
            audio = hush() if number is None else word(number)
            frame = Arrival(self.index * FRAME, FRAME, self.seq, self.seq, "pcm_s16le", audio)
            self.index += 1
            self.seq += 1
            self.now += 0.02
            self.leg.accept(frame, now=self.now)
            self.react()
            if self.index % 10 == 0:
                self.tick()

    def hush(self, seconds: float) -> None:
        self.send(*[None] * int(seconds * 50))

    def skip(self, seconds: float, *, lost: bool = False) -> None:
        frames = int(seconds * 50)
        self.index += frames
        self.seq += frames if lost else 0
        self.now += seconds

    def wait(self, seconds: float, *, caught_up: bool = True) -> None:
        """Let time pass without frames."""
        for _ in range(int(seconds * 5)):
            self.now += 0.2
            self.tick(caught_up=caught_up)

    def tick(self, *, caught_up: bool = True) -> None:
        self.leg.tick(now=self.now, read_until=self.now if caught_up else -inf)
        self.react()

    def end(self) -> None:
        self.leg.end("stop", now=self.now)
        self.react()

    def tell(self, *events: ServerEvent, number: int | None = None) -> None:
        for event in events:
            self.leg.receive(number or self.session, event, now=self.now, at_ms=0)
            self.react()

    def lose(self) -> None:
        self.leg.session_lost(self.session, now=self.now)
        self.react()

    def react(self) -> None:
        queue = deque(self.leg.take_outputs())
        while queue:
            output = queue.popleft()
            self.outputs.append(output)
            for event in self._answer(output):
                self.leg.receive(output.number, event, now=self.now, at_ms=0)  # type: ignore[union-attr]
            queue += self.leg.take_outputs()

    def _answer(self, output: Output) -> list[ServerEvent]:
        match output:
            case OpenSession(number=number):
                self._sessions[number] = ModelRecogniser(extensions=self._extensions)
                return self._sessions[number].open()
            case Append(number=number, pcm=pcm):
                events = self._sessions[number].append(pcm)
            case FinishSession(number=number):
                events = self._sessions[number].finish()
            case _:
                return []
        return events if self.answers else []

    @property
    def session(self) -> int:
        return max(self._sessions)

    def of(self, *kinds: type) -> list:
        return [output for output in self.outputs if isinstance(output, kinds)]

    @property
    def texts(self) -> list[str]:
        return [each.result.transcript for each in self.of(ReleasedUtterance)]

    @property
    def gaps(self) -> list[tuple[str, float, float]]:
        """Reason, start and end in seconds."""
        return [(gap.reason, gap.start / RATE, gap.end / RATE) for gap in self.of(ReleasedGap)]

    @property
    def sent_samples(self) -> int:
        return sum(len(append.pcm) // 2 for append in self.of(Append))


def test_audio_goes_out_in_appends_of_a_tenth_of_a_second() -> None:
    line = Line()

    line.hush(1)

    assert [type(output) for output in line.outputs[:2]] == [OpenSession, Append]
    assert {len(append.pcm) for append in line.of(Append)} == {1600}


def test_an_utterance_is_released_at_its_place() -> None:
    line = Line()
    line.hush(2)
    line.send(1, 2, 3)
    line.hush(2)

    [utterance] = line.of(ReleasedUtterance)

    assert (utterance.start, utterance.end) == (2 * RATE, 2 * RATE + 3 * FRAME)
    assert line.of(HeardPartial)


@pytest.mark.parametrize(("extensions", "source"), [(True, "progress"), (False, "gate")])
def test_quiet_is_released_in_steps_that_say_how_they_are_known(*, extensions: bool, source: str) -> None:
    line = Line(extensions=extensions)

    line.hush(10)

    quiet = line.of(ReleasedQuiet)
    assert {step.time_source for step in quiet} == {source}
    assert len(quiet) >= 6
    assert line.leg.covered_until >= 7 * RATE


def test_a_short_hole_is_filled_with_silence_and_no_gap() -> None:
    line = Line()
    line.hush(1)
    line.skip(0.2)
    line.hush(3)
    line.end()

    assert line.gaps == []
    assert line.sent_samples == line.index * FRAME


@pytest.mark.parametrize(("lost", "reason"), [(True, "lost"), (False, "not_sent")])
def test_a_long_hole_is_one_gap_and_little_silence(*, lost: bool, reason: str) -> None:
    line = Line()
    line.send(1)
    line.hush(1)
    line.skip(60, lost=lost)
    line.hush(3)
    line.end()

    assert line.gaps == [(reason, 1.02, 61.02)]
    assert line.sent_samples == int((1.02 + 1.3 + 3) * RATE)


def test_a_long_hold_does_not_count_as_audio_that_waits() -> None:
    line = Line(answers=False, limits=LegLimits(replay_buffer_s=10))
    line.send(1)
    line.skip(3600)
    line.hush(3)

    assert line.gaps == []


def test_a_pause_is_neither_sent_nor_kept_and_one_gap() -> None:
    line = Line()
    line.hush(1)
    line.leg.pause(now=line.now)
    line.send(*[7] * 100)
    line.leg.resume(now=line.now)
    line.hush(2)
    line.end()

    assert line.gaps == [("paused", 1.0, 3.0)]
    assert not line.of(HeardPartial)


def test_frames_held_when_a_pause_ends_belong_to_it() -> None:
    line = Line()
    line.hush(1)
    line.leg.pause(now=line.now)
    line.skip(0.3, lost=True)
    line.send(7, 7)  # held: the one before is missing
    line.leg.resume(now=line.now)
    line.hush(2)
    line.end()

    assert not line.of(HeardPartial)
    assert line.gaps[0][0] == "paused"


def test_a_leg_that_ended_in_a_pause_comes_back_paused() -> None:
    line = Line()
    line.hush(1)
    line.leg.pause(now=line.now)
    line.send(7)
    line.end()
    line.leg.reopen()
    line.send(*[7] * 20)

    assert not line.of(HeardPartial)


def test_speech_before_a_pause_is_ended_by_silence() -> None:
    line = Line()
    line.send(1)
    line.leg.pause(now=line.now)
    line.hush(3)

    assert line.texts == ["zc"]


def test_frames_that_stop_end_an_open_utterance_once() -> None:
    line = Line()
    line.send(1)
    line.wait(5)

    assert line.texts == ["zc"]
    assert line.sent_samples == FRAME + int(1.3 * RATE)
    assert line.leg.covered_until == FRAME

    line.send(2)
    line.end()

    assert line.texts == ["zc", "zd"]
    assert line.leg.covered_until == 2 * FRAME


def test_a_frame_that_was_overtaken_keeps_its_place_after_frames_had_stopped() -> None:
    line = Line()
    line.send(1)
    line.wait(0.8)
    line.index, line.seq = 3, 3
    line.send(None)  # overtakes the two before it
    line.wait(0.6)
    line.index, line.seq = 1, 1
    line.send(2, None)
    line.index, line.seq = 4, 4
    line.end()

    assert line.texts == ["zc zd"]


def test_a_successor_waits_for_a_first_frame_that_was_overtaken_after_a_silence_that_is_covered() -> None:
    line = Line()
    line.skip(2)
    line.send(*[None] * 10)
    predecessor = line.leg
    assert (predecessor.covered_until, predecessor.covered_seq) == (2 * RATE, NO_FRAME_YET)

    successor = Leg(
        codec="pcm_s16le",
        rate=RATE,
        covered_until=predecessor.covered_until,
        covered_seq=predecessor.covered_seq,
    )
    first = 2 * RATE
    successor.accept(Arrival(first + FRAME, FRAME, 1, 1, "pcm_s16le", hush()), now=100.0)
    assert successor.received_until == first
    successor.accept(Arrival(first, FRAME, 0, 2, "pcm_s16le", word(1)), now=100.1)
    assert successor.received_until == first + 2 * FRAME


def test_no_silence_is_fed_while_records_wait_to_be_read() -> None:
    line = Line()
    line.send(1, *[None] * 9)
    line.wait(5, caught_up=False)

    assert line.texts == []


def test_a_lost_session_is_replayed_after_a_while() -> None:
    line = Line()
    line.hush(3)
    line.send(1, 2)
    line.lose()
    line.send(3)
    line.hush(3)

    assert line.texts == ["zc zd zf"]
    assert line.session == 2
    assert [type(output) for output in line.outputs].count(AbandonSession) == 0


def test_waits_between_lost_sessions_grow() -> None:
    line = Line(answers=False)
    line.send(*[1] * 10)
    waits = []
    for _ in range(9):
        line.lose()
        sessions, since = line.session, line.now
        while line.session == sessions:
            line.wait(0.2)
        waits.append(round(line.now - since))

    assert waits[-1] == RETRY_MAX_S
    assert waits == sorted(waits)


def test_a_fatal_error_is_a_loss_and_a_survivable_one_is_not() -> None:
    line = Line()
    line.send(*[1] * 10)

    line.tell(ErrorEvent("invalid_request_error"))
    assert line.of(AbandonSession) == []

    line.tell(ErrorEvent("server_error", "internal_error"))
    assert line.of(AbandonSession) == [AbandonSession(1, "server error: internal_error")]


def test_results_of_an_older_session_are_void() -> None:
    line = Line()
    line.send(*[1] * 10)
    line.lose()
    line.wait(1)

    line.tell(Completed("item_9", "old"), number=1)

    assert line.texts == []


def test_a_missing_final_is_tried_three_times_and_then_a_gap() -> None:
    line = Line(answers=False)
    line.send(*[None] * 50, *[1] * 50)
    for _ in range(3):
        line.tell(SpeechStarted("a", 1000), SpeechStopped("a", 2000))
        line.wait(31)

    assert [abandon.reason for abandon in line.of(AbandonSession)] == ["a final result is missing"] * 3
    assert line.gaps == [("recogniser_failed", 1.3, 2.0)]


def test_a_later_final_makes_an_earlier_one_overdue() -> None:
    line = Line(answers=False)
    line.send(*[1] * 200)
    line.tell(SpeechStarted("a", 500), SpeechStopped("a", 1500))
    line.tell(SpeechStarted("b", 2000), SpeechStopped("b", 3000))
    line.wait(10)
    line.tell(Completed("b", "later"))
    line.wait(1.8)
    assert line.of(AbandonSession) == []

    line.wait(0.6)

    assert line.session == 2
    assert line.texts == []


def test_losses_do_not_use_up_the_attempts_of_a_stretch() -> None:
    line = Line(answers=False)
    line.send(*[1] * 50)
    for _ in range(6):
        line.lose()
        line.wait(40)
    line.tell(SpeechStarted("a", 0), SpeechStopped("a", 500))
    line.wait(31)

    assert line.gaps == []


def test_a_failed_item_is_a_gap_and_the_session_goes_on() -> None:
    line = Line(answers=False)
    line.send(*[1] * 100)

    line.tell(SpeechStarted("a", 500), SpeechStopped("a", 1600), Failed("a"))

    assert line.gaps == [("recogniser_failed", 0.8, 1.6)]
    assert line.session == 1


def test_a_mute_recogniser_is_replaced_and_then_a_gap() -> None:
    line = Line(extensions=False, answers=False)
    line.hush(2)
    for _ in range(60):
        line.send(*[1] * 25, *[None] * 25)

    assert [abandon.reason for abandon in line.of(AbandonSession)][:3] == [
        "there is speech and no answer"
    ] * 3
    assert line.of(ReleasedGap)[0].reason == "recogniser_mute"
    times = [i for i, output in enumerate(line.outputs) if isinstance(output, AbandonSession)]
    assert min(b - a for a, b in pairwise(times)) > 50  # each session had its time


def test_fast_reading_does_not_make_a_recogniser_mute() -> None:
    line = Line(extensions=False, answers=False)
    for index in range(2000):
        line.leg.accept(arrival(index, word(index % 2)), now=0.001 * index)
        line.leg.tick(now=0.001 * index, read_until=-inf)
        line.react()

    assert line.of(AbandonSession) == []


def test_an_endless_utterance_is_finished_and_goes_on_in_another_session() -> None:
    line = Line(extensions=False)
    for number in range(2000):
        line.send(number, number)
    line.end()

    words = " ".join(line.texts).split()
    assert len(line.texts) == 2
    assert len(words) in (2000, 2001)  # the word at the cut may be heard by both
    assert line.of(AbandonSession) == []


def test_more_audio_than_the_buffer_holds_becomes_a_gap() -> None:
    line = Line(answers=False, limits=LegLimits(replay_buffer_s=10))
    line.send(*[1] * 400)
    assert line.leg.is_far_behind
    line.send(*[1] * 400)

    assert line.gaps[0][0] == "buffer_overflow"
    assert line.leg.first_uncovered_offset == line.gaps[-1][2] * 50


def test_the_end_comes_after_the_last_results() -> None:
    line = Line()
    line.send(1, None, 2)
    line.end()

    assert line.texts == ["zc zd"]
    assert line.outputs[-1] == ReleasedEnd("stop")
    assert line.leg.first_uncovered_offset is None
    assert line.leg.covered_until == line.leg.received_until


def test_a_leg_without_audio_ends_at_once() -> None:
    line = Line()
    line.end()

    assert line.outputs == [ReleasedEnd("stop")]


def test_a_session_that_dies_while_it_finishes_is_replayed_and_finished_again() -> None:
    line = Line(answers=False)
    line.send(1)
    line.end()
    line.answers = True
    line.lose()
    line.wait(2)

    assert line.texts == ["zc"]
    assert line.outputs[-1] == ReleasedEnd("stop")


def test_a_session_that_finishes_without_a_final_is_replayed() -> None:
    line = Line(answers=False)
    line.send(*[1] * 10)
    line.tell(SpeechStarted("a", 0))
    line.end()
    line.answers = True
    line.tell(SessionFinished())
    line.wait(1)

    assert line.texts == ["zc"]


def test_a_finish_that_is_never_answered_ends_as_a_gap() -> None:
    line = Line(answers=False)
    line.send(*[1] * 10)
    line.end()
    line.wait(120)

    assert line.gaps == [("recogniser_failed", 0.0, 0.2)]
    assert line.outputs[-1] == ReleasedEnd("stop")


def test_audio_after_the_end_was_announced_goes_to_the_next_session() -> None:
    line = Line(answers=False)
    line.send(*[1] * 5)
    line.end()
    line.leg.reopen()
    line.send(*[2] * 10)
    line.answers = True
    line.tell(SpeechStarted("a", 0), Completed("a", "before"), SessionFinished())
    line.end()

    assert line.texts == ["before", "zd"]
    assert len(line.of(ReleasedEnd)) == 1


def test_a_record_that_overtook_another_is_not_passed_before_both_are_covered() -> None:
    line = Line(answers=False)
    line.leg.accept(arrival(0), now=0.0)
    line.leg.accept(arrival(2, offset=1), now=0.0)
    assert line.leg.first_uncovered_offset == 0
    line.leg.accept(arrival(1, offset=2), now=0.0)
    line.leg._coverage.release_quiet(FRAME, "progress")

    assert line.leg.first_uncovered_offset == 1


def test_a_codec_may_change_in_mid_leg() -> None:
    line = Line()
    line.leg.accept(Arrival(0, 400, 0, 0, "pcm_s16le", word(1, 400)), now=0.0)
    line.leg.accept(Arrival(400, 400, 1, 1, "pcmu", b"\xff" * 400), now=0.0)
    line.react()

    [append] = line.of(Append)
    assert append.pcm == word(1, 400) + bytes(800)


def test_a_hole_where_records_were_deleted_unread_is_a_gap_of_that_reason() -> None:
    line = Line()
    line.send(1)
    line.hush(2)
    line.leg.note_deleted_records()
    line.skip(5, lost=True)
    line.hush(1)
    line.skip(2, lost=True)
    line.hush(1)

    assert [reason for reason, _, _ in line.gaps] == ["offset_lost", "lost"]


def test_a_leg_that_does_not_come_again_after_records_were_deleted_says_that_something_is_missing() -> None:
    line = Line()
    line.hush(2)
    line.leg.note_deleted_records()
    line.leg.end("idle", now=line.now)
    line.react()

    assert line.gaps == [("offset_lost", 2.0, 2.0)]
    assert line.of(ReleasedEnd)[-1].reason == "idle"
