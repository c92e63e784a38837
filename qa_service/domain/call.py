"""A call: its legs on one clock, and the log that everything else is derived from.

Decided here: which record opens, changes or ends a leg, and when the call is over. Records that come again
after a restart change nothing: audio is clipped at what is covered, and the other records at
:attr:`Call.control_offset`. What becomes of a frame is decided in :mod:`.leg`, who speaks and whose emotion
may be known in :mod:`.party`; what a leg releases goes into the :mod:`.call_log`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

from qa_service.contract.codecs import DEFAULT_CODEC, DEFAULT_RATE, Codec, count_samples
from qa_service.contract.errors import ContractViolation, Reason
from qa_service.contract.info import LegInfo, apply_change
from qa_service.contract.records import (
    AudioFrame,
    CallEnd,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
    Record,
)
from qa_service.domain.actions import (
    AbandonSession,
    Append,
    DamagedPackets,
    FinishSession,
    HeardPartial,
    OpenSession,
    Output,
)
from qa_service.domain.arrival import REORDER_WINDOW, Arrival, Refusal
from qa_service.domain.call_log import CallLog, CallOutputs, CallRules
from qa_service.domain.coverage import (
    EndReason,
    ReleasedEnd,
    ReleasedGap,
    ReleasedQuiet,
    ReleasedUtterance,
)
from qa_service.domain.entries import CallEnded, CallStarted, LegEnded, LegStarted, LegUpdated
from qa_service.domain.leg import Leg, LegLimits
from qa_service.domain.party import UNANNOUNCED, Party, recall
from qa_service.domain.writes import CallRow, LegRow, StoredCall
from qa_service.protocol.config import LANGUAGES, Extensions, SessionConfig, TurnDetection
from qa_service.protocol.events import ServerEvent, SessionUpdated

Outcome: TypeAlias = Literal["accepted", "repeated", "without_effect"]
"""What became of a record; ``without_effect``: an end of something that is not there, or ended already."""

CALM_TICK_S: Final = 0.5
"""Time-outs are looked at so often while audio flows: the shortest that is left then counts in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """What a deployment decides about all calls."""

    limits: LegLimits = field(default_factory=LegLimits)
    idle_ms: int = 60_000
    """Record time without a record of a leg that ends it."""
    default_language: str | None = None
    vad_threshold: float = 0.2
    recording_template: str | None = None


