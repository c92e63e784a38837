"""A leg: from frames to appends, from results to released entries, strictly in order.

Positions (samples since the leg began) are its only clock; ``now`` is monotonic time and used for time-outs
of I/O alone. Three things are decided here:

- what is sent to the recogniser, and when a session begins, ends or is given up;
- when results and quiet are certain enough to be released (in :mod:`.coverage`, which keeps the order);
- which record is the first that a successor would have to read again (:attr:`Leg.first_uncovered_offset`).

A session ends in one of two ways. It is *finished*: it takes no more audio, gives its last results, and what
came meanwhile goes to the next one. Or it is lost, by itself or since it was given up: what it has not
released is discarded, and that audio is replayed into the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec import Struct

from qa_service.audio.pcm import silence, to_pcm
from qa_service.contract.codecs import Codec
from qa_service.domain.arrival import Arrival, FrameOrder, Hole, Piece, Refusal
from qa_service.domain.coverage import Coverage, EndReason, Release, ReleasedEnd
from qa_service.domain.entries import GapReason, TimeSource
from qa_service.domain.hearing import MUTE_AFTER_S, MUTE_SPEECH_MS, Hearing
from qa_service.domain.packets import PacketDecoder
from qa_service.domain.recognition import Item, Recognition
from qa_service.domain.timeline import SessionTimeline
from qa_service.protocol.events import Completed, ErrorEvent, Failed, Partial, ServerEvent, SessionFinished

PREFIX_PADDING_MS: Final = 300
"""Audio before an onset that a recogniser is asked to add to an item (the SDKs' value, protocol 3.1)."""
BATCH_MS: Final = 100
"""Audio per append: the chunk that the vendor's samples send (protocol section 3.2)."""
REPLAY_CHUNK_MS: Final = 1000
"""Audio per append when a session is fed what another one lost."""
SILENCE_MARGIN_MS: Final = 500
"""Silence fed beyond what ends an utterance, so that it surely ends (design, 3.1)."""
QUIET_STEP_MS: Final = 1000
"""Coverage advances through quiet in steps of at least this much: one row a second of silence."""
STALL_S: Final = 1.0
"""Frames stopped for so long: an open utterance is ended by silence."""
OVERDUE_S: Final = 2.0
"""A later item's final makes an earlier one overdue after this (design, 3.1)."""
FINISH_TIMEOUT_S: Final = 30.0
"""Wait for ``session.finished`` or any sign of it; vendors' clients give up after 20 s (protocol 6.4)."""
LONG_UTTERANCE_S: Final = 60
"""An utterance that goes on for so long is ended at the next quiet point (design, 3.1) ..."""
LONGEST_UTTERANCE_S: Final = 75
"""... and past this anywhere. Our own server does it at 60 s, and is not to be disturbed."""
MAX_ATTEMPTS: Final = 3
"""Sessions that may fail on the same stretch before it becomes a gap."""
RETRY_BASE_S: Final = 0.5
RETRY_MAX_S: Final = 30.0
"""Exponential back-off between sessions of one leg that are lost."""
KEEP_OF_BUFFER: Final = 0.9
"""Share of the buffer that is kept when it overflows: one gap of some length rather than many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegLimits:
    """Time-outs and bounds that a deployment may set."""

    silence_ms: int = 800
    """Silence that ends an utterance at the recogniser."""
    final_timeout_s: float = 30.0
    replay_buffer_s: float = 120.0


class OpenSession(Struct, frozen=True):
    """Open a recogniser session for the leg."""

    number: int


class Append(Struct, frozen=True):
    """Send audio (16-bit PCM at the leg's rate) to the session."""

    number: int
    pcm: bytes


class FinishSession(Struct, frozen=True):
    """Tell the session that no more audio comes; its last results follow."""

    number: int


class AbandonSession(Struct, frozen=True):
    """Drop the session without waiting; whatever it still says is void."""

    number: int
    reason: str


Action: TypeAlias = OpenSession | Append | FinishSession | AbandonSession


class HeardPartial(Struct, frozen=True, kw_only=True):
    """An intermediate result; best effort, never part of the log."""

    start: int
    event: Partial


Output: TypeAlias = Action | Release | HeardPartial


@dataclass(slots=True)
class _Tries:
    """How often something failed while coverage stood at one position."""

    position: int = -1
    count: int = 0

    def note(self, position: int) -> int:
        """Count one more."""
        self.count = self.count + 1 if position == self.position else 1
        self.position = position
        return self.count


class Leg:
    """The state machine of one leg; collect what it decided with :meth:`take_outputs` after each call."""

    def __init__(
        self,
        *,
        codec: Codec,
        rate: int,
        covered_until: int = 0,
        covered_seq: int | None = None,
        paused: bool = False,
        ended: bool = False,
        limits: LegLimits | None = None,
    ) -> None:
        self.codec: Codec = codec
        self.rate = rate
        self.ended = ended
        self.paused = paused
        self.recognition: Recognition | None = None
        """The session that lives, or is waited for."""
        self._limits = limits or LegLimits()
        self._outputs: list[Output] = []
        # Frames are numbered from 0 on, so a first frame that was overtaken is waited for as any other.
        next_seq = covered_seq + 1 if covered_seq is not None else None if covered_until else 0
        self._order = FrameOrder(next_pos=covered_until, next_seq=next_seq)
        self._coverage = Coverage(
            rate, until=covered_until, newest_seq=covered_seq, emit=self._outputs.append
        )
        self._hearing = Hearing(rate)
        self._packets = PacketDecoder(rate)
        self._batch: list[Arrival] = []
        """What was kept and not yet sent; short of :data:`BATCH_MS`."""
        self._batch_samples = 0
        self._batch_size = self._samples(BATCH_MS)
        self._buffer_size = int(self._limits.replay_buffer_s * rate)
        self._sent_until = covered_until
        """Position up to which the session was fed."""
        self._session_count = 0
        self._losses = _Tries()
        self._failures = _Tries()
        self._retry_at: float | None = None
        """When to open the next session, if not as soon as there is audio."""
        self._ending: EndReason | None = None
        """The end that was announced, until it is released."""
        self._kept_at: float | None = None
        """When audio was last kept, rather than left out by a pause (monotonic seconds)."""
        self._stall_fed = 0
        """Samples of silence fed since frames stopped."""
        self._pause = Hole(covered_until, 0, "paused") if paused else None
        """The pause that goes on, or has just ended, as far as it is known."""

    # --- what comes in ----------------------------------------------------------------------------

    def begin_at(self, position: int) -> None:
        """Let the leg begin at a position other than zero: nothing is claimed about what was before."""
        self._coverage.until = self._sent_until = position
        self._order = FrameOrder(next_pos=position, next_seq=None)
        self._pause = Hole(position, 0, "paused") if self.paused else None

    def refusal(self, frame: Arrival) -> Refusal | None:
        """Say why a frame brings nothing new; None if it does."""
        return self._order.refusal(frame)

    def accept(self, frame: Arrival, *, now: float) -> None:
        """Take a frame that was not refused."""
        for piece in self._order.accept(frame):
            self._take(piece, now=now)

    def pause(self, *, now: float) -> None:
        """Neither send nor keep audio from here on."""
        if not self.paused:
            self._flush(now=now)
            self.paused = True
            self._pause = self._pause or Hole(self.received_until, 0, "paused")

    def resume(self, *, now: float) -> None:
        """Go on with audio."""
        for piece in self._order.flush():  # still part of the pause, whatever it waits for
            self._take(piece, now=now)
        self.paused = False

    def end(self, reason: EndReason, *, now: float) -> None:
        """No more audio is expected: have the rest recognised, then release the end."""
        if self.ended or self._ending is not None:
            return
        self._flush(now=now)
        self._close_pause(now=now)
        self._ending = reason
        if self.recognition is not None:
            self.finish_session(now=now)
        elif self._retry_at is None:
            self._go_on(now=now)

    def reopen(self) -> None:
        """Go on after the end, or after it was announced."""
        self._ending = None
        self.ended = False

    def receive(self, number: int, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take an event of session ``number``; ``at_ms`` is Unix time and only stored."""
        recognition = self.recognition
        if recognition is None or recognition.number != number:
            return
        match event:
            case SessionFinished():
                self._complete(recognition, now=now)
            case ErrorEvent() if not event.survivable:
                self._outputs.append(AbandonSession(number, f"server error: {event.code}"))
                self.session_lost(number, now=now)
            case _:
                recognition.note(event, now=now, at_ms=at_ms)
                if isinstance(event, Partial) and event.item_id in recognition.items:
                    start = recognition.items[event.item_id].start
                    self._outputs.append(HeardPartial(start=start, event=event))
                self._release(recognition)

    def session_lost(self, number: int, *, now: float) -> None:
        """The session is gone: its audio is replayed into another, after a while."""
        if self.recognition is not None and self.recognition.number == number:
            losses = self._losses.note(self.covered_until)
            self._drop_session(retry_at=now + min(RETRY_BASE_S * 2 ** min(losses - 1, 16), RETRY_MAX_S))
            if not self._coverage.retained.samples:
                self._go_on(now=now)

    def replace_session(self, reason: str, *, now: float) -> None:
        """Give the session up on our own account and replay its audio at once."""
        if self.recognition is not None:
            self._outputs.append(AbandonSession(self.recognition.number, reason))
            self._drop_session(retry_at=now)

    def finish_session(self, *, now: float) -> None:
        """Take the session's last results; what comes from here on goes to the next one."""
        if self._batch:
            self._send_batch(now=now)
        if self.recognition is not None and not self.recognition.is_finishing:
            self.recognition.finish_sent_at = now
            self._outputs.append(FinishSession(self.recognition.number))

    def tick(self, *, now: float, caught_up: bool) -> None:
        """Let time-outs of I/O act; ``caught_up``: no record of this partition waits to be read."""
        recognition = self.recognition
        if recognition is None:
            self._tick_without_session(now=now, caught_up=caught_up)
        elif recognition.finish_sent_at is not None:
            if now - max(recognition.finish_sent_at, recognition.heard_at) > FINISH_TIMEOUT_S:
                self._fail_session("session.finished is missing", "recogniser_failed", now=now)
        elif self._result_is_overdue(recognition, now=now):
            self._fail_session("a final result is missing", "recogniser_failed", now=now)
        elif self._is_mute(recognition, now=now):
            self._fail_session("there is speech and no answer", "recogniser_mute", now=now)
        elif self._is_endless(recognition, now=now):
            self.finish_session(now=now)
        else:
            self._hearing.settle(self._sent_until, now=now)
            self._release_quiet(recognition)
            if self._is_stalled(now=now, caught_up=caught_up):
                self._bridge_stall(now=now)

    def _tick_without_session(self, *, now: float, caught_up: bool) -> None:
        if self._retry_at is None:
            if self._is_stalled(now=now, caught_up=caught_up):
                self._flush(now=now)
        elif now >= self._retry_at:
            self._go_on(now=now)

    # --- what goes out ----------------------------------------------------------------------------

    def take_outputs(self) -> list[Output]:
        """Return what was decided since the last call, in order."""
        outputs = self._outputs.copy()
        self._outputs.clear()
        return outputs

    @property
    def has_outputs(self) -> bool:
        """Whether anything was decided since outputs were last taken."""
        return bool(self._outputs)

    @property
    def covered_until(self) -> int:
        """Position up to which everything is released."""
        return self._coverage.until

    @property
    def covered_seq(self) -> int | None:
        """Frame number of the newest frame that is covered."""
        return self._coverage.newest_seq

    @property
    def received_until(self) -> int:
        """Position after the newest audio that was put in order."""
        return self._order.next_pos

    @property
    def pause_is_released(self) -> bool:
        """Whether nothing is left to tell of any pause: none goes on, and every gap is covered."""
        return self._pause is None and not any(
            hole.reason == "paused" for hole in self._coverage.retained.holes_before(self.received_until)
        )

    @property
    def has_uncovered_audio(self) -> bool:
        """Whether audio was received whose words are not released yet."""
        return self.first_uncovered_offset is not None

    @property
    def first_uncovered_offset(self) -> int | None:
        """First record a successor would have to read again; None if everything received is covered."""
        held, kept = self._order.oldest_held_offset, self._coverage.retained.first_offset
        if held is None or kept is None:
            return held if kept is None else kept
        return min(held, kept)

    @property
    def is_far_behind(self) -> bool:
        """Whether so much audio waits for its results that reading on would soon overflow the buffer.

        Three quarters, so that the longest utterance a recogniser may take fits below it.
        """
        return self._coverage.retained.samples > self._buffer_size * 3 // 4

    @property
    def awaits_result(self) -> bool:
        """Whether the recogniser owes a final for speech that has ended."""
        return self.recognition is not None and self.recognition.awaits_result

    @property
    def is_ending(self) -> bool:
        """Whether the end was announced and results are still awaited."""
        return self._ending is not None

    # --- keeping and sending ----------------------------------------------------------------------

    def _samples(self, ms: int) -> int:
        return ms * self.rate // 1000

    def _take(self, piece: Piece, *, now: float) -> None:
        """Keep a piece, or leave it out if it belongs to a pause."""
        if self._pause is None:
            self._keep(piece, now=now)
        elif self.paused or isinstance(piece, Hole):  # what is missing right after a pause belongs to it
            self._pause = Hole(self._pause.pos, piece.end - self._pause.pos, "paused")
        else:
            self._close_pause(now=now)
            self._keep(piece, now=now)

    def _keep(self, piece: Piece, *, now: float) -> None:
        if isinstance(piece, Hole):
            self._keep_hole(piece, now=now)
            return
        self._kept_at = now
        if piece.codec == "opus":
            piece = self._packets.decode(piece)
        self._coverage.retained.push(piece)
        self._batch.append(piece)
        self._batch_samples += piece.samples
        if self._batch_samples >= self._batch_size:
            self._send_batch(now=now)

    def _keep_hole(self, hole: Hole, *, now: float) -> None:
        if self._batch:
            self._send_batch(now=now)
        self._coverage.retained.push(hole)
        if self._is_fed:
            self._feed_hole(hole)
        elif self.recognition is None and self._retry_at is None:
            self._cover_unheard(hole.end)  # nothing is being recognised, so nothing is waited for

    def _close_pause(self, *, now: float) -> None:
        pause = self._pause
        if pause is not None:
            self._pause = Hole(pause.end, 0, "paused") if self.paused else None
            if pause.samples:
                self._keep(pause, now=now)

    def _flush(self, *, now: float) -> None:
        """Pass on everything that waits: frames held for their predecessors, and a batch not yet full."""
        for piece in self._order.flush():
            self._take(piece, now=now)
        if self._batch:
            self._send_batch(now=now)

    @property
    def _is_fed(self) -> bool:
        """Whether there is a session that takes audio."""
        return self.recognition is not None and not self.recognition.is_finishing

    def _send_batch(self, *, now: float) -> None:
        """Send what was gathered, opening a session if there is none and none is waited for."""
        batch, self._batch, self._batch_samples = self._batch, [], 0
        if self._is_fed:
            self._send(batch, now=now)
        elif self.recognition is None and self._retry_at is None:
            self._replay(now=now)
        self._bound_retention(now=now)

    def _send(self, batch: list[Arrival], *, now: float) -> None:
        recognition = self.recognition
        if recognition is None:
            return
        pcm = _decode(batch)
        start, end = batch[0].pos, batch[-1].end
        recognition.timeline.append(start, end - start)
        self._sent_until = end
        self._stall_fed = 0
        self._outputs.append(Append(recognition.number, pcm))
        recognition.note_sent(end - start, now=now)
        if not recognition.honours_extensions:
            self._hearing.listen(start, pcm, now=now)

    def _feed_hole(self, hole: Hole) -> None:
        """Send silence for a hole: all of a short one, enough to end an utterance for a long one."""
        samples = max(min(hole.samples, self._ending_silence - self._stall_fed), 0)
        if samples:
            self._feed_silence(hole.pos, samples, stands_for=hole.samples)
        self._stall_fed = 0
        self._sent_until = hole.end

    def _feed_silence(self, position: int, samples: int, *, stands_for: int) -> None:
        if self.recognition is not None:
            self.recognition.timeline.append(position, samples, stands_for=stands_for)
            self._outputs.append(Append(self.recognition.number, silence(samples)))

    @property
    def _ending_silence(self) -> int:
        """Samples of silence that surely end an utterance."""
        return self._samples(self._limits.silence_ms + SILENCE_MARGIN_MS)

    def _is_stalled(self, *, now: float, caught_up: bool) -> bool:
        """Whether no audio has been kept for a while, and not because it waits to be read."""
        return (self.paused or caught_up) and self._kept_at is not None and now - self._kept_at > STALL_S

    def _bridge_stall(self, *, now: float) -> None:
        """Frames stopped without a word: send what waits, and end an open utterance by silence."""
        self._flush(now=now)
        recognition = self.recognition
        if recognition is not None and recognition.has_open_item and self._is_fed and not self._stall_fed:
            self._feed_silence(self._sent_until, self._ending_silence, stands_for=0)
            self._stall_fed = self._ending_silence

    # --- sessions ---------------------------------------------------------------------------------

    def _go_on(self, *, now: float) -> None:
        """There is no session: open one if there is something to recognise, else be done with it."""
        self._retry_at = None
        if self._coverage.retained.samples:
            self._replay(now=now)
            return
        self._cover_unheard(self.received_until)
        if self._ending is not None:
            self.ended = True
            self._outputs.append(ReleasedEnd(self._ending))
            self._ending = None

    def _cover_unheard(self, position: int) -> None:
        """Cover what no session has to hear, since there is no audio in it."""
        self._sent_until = position
        self._coverage.release_quiet(position, "positions")

    def _replay(self, *, now: float) -> None:
        """Open a session and feed it all that is kept and not covered."""
        self._session_count += 1
        self.recognition = Recognition(
            self._session_count,
            SessionTimeline(self.rate),
            silence_ms=self._limits.silence_ms,
            padding_ms=PREFIX_PADDING_MS,
            floor=self.covered_until,
            heard_at=now,
        )
        self._outputs.append(OpenSession(self._session_count))
        self._batch, self._batch_samples = [], 0
        self._stall_fed = 0
        self._hearing.restart(self.covered_until, now=now)
        for chunk in self._coverage.uncovered(self._samples(REPLAY_CHUNK_MS)):
            if isinstance(chunk, Hole):
                self._feed_hole(chunk)
            else:
                self._send(chunk, now=now)
        if self._ending is not None:
            self.finish_session(now=now)

    def _drop_session(self, *, retry_at: float) -> None:
        self.recognition = None
        self._batch, self._batch_samples = [], 0
        self._retry_at = retry_at

    def _complete(self, recognition: Recognition, *, now: float) -> None:
        """The recogniser has said all there is about what it was sent."""
        if not recognition.is_finishing:
            self.session_lost(recognition.number, now=now)
            return
        self._release(recognition)
        if recognition.items:
            self._fail_session("session.finished came before a final", "recogniser_failed", now=now)
            return
        self._coverage.release_quiet(self._sent_until, "server")
        self.recognition = None
        self._go_on(now=now)

    # --- releasing --------------------------------------------------------------------------------

    def _release(self, recognition: Recognition) -> None:
        """Release what has become certain: results in order, then quiet."""
        while (item := recognition.take_first()) is not None:
            self._release_item(item)
        self._release_quiet(recognition)

    def _release_item(self, item: Item) -> None:
        end = item.start if item.end is None else item.end
        match item.result:
            case Completed(transcript=transcript) if transcript.strip():
                self._coverage.release_utterance(
                    item.start,
                    end,
                    item.result,
                    time_source=item.time_source,
                    final_at_ms=item.result_at_ms,
                )
            case Failed():
                self._coverage.release_quiet(item.start, item.time_source)
                self._coverage.give_up(end, "recogniser_failed")
            case _:
                self._coverage.release_quiet(end, item.time_source)
        self._hearing.forget_until(end)

    def _release_quiet(self, recognition: Recognition) -> None:
        certain, source = self._quiet_until(recognition)
        if recognition.first is not None:
            certain = min(certain, recognition.first.start)
        if certain - self.covered_until >= self._samples(QUIET_STEP_MS):
            self._coverage.release_quiet(certain, source)

    def _quiet_until(self, recognition: Recognition) -> tuple[int, TimeSource]:
        match recognition.honours_extensions:
            case True:
                return recognition.certain_until or self.covered_until, "progress"
            case False:
                return self._hearing.quiet_until(), "gate"
            case None:
                return self.covered_until, "gate"

    # --- failures ---------------------------------------------------------------------------------

    def _result_is_overdue(self, recognition: Recognition, *, now: float) -> bool:
        item = recognition.first
        if item is None:
            return False
        if recognition.overtaken_at is not None and now - recognition.overtaken_at > OVERDUE_S:
            return True
        return item.ended_at is not None and now - item.ended_at > self._limits.final_timeout_s

    def _is_mute(self, recognition: Recognition, *, now: float) -> bool:
        if recognition.items or recognition.honours_extensions is None:
            return False
        if recognition.honours_extensions:  # one that tells of its progress is never without a word for long
            return (
                recognition.unanswered >= self._samples(MUTE_SPEECH_MS)
                and now - recognition.unanswered_since > MUTE_AFTER_S
            )
        return self._hearing.misses_answer(heard_at=recognition.heard_at, now=now)

    def _is_endless(self, recognition: Recognition, *, now: float) -> bool:
        """Whether an utterance should have ended long ago, and here is the place to end it."""
        item = recognition.first
        if item is None or item.end is not None:
            return False
        # Audio that is read fast is ahead of its results, so both clocks have to agree.
        lasts_s = min((self._sent_until - item.start) / self.rate, now - item.begun_at)
        if recognition.honours_extensions or self._hearing.hears_speech:
            return lasts_s > LONGEST_UTTERANCE_S
        return lasts_s > LONG_UTTERANCE_S

    def _fail_session(self, why: str, reason: GapReason, *, now: float) -> None:
        """Replay what a session does not answer for; after some attempts let it be a gap."""
        recognition = self.recognition
        if recognition is None:
            return
        if self._failures.note(self.covered_until) >= MAX_ATTEMPTS:
            self._give_up(recognition, reason)
        self.replace_session(why, now=now)

    def _give_up(self, recognition: Recognition, reason: GapReason) -> None:
        """Let what fails again and again be a gap; what was heard to be quiet before it stays so."""
        first = recognition.first
        if first is not None:
            self._coverage.release_quiet(first.start, first.time_source)
        elif (speech := self._hearing.first_unanswered) is not None:
            self._coverage.release_quiet(speech, "gate")
        end = recognition.end_of_first
        self._coverage.give_up(self._sent_until if end is None else end, reason)

    def _bound_retention(self, *, now: float) -> None:
        """Keep no more than the configured audio: the oldest of what nobody answers for becomes a gap."""
        retained = self._coverage.retained
        if retained.samples > self._buffer_size:
            self._coverage.give_up(
                retained.start_of_newest(int(self._buffer_size * KEEP_OF_BUFFER)), "buffer_overflow"
            )
            self.replace_session("the recogniser is too far behind", now=now)


def _decode(batch: list[Arrival]) -> bytes:
    if all(frame.codec == batch[0].codec for frame in batch):
        return to_pcm(batch[0].codec, b"".join([frame.audio for frame in batch]))
    return b"".join([to_pcm(frame.codec, frame.audio) for frame in batch])
