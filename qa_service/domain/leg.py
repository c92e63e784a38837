"""A leg: from frames to appends, from results to released entries, strictly in order.

Positions (samples since the leg began) are its only clock; ``now`` is monotonic time and used for time-outs
of I/O alone. Decided here: when a session begins, is finished or given up, what of the audio it gets, and
which record is the first that a successor would have to read again (:attr:`Leg.first_uncovered_offset`).

A frame's way: :mod:`.arrival` puts it in order, :mod:`.pauses` leaves it out or not, here it is kept and
gathered, :mod:`.feeding` sends it. A result's way: :mod:`.recognition` places it on the leg,
:mod:`.releasing` says whether it is certain, :mod:`.coverage` releases it in its turn. How long is waited for
anything is decided in :mod:`.patience`.

A session ends in one of two ways. It is *finished*: it takes no more audio, gives its last results, and what
came meanwhile goes to the next one. Or it is lost, by itself or since it was given up: what it has not
released is discarded, and that audio is replayed into the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from qa_service.contract.codecs import Codec
from qa_service.contract.records import AudioFrame
from qa_service.domain.actions import (
    AbandonSession,
    DamagedPackets,
    FinishSession,
    HeardPartial,
    OpenSession,
    Output,
)
from qa_service.domain.arrival import Arrival, FrameOrder, Hole, Piece, Refusal
from qa_service.domain.coverage import Coverage, EndReason, ReleasedEnd
from qa_service.domain.feeding import SessionFeed
from qa_service.domain.hearing import Hearing
from qa_service.domain.packets import PacketDecoder
from qa_service.domain.patience import (
    FINISHED_TOO_EARLY,
    MAX_ATTEMPTS,
    Failure,
    Tries,
    find_failure,
    is_endless,
    retry_delay_s,
)
from qa_service.domain.pauses import Pauses
from qa_service.domain.recognition import Recognition
from qa_service.domain.releasing import give_up, release, release_quiet
from qa_service.domain.timeline import SessionTimeline
from qa_service.protocol.events import ErrorEvent, Partial, ServerEvent, SessionFinished

PREFIX_PADDING_MS: Final = 300
"""Audio before an onset that a recogniser is asked to add to an item (the SDKs' value, protocol 3.1)."""
BATCH_MS: Final = 100
"""Audio per append: the chunk that the vendor's samples send (protocol section 3.2)."""
REPLAY_CHUNK_MS: Final = 1000
"""Audio per append when a session is fed what another one lost."""
NO_FRAME_YET: Final = -1
"""The newest frame that is covered, of a leg that only had silence: frames are numbered from 0 on, so a first
frame that was overtaken is waited for as any other, by a successor too."""
STALL_S: Final = 1.0
"""Frames stopped for so long: an open utterance is ended by silence."""
_SAMPLE_BYTES: Final[dict[Codec, int]] = {"pcmu": 1, "pcma": 1, "pcm_s16le": 2}
"""Of the codecs that have no state from frame to frame."""
KEEP_OF_BUFFER: Final = 0.9
"""Share of the buffer that is kept when it overflows: one gap of some length rather than many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LegLimits:
    """Time-outs and bounds that a deployment may set."""

    silence_ms: int = 800
    """Silence that ends an utterance at the recogniser."""
    final_timeout_s: float = 30.0
    replay_buffer_s: float = 120.0


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
        recogniser_state: str | None = None,
        limits: LegLimits | None = None,
    ) -> None:
        self.codec: Codec = codec
        self.rate = rate
        self.ended = ended
        self.recogniser_state = recogniser_state
        """What the recogniser had learnt when it gave the newest released result: where a replay begins."""
        self._limits = limits or LegLimits()
        self._outputs: list[Output] = []
        if covered_seq is None and not covered_until:
            covered_seq = NO_FRAME_YET
        next_seq = None if covered_seq is None else covered_seq + 1
        self._order = FrameOrder(next_pos=covered_until, next_seq=next_seq)
        self._pauses = Pauses(covered_until, paused=paused)
        self._coverage = Coverage(
            rate, until=covered_until, newest_seq=covered_seq, emit=self._outputs.append
        )
        self._hearing = Hearing(rate)
        self._packets = PacketDecoder(rate)
        self._damaged_told = 0
        self._tail: list[bytes] = []
        """The newest frames, which follow each other and are not yet put together to one piece, and"""
        self._tail_offset = 0
        """the record of the first of them, and"""
        self._tail_pos = 0
        """its position."""
        self._batch: list[Arrival] = []
        """What was kept before the tail and not yet sent."""
        self._batch_samples = 0
        """Of both: short of :data:`BATCH_MS`."""
        self._batch_size = BATCH_MS * rate // 1000
        self._buffer_size = int(self._limits.replay_buffer_s * rate)
        self._arrived_at: float | None = None
        """When audio was last kept, rather than left out by a pause (monotonic seconds)."""
        self._feed: SessionFeed | None = None
        """Of the session that lives, or is waited for."""
        self._session_count = 0
        self._losses = Tries()
        self._failures = Tries()
        self._retry_at: float | None = None
        """When to open the next session, if not as soon as there is audio."""
        self._ending: EndReason | None = None
        """The end that was announced, until it is released."""

    # --- what comes in ----------------------------------------------------------------------------

    def begin_at(self, position: int) -> None:
        """Let the leg begin at a position other than zero: nothing is claimed about what was before."""
        self._coverage.until, self._coverage.newest_seq = position, None
        self._order = FrameOrder(next_pos=position, next_seq=None)
        self._pauses = Pauses(position, paused=self.paused)

    def refusal(self, frame: Arrival) -> Refusal | None:
        """Say why a frame brings nothing new; None if it does."""
        return self._order.refusal(frame)

    def accept(self, frame: Arrival, *, now: float) -> None:
        """Take a frame that was not refused."""
        self._settle_tail()
        if not self.paused:
            self._arrived_at = now
        self._keep_all(self._order.accept(frame), now=now)

    def accept_next(self, frame: AudioFrame, offset: int, *, now: float) -> bool | None:
        """Take a frame that simply follows the one before; None, and nothing is changed, if it does not.

        What :meth:`refusal` and :meth:`accept` come to for such a frame, without their questions. Tells
        whether there are outputs.
        """
        order, audio = self._order, frame.audio
        sample_bytes = _SAMPLE_BYTES.get(self.codec)
        if (
            frame.pos != order.next_pos
            or order.held
            or self._pauses.hole is not None
            or self._ending is not None
            or self.ended
            or (frame.codec is not None and frame.codec != self.codec)
            or (frame.rate is not None and frame.rate != self.rate)
            or sample_bytes is None
            or len(audio) % sample_bytes
        ):
            return None
        tail = self._tail
        if not tail:
            self._tail_pos, self._tail_offset = frame.pos, offset
        tail.append(audio)
        samples = len(audio) // sample_bytes
        order.next_pos += samples
        order.next_seq = frame.seq + 1
        self._arrived_at = now
        self._batch_samples += samples
        if self._batch_samples >= self._batch_size:
            self._send_batch(now=now)
        return bool(self._outputs)

    def pause(self, *, now: float) -> None:
        """Neither send nor keep audio from here on."""
        if not self.paused:
            self._flush(now=now)
            self.settle_given_up(now=now)
            self._pauses.begin(self.received_until)

    def resume(self, *, now: float) -> None:
        """Go on with audio."""
        self._keep_all(self._order.flush(), now=now)  # still part of the pause, whatever it waits for
        self.settle_given_up(now=now)
        self._pauses.end()

    def change_codec(self, codec: Codec) -> None:
        """Take the audio from here on for another codec's."""
        self._settle_tail()
        self.codec = codec

    def begin_giving_up(self) -> None:
        """Keep no audio from here on: nobody can follow, and it has grown too old."""
        if not self._pauses.gives_up:
            self._pauses.begin_giving_up(self.received_until)

    def end_giving_up(self, *, now: float) -> None:
        """Keep audio again."""
        self.settle_given_up(now=now)
        self._pauses.end_giving_up()

    def settle_given_up(self, *, now: float) -> None:
        """Release what was given up since the last time, as one gap."""
        if not self._pauses.gives_up:
            return
        for hole in self._pauses.close():
            if self._feed is not None or self._coverage.retained.samples or hole.reason != "capacity":
                self._keep(hole, now=now)
            else:
                self._coverage.give_up(hole.end, "capacity", newest_seq=self._order.newest_seq)

    def note_deleted_records(self) -> None:
        """Records were deleted before they were read, and this leg's may be among them."""
        self._order.note_deleted_records()

    def end(self, reason: EndReason, *, now: float) -> None:
        """No more audio is expected: have the rest recognised, then release the end."""
        if self.ended or self._ending is not None:
            return
        self._flush(now=now)
        self.settle_given_up(now=now)
        for pause in self._pauses.close():
            self._keep(pause, now=now)
        self._ending = reason
        if self._feed is not None:
            self.finish_session(now=now)
        elif self._retry_at is None:
            self._go_on(now=now)

    def reopen(self) -> None:
        """Go on after the end, or after it was announced."""
        self._ending = None
        self.ended = False

    def receive(self, number: int, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take an event of session ``number``; ``at_ms`` is Unix time and only stored."""
        feed = self._feed
        if feed is None or feed.recognition.number != number:
            return
        match event:
            case SessionFinished():
                self._complete(feed, now=now)
            case ErrorEvent() if not event.survivable:
                self._outputs.append(AbandonSession(number, f"server error: {event.code}"))
                self.session_lost(number, now=now)
            case _:
                self._note(feed.recognition, event, now=now, at_ms=at_ms)

    def session_lost(self, number: int, *, now: float) -> None:
        """The session is gone: its audio is replayed into another, after a while."""
        if self.recognition is not None and self.recognition.number == number:
            self._drop_session(retry_at=now + retry_delay_s(self._losses.note(self.covered_until)))
            if not self._coverage.retained.samples:
                self._go_on(now=now)

    def replace_session(self, reason: str, *, now: float) -> None:
        """Give the session up on our own account and replay its audio at once."""
        if self.recognition is not None:
            self._outputs.append(AbandonSession(self.recognition.number, reason))
            self._drop_session(retry_at=now)

    def finish_session(self, *, now: float) -> None:
        """Take the session's last results; what comes from here on goes to the next one."""
        self._send_rest(now=now)
        if self.recognition is not None and not self.recognition.is_finishing:
            self.recognition.finish_sent_at = now
            self._outputs.append(FinishSession(self.recognition.number))

    def tick(self, *, now: float, read_until: float) -> None:
        """Let time-outs of I/O act; what was published before ``read_until`` (as ``now``) has been read."""
        if self._feed is None:
            self._tick_without_session(now=now, read_until=read_until)
            return
        recognition, sent_until = self._feed.recognition, self._feed.sent_until
        failure = find_failure(
            recognition, self._hearing, final_timeout_s=self._limits.final_timeout_s, now=now
        )
        if failure is not None:
            self._fail_session(self._feed, failure, now=now)
        elif recognition.is_finishing:
            pass  # its results are all there is to wait for
        elif is_endless(recognition, self._hearing, sent_until=sent_until, now=now):
            self.finish_session(now=now)
        else:
            self._hearing.settle(sent_until, now=now)
            release_quiet(recognition, self._coverage, self._hearing)
            if self._is_stalled(now=now, read_until=read_until):
                self._bridge_stall(now=now)

    def is_calm(self, *, read_until: float) -> bool:
        """Whether :meth:`tick` has nothing to do that is due to the moment: audio flows into a session."""
        feed = self._feed
        return (
            feed is not None
            and feed.recognition.overtaken_at is None
            and not self.paused
            and self._arrived_at is not None
            and read_until - self._arrived_at <= STALL_S
        )

    def _tick_without_session(self, *, now: float, read_until: float) -> None:
        if self._retry_at is None:
            if self._is_stalled(now=now, read_until=read_until):
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
    def paused(self) -> bool:
        """Whether audio is neither sent nor kept at present."""
        return self._pauses.paused

    @property
    def is_served(self) -> bool:
        """Whether it has not ended, and its audio is not given up."""
        return not self.ended and not self._pauses.gives_up

    @property
    def recognition(self) -> Recognition | None:
        """The session that lives, or is waited for."""
        return None if self._feed is None else self._feed.recognition

    @property
    def covered_until(self) -> int:
        """Position up to which everything is released."""
        return self._coverage.until

    @property
    def covered_seq(self) -> int | None:
        """Frame number of the newest frame that is covered; None: unknown."""
        return self._coverage.newest_seq

    @property
    def received_until(self) -> int:
        """Position after the newest audio that was put in order."""
        return self._order.next_pos

    @property
    def pause_is_released(self) -> bool:
        """Whether nothing is left to tell of any pause: none goes on, and every gap is covered."""
        holes = self._coverage.retained.holes_before(self.received_until)
        if self._pauses.hole is not None:
            holes.append(self._pauses.hole)
        return not any(hole.reason == "paused" for hole in holes)

    @property
    def has_uncovered_audio(self) -> bool:
        """Whether audio was received whose words are not released yet."""
        return self.first_uncovered_offset is not None

    @property
    def first_uncovered_offset(self) -> int | None:
        """First record a successor would have to read again; None if everything received is covered."""
        held, kept = self._order.oldest_held_offset, self._coverage.retained.first_offset
        if kept is None and self._tail:
            kept = self._tail_offset
        if held is None or kept is None:
            return held if kept is None else kept
        return min(held, kept)

    @property
    def is_far_behind(self) -> bool:
        """Whether so much audio waits for its results that reading on would soon overflow the buffer.

        Three quarters, so that the longest utterance a recogniser may take fits below it.
        """
        unsettled = self.received_until - self._tail_pos if self._tail else 0
        return self._coverage.retained.samples + unsettled > self._buffer_size * 3 // 4

    @property
    def awaits_result(self) -> bool:
        """Whether the recogniser owes a final for speech that has ended."""
        return self.recognition is not None and self.recognition.awaits_result

    @property
    def is_ending(self) -> bool:
        """Whether the end was announced and results are still awaited."""
        return self._ending is not None

    # --- keeping and sending ----------------------------------------------------------------------

    def _keep_all(self, pieces: Iterable[Piece], *, now: float) -> None:
        """Keep pieces that are in order, but for what belongs to a pause."""
        if self._pauses.hole is not None:
            pieces = self._pauses.leave_out(pieces)
        for piece in pieces:
            self._keep(piece, now=now)

    def _keep(self, piece: Piece, *, now: float) -> None:
        if isinstance(piece, Hole):
            self._keep_hole(piece, now=now)
            return
        if piece.codec == "opus":
            piece = self._packets.decode(piece)
        self._coverage.retained.push(piece)
        self._batch.append(piece)
        self._batch_samples += piece.samples
        if self._batch_samples >= self._batch_size:
            self._send_batch(now=now)

    def _keep_hole(self, hole: Hole, *, now: float) -> None:
        self._send_rest(now=now)
        self._coverage.retained.push(hole)
        if self._feed is None and self._retry_at is None:
            # Nothing is being recognised, so nothing is waited for.
            self._coverage.release_quiet(hole.end, "positions")
        elif self._feed is not None and not self._feed.recognition.is_finishing:
            self._feed.send_hole(hole)

    def _flush(self, *, now: float) -> None:
        """Pass on everything that waits: frames held for their predecessors, and a batch not yet full."""
        self._keep_all(self._order.flush(), now=now)
        self._send_rest(now=now)

    def _send_rest(self, *, now: float) -> None:
        """Send what was gathered, though it is no whole batch, if there is anything."""
        if self._batch or self._tail:
            self._send_batch(now=now)

    def _send_batch(self, *, now: float) -> None:
        """Send what was gathered, opening a session if there is none and none is waited for."""
        batch = self._take_batch()
        if self._packets.damaged > self._damaged_told:
            self._tell_damaged()
        if self._feed is None:
            if self._retry_at is None:
                self._replay(now=now)
        elif not self._feed.recognition.is_finishing:
            self._feed.send(batch, now=now)
        self._bound_retention(now=now)

    def _tell_damaged(self) -> None:
        told, self._damaged_told = self._damaged_told, self._packets.damaged
        self._outputs.append(DamagedPackets(self._damaged_told - told, is_first=told == 0))

    def _settle_tail(self) -> None:
        """Put the newest frames together to one piece: a fifth of the objects, for as long as it is kept.

        It counts as read with the first of them, and carries the number of the last.
        """
        if not self._tail:
            return
        pos, next_pos, next_seq = self._tail_pos, self._order.next_pos, self._order.next_seq
        assert next_seq is not None  # noqa: S101 - set with each frame of the tail
        piece = Arrival(
            pos, next_pos - pos, next_seq - 1, self._tail_offset, self.codec, b"".join(self._tail)
        )
        self._tail.clear()
        self._coverage.retained.push(piece)
        self._batch.append(piece)

    def _take_batch(self) -> list[Arrival]:
        self._settle_tail()
        batch, self._batch, self._batch_samples = self._batch, [], 0
        return batch

    def _bound_retention(self, *, now: float) -> None:
        """Keep no more than the configured audio: the oldest of what nobody answers for becomes a gap."""
        retained = self._coverage.retained
        if retained.samples > self._buffer_size:
            self._coverage.give_up(
                retained.start_of_newest(int(self._buffer_size * KEEP_OF_BUFFER)), "buffer_overflow"
            )
            self.replace_session("the recogniser is too far behind", now=now)

    def _is_stalled(self, *, now: float, read_until: float) -> bool:
        """Whether no frame was published for a while after the last one that came."""
        arrived_at = self._arrived_at
        silent_until = now if self.paused else read_until
        return arrived_at is not None and silent_until - arrived_at > STALL_S

    def _bridge_stall(self, *, now: float) -> None:
        """Frames stopped without a word: send what waits, and end an open utterance by silence."""
        self._flush(now=now)
        if self._feed is not None and not self._feed.recognition.is_finishing:
            self._feed.bridge_stall()

    # --- sessions ---------------------------------------------------------------------------------

    def _go_on(self, *, now: float) -> None:
        """There is no session: open one if there is something to recognise, else be done with it."""
        self._retry_at = None
        self._settle_tail()
        if self._coverage.retained.samples:
            self._replay(now=now)
            return
        self._coverage.release_quiet(self.received_until, "positions")  # there is no audio in it
        if self._ending is not None:
            if self._order.may_miss_its_end:
                self._coverage.state_hole("offset_lost")
            self.ended = True
            self._outputs.append(ReleasedEnd(self._ending))
            self._ending = None

    def _replay(self, *, now: float) -> None:
        """Open a session and feed it all that is kept and not covered."""
        self._session_count += 1
        self._outputs.append(OpenSession(self._session_count))
        recognition = Recognition(
            self._session_count,
            SessionTimeline(self.rate),
            silence_ms=self._limits.silence_ms,
            padding_ms=PREFIX_PADDING_MS,
            floor=self.covered_until,
            heard_at=now,
        )
        feed = self._feed = SessionFeed(
            recognition, self._hearing, position=self.covered_until, emit=self._outputs.append
        )
        self._take_batch()  # it is kept, too
        self._hearing.restart(self.covered_until, now=now)
        for chunk in self._coverage.uncovered(REPLAY_CHUNK_MS * self.rate // 1000):
            if isinstance(chunk, Hole):
                feed.send_hole(chunk)
            else:
                feed.send(chunk, now=now)
        if self._ending is not None:
            self.finish_session(now=now)

    def _drop_session(self, *, retry_at: float) -> None:
        self._feed = None
        self._take_batch()  # the next one is fed all that is kept
        self._retry_at = retry_at

    def _note(self, recognition: Recognition, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take what is said of items and progress, and release what has become certain by it."""
        recognition.note(event, now=now, at_ms=at_ms)
        if isinstance(event, Partial) and event.item_id in recognition.items:
            start = recognition.items[event.item_id].start
            self._outputs.append(HeardPartial(start=start, event=event))
        self._release(recognition)

    def _release(self, recognition: Recognition) -> None:
        learnt = release(recognition, self._coverage, self._hearing)
        self.recogniser_state = learnt or self.recogniser_state

    def _complete(self, feed: SessionFeed, *, now: float) -> None:
        """The recogniser has said all there is about what it was sent."""
        recognition = feed.recognition
        if not recognition.is_finishing:
            self.session_lost(recognition.number, now=now)
            return
        self._release(recognition)
        if recognition.items:
            self._fail_session(feed, FINISHED_TOO_EARLY, now=now)
            return
        self._coverage.release_quiet(feed.sent_until, "server")
        self._feed = None
        self._go_on(now=now)

    def _fail_session(self, feed: SessionFeed, failure: Failure, *, now: float) -> None:
        """Replay what a session does not answer for; after some attempts let it be a gap."""
        if self._failures.note(self.covered_until) >= MAX_ATTEMPTS:
            give_up(
                feed.recognition,
                self._coverage,
                self._hearing,
                sent_until=feed.sent_until,
                reason=failure.reason,
            )
        self.replace_session(failure.why, now=now)