class Call:
    """One call; collect what it decided with :meth:`take_outputs` after each step."""

    def __init__(
        self,
        call_id: str,
        *,
        origin_ts: int,
        rule_set_hash: str,
        rules: CallRules,
        policy: CallPolicy,
    ) -> None:
        self.call_id = call_id
        self.origin_ts = origin_ts
        self.rule_set_hash = rule_set_hash
        self.control_offset = -1
        """Offset of the newest applied record that was not audio."""
        self.ended = False
        self.parties: dict[str, Party] = {}
        self.is_ending = False
        """``call_end`` was seen."""
        self.gives_up = False
        """Whether the audio of its legs is given up (reason ``capacity``)."""
        self.begun_at: int | None = None
        """Record it began with; None: it was taken up as it was stored."""
        self._ticked_at = 0.0
        """When time-outs were last looked at (monotonic seconds)."""
        self._policy = policy
        self._log = CallLog(call_id, rules=rules, recording_template=policy.recording_template)
        self._dispatch: dict[type, Callable[..., Outcome]] = {
            AudioFrame: self._take_audio,
            LegStart: self._take_start,
            LegUpdate: self._take_update,
            LegPause: self._take_pause,
            LegResume: self._take_resume,
            LegStop: self._take_stop,
            CallEnd: self._take_call_end,
        }

    @classmethod
    def begin(
        cls, call_id: str, *, origin_ts: int, rule_set_hash: str, rules: CallRules, policy: CallPolicy
    ) -> Call:
        """Open a call that was never seen before."""
        call = cls(call_id, origin_ts=origin_ts, rule_set_hash=rule_set_hash, rules=rules, policy=policy)
        call._log.add(None, 0, 0, CallStarted(rule_set_hash, origin_ts))
        return call

    @classmethod
    def restore(cls, stored: StoredCall, *, rules: CallRules, policy: CallPolicy) -> Call:
        """Take up a call where another worker left it: the rules' state comes from the log."""
        row = stored.call
        call = cls(
            row.call_id,
            origin_ts=row.origin_ts,
            rule_set_hash=row.rule_set_hash,
            rules=rules,
            policy=policy,
        )
        call.control_offset, call.ended = row.control_offset, row.ended
        call.parties = {leg_row.leg_id: Party.restore(leg_row, policy.limits) for leg_row in stored.legs}
        recall(call.parties, stored.entries)
        call._log.recall(stored.entries, call_seq=row.call_seq)
        return call

    # --- what comes in ----------------------------------------------------------------------------

    def handle(self, record: Record, offset: int, *, record_ms: int, now: float) -> Outcome:
        """Take a record of this call.

        ``record_ms`` is the newest record time of the partition (Unix ms): the clocks of those who publish to
        it differ, and it is by this one that a leg is idle. ``now`` is monotonic seconds. Raises
        ContractViolation for what cannot be used although each header is well-formed.
        """
        outcome = self._dispatch[type(record)](record, offset, now)
        if not isinstance(record, CallEnd) and (party := self.parties.get(record.leg)) is not None:
            party.last_record_ms = record_ms
            party.last_record_at = now
            if party.leg.has_outputs:
                self._collect(party)
        return outcome

    def take_next(self, frame: AudioFrame, offset: int, *, record_ms: int, now: float) -> bool | None:
        """Take a frame that simply follows the one before it on its leg, as nearly all do: the short way.

        Tells whether it decided anything; None, and nothing is changed, if :meth:`handle` has to see it.
        """
        party = self.parties.get(frame.leg)
        if party is None or not party.is_anchored:
            return None
        has_decided = party.leg.accept_next(frame, offset, now=now)
        if has_decided is not None:
            party.has_audio = True
            party.last_record_ms = record_ms
            party.last_record_at = now
            if has_decided:
                self._collect(party)
        return has_decided

    def receive(self, leg_id: str, number: int, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take an event of a leg's recogniser session."""
        party = self.parties[leg_id]
        party.leg.receive(number, event, now=now, at_ms=at_ms)
        if isinstance(event, SessionUpdated) and party.policy != "on":
            # Extensions are honoured as a whole or not at all.
            honoured = event.config.extensions.progress and not event.config.extensions.emotion
            party.enforced_by = "recogniser" if honoured else "boundary"
            self._log.outputs.dirty_legs.add(leg_id)
        self._collect(party)

    def session_lost(self, leg_id: str, number: int, *, now: float) -> None:
        """A leg's recogniser session is gone."""
        party = self.parties[leg_id]
        party.leg.session_lost(number, now=now)
        self._collect(party)

    def is_calm(self, *, now: float, read_until: float) -> bool:
        """Whether :meth:`tick` can wait: it came a moment ago, and audio flows on all legs."""
        if now - self._ticked_at >= CALM_TICK_S:
            return False
        return all(p.leg.ended or p.leg.is_calm(read_until=read_until) for p in self.parties.values())

    def tick(self, *, now: float, record_ms: int, read_until: float) -> None:
        """Let time-outs act; ``record_ms`` is the newest record time of the partition.

        ``read_until``: whatever was published before this moment has been read (monotonic seconds).
        """
        self._ticked_at = now
        idle_ms = self._policy.idle_ms
        idle = [
            party.waited_ms(now=now, record_ms=record_ms, read_until=read_until) >= idle_ms
            for party in self.parties.values()
        ]
        for party, is_idle in zip(self.parties.values(), idle, strict=True):
            if is_idle and not party.is_over:
                party.leg.end("idle", now=now)
            if not party.leg.ended:
                party.leg.tick(now=now, read_until=read_until)
            self._collect(party)
        if all(idle):
            self._end_if_over(expected=True)

    def note_deleted_records(self) -> None:
        """Records of the partition were deleted before they were read."""
        for party in self.parties.values():
            if not party.leg.ended:
                party.leg.note_deleted_records()

    def give_up_audio(self, *, on: bool, now: float) -> None:
        """Keep no audio of any leg, or keep it again; what was given up so far becomes gaps."""
        self.gives_up = on
        for party in self.parties.values():
            if on:
                party.leg.begin_giving_up()
                party.leg.settle_given_up(now=now)
            else:
                party.leg.end_giving_up(now=now)
            self._collect(party)

    def let_go(self, reason: str, *, now: float) -> None:
        """Give the sessions of all legs up; the call is somebody else's."""
        for party in self.parties.values():
            party.leg.replace_session(reason, now=now)
            self._collect(party)

    def session_config(self, leg_id: str) -> SessionConfig:
        """Tell how a leg's recogniser session is to be configured."""
        party = self.parties[leg_id]
        language = (party.info.language or self._policy.default_language or "").split("-")[0].lower()
        return SessionConfig(
            sample_rate=party.leg.rate,
            language=language if language in LANGUAGES else None,
            turn_detection=TurnDetection(
                threshold=self._policy.vad_threshold, silence_duration_ms=self._policy.limits.silence_ms
            ),
            extensions=Extensions(
                progress=True,
                emotion=party.allows_emotion(party.leg.covered_until),
                emotion_detail=True,
                leg_state=party.leg.recogniser_state or True,
            ),
        )

    # --- what goes out ----------------------------------------------------------------------------

    def take_outputs(self) -> CallOutputs:
        """Return what was decided since the last call."""
        return self._log.take_outputs()

    @property
    def outputs(self) -> CallOutputs:
        """What was decided and nobody has taken yet; what is not stored may be taken out of it."""
        return self._log.outputs

    @property
    def first_uncovered_offset(self) -> int | None:
        """First record that a successor would have to read again for this call."""
        offsets = (party.first_uncovered_offset for party in self.parties.values())
        return min((offset for offset in offsets if offset is not None), default=None)

    @property
    def is_far_behind(self) -> bool:
        """Whether a leg has so much audio waiting that reading on would soon overflow its buffer."""
        return any(party.leg.is_far_behind for party in self.parties.values())

    @property
    def live_legs(self) -> int:
        """Legs that have not ended."""
        return sum(not party.leg.ended for party in self.parties.values())

    @property
    def served_legs(self) -> int:
        """Legs that have not ended, and whose audio is not given up."""
        return sum(party.leg.is_served for party in self.parties.values())

    @property
    def awaits_results(self) -> bool:
        """Whether the recogniser owes a final for speech that has ended."""
        return any(party.leg.awaits_result for party in self.parties.values())

    def row(self) -> CallRow:
        """The state to store."""
        tenants = (party.info.tenant for party in self.parties.values() if party.info.tenant)
        return CallRow(
            call_id=self.call_id,
            rule_set_hash=self.rule_set_hash,
            origin_ts=self.origin_ts,
            call_seq=self._log.call_seq,
            control_offset=self.control_offset,
            tenant=next(tenants, None),
            ended=self.ended,
        )

    def leg_row(self, leg_id: str) -> LegRow:
        """The state of a leg to store."""
        return self.parties[leg_id].row(self.call_id)

    # --- records ----------------------------------------------------------------------------------

    def _take_audio(self, record: AudioFrame, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        codec = record.codec or (party.leg.codec if party is not None else DEFAULT_CODEC)
        rate = party.leg.rate if party is not None else record.rate or DEFAULT_RATE
        samples = count_samples(codec, record.audio, rate)
        if party is None:
            party = self._open(
                record.leg, UNANNOUNCED, offset, ts=record.ts, codec=codec, rate=record.rate, audio=record
            )
        elif record.rate is not None and record.rate != party.leg.rate:
            raise _rate_changed(party, record.rate)
        if not party.is_anchored:
            party.anchor(record.ts - self.origin_ts, record.pos, begins_at=_beginning(record))
        leg = party.leg
        arrival = Arrival(record.pos, samples, record.seq, offset, codec, record.audio)
        refusal = leg.refusal(arrival)
        if refusal is not None:
            _raise_if_contradictory(party, refusal, record)
            return "repeated"
        if leg.ended or leg.is_ending:
            self._reopen(party)
            self._log_opened(party, offset)
        party.has_audio = True
        leg.accept(arrival, now=now)
        return "accepted"

    def _take_start(self, record: LegStart, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        if party is None:
            self._open(record.leg, record.info, offset, ts=record.ts, codec=record.codec, rate=record.rate)
            return "accepted"
        if offset <= self.control_offset:
            return "repeated"
        if party.has_audio and record.rate != party.leg.rate:
            raise _rate_changed(party, record.rate)
        was_over = party.is_over
        if not party.has_audio:
            paused = party.leg.paused
            party.leg = Leg(codec=record.codec, rate=record.rate, paused=paused, limits=self._policy.limits)
            if self.gives_up:
                party.leg.begin_giving_up()
            party.anchor(record.ts - self.origin_ts, 0)
        party.leg.change_codec(record.codec)
        if was_over:
            self._reopen(party)
        self._describe(party, record.info, explicit=True, now=now)
        if was_over:
            self._log_opened(party, offset)
        else:
            self._log_updated(party, offset)
        return "accepted"

    def _take_update(self, record: LegUpdate, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        if party is None:
            party = self._open(record.leg, UNANNOUNCED, offset, ts=record.ts, is_anchored=False)
        elif offset <= self.control_offset:
            return "repeated"
        explicit = party.role_is_explicit or record.change.role is not msgspec.UNSET
        self._describe(party, apply_change(party.info, record.change), explicit=explicit, now=now)
        self._log_updated(party, offset)
        return "accepted"

    def _take_pause(self, record: LegPause, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        if party is None:
            party = self._open(record.leg, UNANNOUNCED, offset, ts=record.ts, is_anchored=False)
        # A leg that has ended has nothing to tell of a pause; its row keeps that it is paused.
        if not party.leg.ended and (party.pause_offset is None or party.leg.pause_is_released):
            party.pause_offset = offset
        party.leg.pause(now=now)
        self._note_control(party, offset)
        return "accepted"

    def _take_resume(self, record: LegResume, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        if party is None or not party.leg.paused:
            return "without_effect"
        party.leg.resume(now=now)
        self._note_control(party, offset)
        return "accepted"

    def _take_stop(self, record: LegStop, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        if party is None or party.leg.ended or party.end_offset is not None:
            return "without_effect"
        if offset < party.opened_offset:
            return "repeated"
        self._end_leg(party, "stop", offset, now=now)
        return "accepted"

    def _take_call_end(self, record: CallEnd, offset: int, now: float) -> Outcome:  # noqa: ARG002 - one shape for all records
        if self.ended:
            return "without_effect"
        if any(offset < party.opened_offset for party in self.parties.values()):
            return "repeated"
        self.is_ending = True
        self.control_offset = max(self.control_offset, offset)
        for party in self.parties.values():
            if not party.leg.ended:
                self._end_leg(party, "call_end", offset, now=now)
                self._collect(party)
        self._end_if_over(expected=True)
        return "accepted"

    def _open(
        self,
        leg_id: str,
        info: LegInfo,
        offset: int,
        *,
        ts: int,
        codec: Codec = DEFAULT_CODEC,
        rate: int | None = None,
        audio: AudioFrame | None = None,
        is_anchored: bool = True,
    ) -> Party:
        party = self.parties[leg_id] = Party(
            leg_id,
            Leg(codec=codec, rate=rate or DEFAULT_RATE, limits=self._policy.limits),
            info,
            role_is_explicit=info is not UNANNOUNCED,
            origin_ms=0,
        )
        if audio is None:
            party.anchor(ts - self.origin_ts, 0)
        else:
            party.anchor(ts - self.origin_ts, audio.pos, begins_at=_beginning(audio))
        party.is_anchored = is_anchored
        if self.gives_up:
            party.leg.begin_giving_up()
        self._log_opened(party, offset)
        return party

    def _end_leg(self, party: Party, reason: EndReason, offset: int, *, now: float) -> None:
        party.leg.end(reason, now=now)
        if party.end_offset is None:
            party.end_offset = offset
        self._note_control(party, offset)

    def _reopen(self, party: Party) -> None:
        """Go on with a leg that had ended, or was about to, where its coverage ends."""
        party.leg.reopen()
        party.end_offset = None
        self.is_ending = False

    def _describe(self, party: Party, info: LegInfo, *, explicit: bool, now: float) -> None:
        """Take what is known of a leg from now on; its recogniser is to follow at once."""
        was_on, before = party.policy == "on", self.session_config(party.leg_id)
        party.info, party.role_is_explicit = info, explicit
        if party.policy == "on" and not was_on:
            # What was said before stays with a session that may not look at emotions.
            party.emotion_from = party.leg.received_until
            party.leg.finish_session(now=now)
        elif self.session_config(party.leg_id) != before:
            party.leg.replace_session("the leg's description changed", now=now)
        if was_on and party.policy != "on":
            party.leg.recogniser_state = None  # what was learnt of the voice is nobody's business any more

    def _log_opened(self, party: Party, offset: int) -> None:
        self.ended = False
        party.opened_offset = offset
        self._note_control(party, offset)
        at = party.call_ms(party.leg.covered_until)
        started = LegStarted(
            codec=party.leg.codec, rate=party.leg.rate, **party.describe(), source_offset=offset
        )
        self._log.add(party.leg_id, at, at, started)

    def _log_updated(self, party: Party, offset: int) -> None:
        self._note_control(party, offset)
        at = party.call_ms(party.leg.received_until)
        self._log.add(party.leg_id, at, at, LegUpdated(**party.describe(), source_offset=offset))

    def _note_control(self, party: Party, offset: int) -> None:
        self.control_offset = max(self.control_offset, offset)
        self._log.outputs.dirty_legs.add(party.leg_id)

    @property
    def _has_live_legs(self) -> bool:
        return any(not party.leg.ended for party in self.parties.values())

    def _end_if_over(self, *, expected: bool) -> None:
        if expected and not self.ended and not self._has_live_legs:
            self.ended = True
            at = max((party.call_ms(party.leg.covered_until) for party in self.parties.values()), default=0)
            self._log.add(None, at, at, CallEnded())

    # --- what legs decided ------------------------------------------------------------------------

    def _collect(self, party: Party) -> None:
        """Turn what a leg decided into log entries, actions and partials."""
        for output in party.leg.take_outputs():
            if type(output) is Append:
                self._log.outputs.actions.append((party.leg_id, output))
            else:
                self._apply(party, output)
        self._end_if_over(expected=self.is_ending)

    def _apply(self, party: Party, output: Output) -> None:
        match output:
            case OpenSession() | FinishSession() | AbandonSession():
                self._log.outputs.actions.append((party.leg_id, output))
            case DamagedPackets():
                self._log.outputs.damaged.append((party.leg_id, output))
            case HeardPartial():
                self._log.pass_partial(party, output)
            case ReleasedUtterance():
                self._log.add_utterance(party, output)
            case ReleasedQuiet():
                self._log.add_quiet(party, output)
            case ReleasedGap():
                self._log.add_gap(party, output)
            case ReleasedEnd(reason=reason):
                self._log_ended(party, reason)

    def _log_ended(self, party: Party, reason: EndReason) -> None:
        at = party.call_ms(party.leg.covered_until)
        party.end_offset = party.pause_offset = None
        self._log.add(party.leg_id, at, at, LegEnded(reason))


def _beginning(first: AudioFrame) -> int:
    """Position at which a leg begins that nobody announced, by the audio that is read first."""
    # Frames are numbered from 0 on: one of the next few may have overtaken those before it.
    return 0 if 0 < first.seq <= REORDER_WINDOW else first.pos


def _rate_changed(party: Party, rate: int) -> ContractViolation:
    return ContractViolation(
        Reason.RATE_CHANGED,
        f"header 'rate' of leg {party.leg_id!r} changed from {party.leg.rate} to {rate} during the call: "
        "keep one rate a leg, or open another leg",
    )


def _raise_if_contradictory(party: Party, refusal: Refusal, record: AudioFrame) -> None:
    """Raise for a frame that contradicts those before it; a mere repetition passes."""
    if refusal == "runs_backwards":
        raise ContractViolation(
            Reason.POSITION_RUNS_BACKWARDS,
            f"header 'pos' of leg {party.leg_id!r} ran backwards to {record.pos} while 'seq' went on to "
            f"{record.seq}, and audio up to {party.leg.received_until} is known: count positions from the "
            "leg's first sample on",
        )
    if refusal == "jumps_ahead":
        raise ContractViolation(
            Reason.POSITION_JUMPS_AHEAD,
            f"header 'pos' of leg {party.leg_id!r} jumped to {record.pos}, over a day beyond "
            f"{party.leg.received_until}: count positions in samples from the leg's first one on",
        )
