"""A leg: from frames to appends, from results to released entries, strictly in order.

Positions (samples since the leg began) are its only clock; ``now`` is monotonic time and used for time-outs
of I/O alone. Three things are decided here:

- what is sent to the recogniser, and when a session begins, ends or is given up;
- what is *released*: utterances, gaps and quiet, in order, each advancing ``covered_until``;
- which record is the first that a successor would have to read again (:attr:`Leg.first_uncovered_offset`).

What was not released when a session dies is discarded, and its audio replayed into the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec import Struct

from qa_service.audio.pcm import silence, to_pcm
from qa_service.audio.voice_gate import VoiceGate
from qa_service.contract.codecs import Codec
from qa_service.domain.arrival import Arrival, FrameOrder, Hole, Piece, Refusal
from qa_service.domain.entries import GapReason, TimeSource
from qa_service.domain.recognition import Item, Recognition
from qa_service.domain.retention import RetainedAudio
from qa_service.domain.timeline import SessionTimeline
from qa_service.protocol.events import (
    Completed,
    ErrorEvent,
    Failed,
    Partial,
    ServerEvent,
    SessionFinished,
)

PREFIX_PADDING_MS = 300
"""Audio before an onset that a recogniser is asked to add to an item (the SDKs' value, protocol 3.1)."""
BATCH_MS = 100
"""Audio per append: the chunk that the vendor's samples send (protocol section 3.2)."""
SHORT_HOLE_MS = 200
"""Up to here a hole is filled with silence of its own length and not worth a row (design, 3.1)."""
SILENCE_MARGIN_MS = 500
"""Silence fed beyond what ends an utterance, so that it surely ends (design, 3.1)."""
QUIET_STEP_MS = 1000
"""Coverage advances through quiet in steps of at least this much: one row a second of silence."""
GATE_MARGIN_MS = 1000
"""Quiet inferred by our own gate stays this far behind what was sent: a recogniser may still begin there."""
MUTE_AFTER_MS = 10_000
"""Speech heard by our gate so long ago without a word from the recogniser: it is mute."""
MUTE_SPEECH_MS = 2_000
"""The least speech within that time; less is taken for clicks and breath."""
STALL_S = 1.0
"""Frames stopped for so long: an open utterance is ended by silence."""
OVERDUE_S = 2.0
"""A later item's final makes an earlier one overdue after this (design, 3.1)."""
FINISH_TIMEOUT_S = 30.0
"""Wait for ``session.finished``; vendors' clients give up after 20 s (protocol section 6.4)."""
LONGEST_UTTERANCE_MS = 75_000
"""A recogniser should cut an endless turn after 60 s; past this it will not."""
MAX_ATTEMPTS = 3
"""Sessions that may fail on the same stretch before it becomes a gap."""
RETRY_BASE_S, RETRY_MAX_S = 0.5, 30.0
"""Exponential back-off between sessions of one leg."""
REPLAY_CHUNK_MS = 1000
"""Audio per append when a session is fed what another one lost."""


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


class ReleasedUtterance(Struct, frozen=True, kw_only=True):
    """A finished turn at its place in the leg."""

    start: int
    end: int
    result: Completed
    time_source: TimeSource
    final_at_ms: int


class ReleasedQuiet(Struct, frozen=True, kw_only=True):
    """A stretch that was heard and holds no speech."""

    start: int
    end: int
    time_source: TimeSource


class ReleasedGap(Struct, frozen=True, kw_only=True):
    """A stretch that nobody transcribed."""

    start: int
    end: int
    reason: GapReason


class ReleasedEnd(Struct, frozen=True):
    """Everything is released and no more is expected."""

    reason: EndReason


class HeardPartial(Struct, frozen=True, kw_only=True):
    """An intermediate result; best effort, never part of the log."""

    start: int
    event: Partial


EndReason: TypeAlias = Literal["stop", "call_end", "idle"]
Release: TypeAlias = ReleasedUtterance | ReleasedQuiet | ReleasedGap | ReleasedEnd
Output: TypeAlias = Action | Release | HeardPartial


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
        self.covered_until = covered_until
        """Position up to which everything is released."""
        self.covered_seq = covered_seq
        self.ended = ended
        self.paused = paused
        self.recognition: Recognition | None = None
        self._limits = limits or LegLimits()
        self._order = FrameOrder(
            next_pos=covered_until, next_seq=None if covered_seq is None else covered_seq + 1
        )
        self._retained = RetainedAudio()
        self._sent_until = covered_until
        self._batch: list[Arrival] = []
        self._batch_samples = 0
        self._batch_size = self._samples(BATCH_MS)
        self._gate: VoiceGate | None = None
        self._voiced: list[tuple[int, int]] = []
        self._session_count = 0
        self._attempts = 0
        """Sessions lost since coverage last advanced."""
        self._retry_at: float | None = None
        self._ending: EndReason | None = None
        self._last_frame_at: float | None = None
        self._stall_fed = 0
        """Samples of silence fed since frames stopped."""
        self._pause = Hole(covered_until, 0, "paused") if paused else None
        """The pause that goes on, or has just ended, as far as it is known."""
        self._outputs: list[Output] = []

    # --- what comes in ----------------------------------------------------------------------------

    def begin_at(self, position: int) -> None:
        """Let the leg begin at a position other than zero: nothing is claimed about what was before."""
        self.covered_until = self._sent_until = position
        self._order = FrameOrder(next_pos=position, next_seq=None)

    def refusal(self, frame: Arrival) -> Refusal | None:
        """Say why a frame brings nothing new; None if it does."""
        return self._order.refusal(frame)

    def accept(self, frame: Arrival, *, now: float) -> None:
        """Take a frame that was not refused."""
        self._last_frame_at = now
        for piece in self._order.accept(frame):
            if self._pause is None:
                self._push(piece, now=now)
            elif self.paused or isinstance(piece, Hole):
                # Neither kept nor sent; what is missing right after a pause belongs to it.
                self._pause = Hole(self._pause.pos, piece.end - self._pause.pos, "paused")
            else:
                self._push_pause(now=now)
                self._push(piece, now=now)

    def pause(self, *, now: float) -> None:
        """Neither send nor keep audio from here on."""
        if not self.paused:
            self._flush(now=now)
            self.paused = True
            self._pause = self._pause or Hole(self.received_until, 0, "paused")

    def resume(self) -> None:
        """Go on with audio."""
        self.paused = False

    def end(self, reason: EndReason, *, now: float) -> None:
        """No more audio is expected: have the rest recognised, then release the end."""
        if self.ended or self._ending is not None:
            return
        self._flush(now=now)
        self._push_pause(now=now)
        self._ending = reason
        self._finish_if_ending(now=now)

    def reopen(self, *, now: float) -> None:
        """Go on after the end, or after it was announced, where coverage ended."""
        if self.recognition is not None and self.recognition.finish_sent_at is not None:
            # The session was told to finish and takes no more audio: what it has not given is replayed.
            self.replace_session("the leg goes on after its end", now=now)
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
            case Partial():
                item = recognition.begin_item(event.item_id, None)
                self._outputs.append(HeardPartial(start=item.start, event=event))
            case _:
                recognition.note(event, now=now, at_ms=at_ms)
                self._release(recognition)

    def session_lost(self, number: int, *, now: float) -> None:
        """The session is gone: discard what was not released and replay it into another, after a while."""
        if self.recognition is None or self.recognition.number != number:
            return
        finished_idle = self._ending is not None and not self._has_uncovered_audio()
        self.recognition = None
        self._reset_sending()
        if finished_idle:
            self._release_end()
            return
        self._attempts += 1
        self._retry_at = now + min(RETRY_BASE_S * 2 ** (self._attempts - 1), RETRY_MAX_S)

    def replace_session(self, reason: str, *, now: float) -> None:
        """Give the session up on our own account (other configuration, missing results); replay at once."""
        if self.recognition is None:
            return
        self._outputs.append(AbandonSession(self.recognition.number, reason))
        self.recognition = None
        self._reset_sending()
        self._retry_at = now

    def tick(self, *, now: float, caught_up: bool) -> None:
        """Let time-outs of I/O act; ``caught_up``: no record of this partition waits to be read."""
        recognition = self.recognition
        if recognition is None:
            if self._retry_at is not None and now >= self._retry_at:
                self._retry_at = None
                self._replay(now=now)
            return
        if recognition.finish_sent_at is not None:
            if now - recognition.finish_sent_at > FINISH_TIMEOUT_S:
                self._fail_session("session.finished is missing", now=now)
            return
        if self._result_is_overdue(recognition, now=now):
            self._fail_session("a final result is missing", now=now)
        elif self._is_mute(recognition):
            self._fail_session(
                "the recogniser is mute while there is speech", now=now, reason="recogniser_mute"
            )
        elif self._never_ends(recognition):
            self._fail_session("an utterance does not end", now=now)
        else:
            self._release_quiet(recognition)
            if caught_up and self._last_frame_at is not None and now - self._last_frame_at > STALL_S:
                self._bridge_stall(now=now)

    # --- what goes out ----------------------------------------------------------------------------

    def take_outputs(self) -> list[Output]:
        """Return what was decided since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    @property
    def has_outputs(self) -> bool:
        """Whether anything was decided since outputs were last taken."""
        return bool(self._outputs)

    @property
    def received_until(self) -> int:
        """Position after the newest audio that was put in order."""
        return self._order.next_pos

    @property
    def first_uncovered_offset(self) -> int | None:
        """First record a successor would have to read again; None if everything received is covered."""
        held, kept = self._order.oldest_held_offset, self._retained.first_offset
        if held is None or kept is None:
            return held if kept is None else kept
        return min(held, kept)

    @property
    def awaits_result(self) -> bool:
        """Whether the recogniser owes a final for speech that has ended."""
        recognition = self.recognition
        return recognition is not None and any(
            item.end is not None and item.result is None for item in recognition.items.values()
        )

    @property
    def is_ending(self) -> bool:
        """Whether the end was announced and results are still awaited."""
        return self._ending is not None and not self.ended

    # --- sending ----------------------------------------------------------------------------------

    def _samples(self, ms: int) -> int:
        return ms * self.rate // 1000

    def _push(self, piece: Piece, *, now: float) -> None:
        if isinstance(piece, Hole):
            self._push_hole(piece, now=now)
        else:
            self._retained.push(piece)
            self._batch.append(piece)
            self._batch_samples += piece.samples
            if self._batch_samples >= self._batch_size:
                self._send_batch(now=now)
        self._bound_retention(now=now)

    def _push_hole(self, hole: Hole, *, now: float) -> None:
        if self._batch:
            self._send_batch(now=now)
        self._retained.push(hole)
        if self.recognition is not None:
            self._feed_hole(self.recognition, hole)
        elif self._retry_at is None:
            # Nothing is being recognised, so nothing has to be waited for.
            self._sent_until = hole.end
            self._advance(hole.end, "positions")

    def _push_pause(self, *, now: float) -> None:
        pause, self._pause = self._pause, None
        if pause is not None and pause.samples:
            self._push(pause, now=now)

    def _send_batch(self, *, now: float) -> None:
        """Send what was gathered, opening a session if there is none."""
        batch, self._batch, self._batch_samples = self._batch, [], 0
        if self.recognition is None:
            if self._retry_at is None:
                self._replay(now=now)
            return  # what is retained goes out with the replay
        self._send(self.recognition, batch)

    def _send(self, recognition: Recognition, batch: list[Arrival]) -> None:
        if not batch:
            return
        if len({frame.codec for frame in batch}) == 1:
            pcm = to_pcm(batch[0].codec, b"".join([frame.audio for frame in batch]))
        else:
            pcm = b"".join([to_pcm(frame.codec, frame.audio) for frame in batch])
        start, end = batch[0].pos, batch[-1].end
        recognition.timeline.append(start, end - start)
        self._sent_until = end
        self._stall_fed = 0
        self._outputs.append(Append(recognition.number, pcm))
        if not recognition.honours_extensions:
            self._listen(start, end, pcm)

    def _feed_hole(self, recognition: Recognition, hole: Hole) -> None:
        """Send silence for a hole: all of a short one, enough to end an utterance for a long one."""
        bound = self._samples(self._limits.silence_ms + SILENCE_MARGIN_MS)
        samples = max(min(hole.samples, bound - self._stall_fed), 0)
        self._stall_fed = 0
        if samples:
            recognition.timeline.append(hole.pos, samples, stands_for=hole.samples)
            self._outputs.append(Append(recognition.number, silence(samples)))
        self._sent_until = hole.end

    def _bridge_stall(self, *, now: float) -> None:
        """Frames stopped without a word: put in order what waits, and end an open utterance by silence."""
        self._flush(now=now)
        recognition = self.recognition
        if (
            recognition is None
            or self._stall_fed
            or not any(i.end is None for i in recognition.items.values())
        ):
            return
        samples = self._samples(self._limits.silence_ms + SILENCE_MARGIN_MS)
        recognition.timeline.append(self._sent_until, samples, stands_for=0)
        self._stall_fed = samples
        self._outputs.append(Append(recognition.number, silence(samples)))

    def _flush(self, *, now: float) -> None:
        """Pass on everything that waits: frames held for their predecessors, and a batch not yet full."""
        for piece in self._order.flush():
            self._push(piece, now=now)
        if self._batch:
            self._send_batch(now=now)

    def _replay(self, *, now: float) -> None:
        """Open a session and feed it all that is retained and not covered."""
        self._session_count += 1
        self.recognition = Recognition(
            self._session_count,
            SessionTimeline(self.rate),
            silence_ms=self._limits.silence_ms,
            padding_ms=PREFIX_PADDING_MS,
            floor=self.covered_until,
        )
        self._outputs.append(OpenSession(self._session_count))
        self._batch, self._batch_samples = [], 0
        self._gate, self._voiced = VoiceGate(self.rate), []
        self._stall_fed = 0
        for chunk in self._replay_chunks():
            if isinstance(chunk, Hole):
                self._feed_hole(self.recognition, chunk)
            else:
                self._send(self.recognition, chunk)
        self._finish_if_ending(now=now)

    def _replay_chunks(self) -> Iterator[list[Arrival] | Hole]:
        gathered: list[Arrival] = []
        gathered_samples = 0
        for piece in self._retained:
            if isinstance(piece, Arrival):
                gathered.append(piece)
                gathered_samples += piece.samples
            if gathered and (isinstance(piece, Hole) or gathered_samples >= self._samples(REPLAY_CHUNK_MS)):
                yield gathered
                gathered, gathered_samples = [], 0
            if isinstance(piece, Hole):
                yield piece
        if gathered:
            yield gathered

    def _reset_sending(self) -> None:
        self._batch, self._batch_samples = [], 0
        self._sent_until = self.covered_until
        self._voiced = []

    def _finish_if_ending(self, *, now: float) -> None:
        if self._ending is None:
            return
        if self.recognition is not None:
            if self.recognition.finish_sent_at is None:
                self.recognition.finish_sent_at = now
                self._outputs.append(FinishSession(self.recognition.number))
        elif self._retry_at is None:
            if self._has_uncovered_audio():
                self._replay(now=now)
            else:
                self._release_end()

    # --- releasing --------------------------------------------------------------------------------

    def _has_uncovered_audio(self) -> bool:
        return self._retained.first_offset is not None

    def _release(self, recognition: Recognition) -> None:
        """Release what has become certain: results in order, then quiet."""
        while (item := recognition.first()) is not None and item.result is not None:
            del recognition.items[item.item_id]
            self._release_item(item)
        self._release_quiet(recognition)

    def _release_item(self, item: Item) -> None:
        start = max(item.start, self.covered_until)
        end = max(item.end if item.end is not None else start, start)
        self._voiced = [(a, b) for a, b in self._voiced if b > end]
        if end == start:
            return
        match item.result:
            case Completed(transcript=transcript) if transcript.strip():
                self._release_holes(start)
                utterance = ReleasedUtterance(
                    start=start,
                    end=end,
                    result=item.result,
                    time_source=item.time_source,
                    final_at_ms=item.result_at_ms,
                )
                self._cover(end, utterance)
            case Failed():
                self._release_holes(start)
                self._cover(end, ReleasedGap(start=start, end=end, reason="recogniser_failed"))
            case _:
                self._advance(end, item.time_source)

    def _release_quiet(self, recognition: Recognition) -> None:
        certain, source = self._quiet_until(recognition)
        first = recognition.first()
        if first is not None:
            certain = min(certain, first.start)
        if certain - self.covered_until >= self._samples(QUIET_STEP_MS):
            self._advance(certain, source)

    def _quiet_until(self, recognition: Recognition) -> tuple[int, TimeSource]:
        if recognition.honours_extensions:
            return recognition.certain_until or self.covered_until, "progress"
        if recognition.honours_extensions is None:
            return self.covered_until, "gate"
        margin = self._samples(GATE_MARGIN_MS)
        limit = self._voiced[0][0] if self._voiced else self._sent_until
        return min(limit, self._sent_until) - margin, "gate"

    def _advance(self, position: int, source: TimeSource) -> None:
        """Cover up to ``position``, where no utterance is: quiet, but for the holes in it."""
        self._release_holes(position)
        if position > self.covered_until:
            self._cover(position, ReleasedQuiet(start=self.covered_until, end=position, time_source=source))

    def _release_holes(self, position: int) -> None:
        """Release the holes before ``position`` as gaps; the quiet between them goes without a row."""
        for hole in [piece for piece in self._retained if isinstance(piece, Hole) and piece.pos < position]:
            # All of it: nothing can have been said where no audio came, however little of it was fed.
            start, end = max(hole.pos, self.covered_until), hole.end
            if end > start and hole.samples > self._samples(SHORT_HOLE_MS):
                self._cover(end, ReleasedGap(start=start, end=end, reason=hole.reason))

    def _cover(self, position: int, release: Release) -> None:
        self._outputs.append(release)
        self.covered_until = position
        self._attempts = 0
        holes, newest_seq = self._retained.cover(position)
        if newest_seq is not None:
            self.covered_seq = newest_seq
        if isinstance(release, ReleasedUtterance):
            # A hole that the speaker talked across is still a gap, inside the utterance.
            for hole in holes:
                if hole.samples > self._samples(SHORT_HOLE_MS) and hole.pos >= release.start:
                    self._outputs.append(ReleasedGap(start=hole.pos, end=hole.end, reason=hole.reason))

    def _complete(self, recognition: Recognition, *, now: float) -> None:
        """The recogniser has said all there is about what it was sent."""
        if recognition.finish_sent_at is None:
            self.session_lost(recognition.number, now=now)
            return
        for item in list(recognition.items.values()):
            if item.result is None:
                # Finished without a result: as good as a failure of this item.
                recognition.note_result(Failed(item.item_id, code="missing_final"), now=now, at_ms=0)
        self._release(recognition)
        self._advance(self._sent_until, "server")
        self.recognition = None
        self._release_end()

    def _release_end(self) -> None:
        self._advance(self.received_until, "positions")
        if self._ending is not None:
            self.ended = True
            self._outputs.append(ReleasedEnd(self._ending))
            self._ending = None

    # --- failures ---------------------------------------------------------------------------------

    def _result_is_overdue(self, recognition: Recognition, *, now: float) -> bool:
        item = recognition.first()
        if item is None or item.ended_at is None or item.result is not None:
            return False
        waited = now - item.ended_at
        return waited > self._limits.final_timeout_s or (
            waited > OVERDUE_S and recognition.later_result_since()
        )

    def _never_ends(self, recognition: Recognition) -> bool:
        item = recognition.first()
        return (
            item is not None
            and item.end is None
            and self._sent_until - item.start > self._samples(LONGEST_UTTERANCE_MS)
        )

    def _is_mute(self, recognition: Recognition) -> bool:
        """Whether the gate heard speech long ago and the recogniser never answered; clicks are forgotten."""
        if recognition.honours_extensions is not False or recognition.items or not self._voiced:
            return False
        if self._sent_until - self._voiced[0][0] < self._samples(MUTE_AFTER_MS):
            return False
        if sum(end - start for start, end in self._voiced) >= self._samples(MUTE_SPEECH_MS):
            return True
        self._voiced = self._voiced[1:]
        return False

    def _fail_session(self, why: str, *, now: float, reason: GapReason = "recogniser_failed") -> None:
        """Replay what a session does not answer for; after some attempts let it be a gap."""
        recognition = self.recognition
        if recognition is None:
            return
        attempts = self._attempts + 1
        if attempts >= MAX_ATTEMPTS:
            first = recognition.first()
            self._give_up(first.end if first is not None and first.end else self._sent_until, reason)
            attempts = 0
        self.replace_session(why, now=now)
        self._attempts = attempts

    def _give_up(self, position: int, reason: GapReason) -> None:
        if position > self.covered_until:
            self._cover(position, ReleasedGap(start=self.covered_until, end=position, reason=reason))

    def _bound_retention(self, *, now: float) -> None:
        """Keep no more than the configured audio: the oldest of what nobody answers for becomes a gap."""
        end, start = self._retained.end, self._retained.start
        if end is None or start is None:
            return
        bound = int(self._limits.replay_buffer_s * self.rate)
        if end - max(start, self.covered_until) <= bound:
            return
        self._give_up(end - bound + bound // 10, "buffer_overflow")
        if self.recognition is not None:
            self.replace_session("the recogniser is too far behind", now=now)

    def _listen(self, start: int, end: int, pcm: bytes) -> None:
        if self._gate is None or not self._gate.hears_speech(pcm):
            return
        if self._voiced and self._voiced[-1][1] >= start:
            self._voiced[-1] = (self._voiced[-1][0], end)
        else:
            self._voiced.append((start, end))
