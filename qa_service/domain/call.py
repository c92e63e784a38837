"""A call: its legs on one clock, and the log that everything else is derived from.

Decided here: which record opens, changes or ends a leg; what an utterance may say once it is stored
(redaction, and whose emotion may be known at all); in which order entries are numbered; and what is
announced. Records that come again after a restart change nothing: audio is clipped at what is covered, and
the other records at :attr:`Call.control_offset`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from qa_service.contract.codecs import DEFAULT_CODEC, DEFAULT_RATE, Codec, count_samples
from qa_service.contract.errors import ContractViolation, Reason
from qa_service.contract.info import Consent, LegInfo, apply_change
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
from qa_service.domain.announcements import PartialData, announce_incident, announce_utterance
from qa_service.domain.arrival import Arrival, Refusal
from qa_service.domain.coverage import (
    EndReason,
    ReleasedEnd,
    ReleasedGap,
    ReleasedQuiet,
    ReleasedUtterance,
)
from qa_service.domain.emotions import EMOTIONS, Emotion, EmotionPolicy, decide_emotion_policy
from qa_service.domain.entries import (
    Body,
    CallEnded,
    CallStarted,
    Gap,
    LegEnded,
    LegStarted,
    LegUpdated,
    LogEntry,
    Quiet,
    Utterance,
)
from qa_service.domain.identities import utterance_id
from qa_service.domain.incidents import IncidentChange
from qa_service.domain.leg import (
    AbandonSession,
    Action,
    Append,
    FinishSession,
    HeardPartial,
    Leg,
    LegLimits,
    OpenSession,
    Output,
)
from qa_service.domain.redaction import Redactor, redact_partial_pair
from qa_service.domain.writes import CallRow, LegRow, OutboxEvent, StoredCall
from qa_service.protocol.config import LANGUAGES, Extensions, SessionConfig, TurnDetection
from qa_service.protocol.events import Partial, ServerEvent, SessionUpdated

Outcome: TypeAlias = Literal["accepted", "repeated", "without_effect"]
"""What became of a record; ``without_effect``: an end of something that is not there, or ended already."""


class CallRules(Protocol):
    """The rules a call is pinned to, as far as this module needs them."""

    def feed(self, entry: LogEntry) -> tuple[IncidentChange, ...]:
        """Take the next log entry; return what changed by it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPolicy:
    """What a deployment decides about all calls."""

    limits: LegLimits = field(default_factory=LegLimits)
    idle_ms: int = 60_000
    """Record time without a record of a leg that ends it."""
    default_language: str | None = None
    vad_threshold: float = 0.2
    recording_template: str | None = None


@dataclass(slots=True)
class Party:
    """A leg, who is on it, and where it stands on the call's clock."""

    leg_id: str
    leg: Leg
    info: LegInfo
    role_is_explicit: bool
    origin_ms: int
    """Call time of position zero."""
    ordinal: int = 0
    enforced_by: Literal["recogniser", "boundary", "none"] = "none"
    last_record_ms: int = 0
    """Record time (Unix ms) of its newest record."""
    last_record_at: float | None = None
    """Monotonic seconds at which that one was read; None: none was, since the leg was taken over."""
    has_audio: bool = False
    is_anchored: bool = True
    """Whether it is known where position zero lies; without a ``start`` the first audio tells."""
    opened_offset: int = -1
    """Record that opened or reopened the leg: an end from before it is an old one."""
    end_offset: int | None = None
    """Record that announced the end, while results are still awaited."""
    pause_offset: int | None = None
    """Record that began a pause, while its gap is not released."""
    emotion_from: int = 0
    """Position from which on the policy has been on: what was said before stays nobody's business."""

    @property
    def policy(self) -> EmotionPolicy:
        """Whether this speaker's emotion may be inferred, and if not, why."""
        return decide_emotion_policy(
            role=self.info.role,
            role_is_explicit=self.role_is_explicit,
            emotion_consent=self.info.consent.emotion,
        )

    @property
    def is_over(self) -> bool:
        """Whether the leg has ended, or its end was announced."""
        return self.leg.ended or self.leg.is_ending

    @property
    def first_uncovered_offset(self) -> int | None:
        """First record that a successor would have to read again."""
        pause_offset = None if self.leg.pause_is_released else self.pause_offset
        offsets = (self.leg.first_uncovered_offset, self.end_offset, pause_offset)
        return min((offset for offset in offsets if offset is not None), default=None)

    def call_ms(self, position: int) -> int:
        """Call time of a position."""
        return self.origin_ms + position * 1000 // self.leg.rate

    def allows_emotion(self, position: int) -> bool:
        """Whether the emotion of what was said at a position may be known."""
        return self.policy == "on" and position >= self.emotion_from


@dataclass(slots=True)
class CallOutputs:
    """What a call decided and nobody has taken yet."""

    actions: list[tuple[str, Action]] = field(default_factory=list)
    entries: list[LogEntry] = field(default_factory=list)
    incidents: list[IncidentChange] = field(default_factory=list)
    outbox: list[OutboxEvent] = field(default_factory=list)
    partials: list[PartialData] = field(default_factory=list)
    dirty_legs: set[str] = field(default_factory=set)
    """Legs whose row has changed."""

    @property
    def is_due(self) -> bool:
        """Whether there is anything to take."""
        return bool(self.entries or self.actions or self.dirty_legs or self.partials)


class Call:
    """One call; every method is a step from an input to :attr:`outputs`."""

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
        self.call_seq = 0
        self.control_offset = -1
        """Offset of the newest applied record that was not audio."""
        self.ended = False
        self.parties: dict[str, Party] = {}
        self.outputs = CallOutputs()
        self.is_ending = False
        """``call_end`` was seen."""
        self._rules = rules
        self._policy = policy
        self._redactor = Redactor()
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
        call._log(None, 0, 0, CallStarted(rule_set_hash, origin_ts))
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
        call.call_seq, call.control_offset = row.call_seq, row.control_offset
        call.ended = row.ended
        for leg_row in stored.legs:
            call.parties[leg_row.leg_id] = _restore_party(leg_row, policy.limits)
        for entry in stored.entries:
            rules.feed(entry)
            call._redactor.observe(entry)
        _restore_history(call.parties, stored.entries)
        return call

    # --- what comes in ----------------------------------------------------------------------------

    def handle(self, record: Record, offset: int, *, record_ms: int, now: float) -> Outcome:
        """Take a record of this call.

        ``record_ms`` is the record's own time (Unix ms), ``now`` monotonic seconds. Raises
        ContractViolation for what cannot be used although each header is well-formed.
        """
        outcome = self._dispatch[type(record)](record, offset, now)
        if not isinstance(record, CallEnd) and (party := self.parties.get(record.leg)) is not None:
            party.last_record_ms = max(party.last_record_ms, record_ms)
            party.last_record_at = now
            if party.leg.has_outputs:
                self._collect(party)
        return outcome

    def receive(self, leg_id: str, number: int, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take an event of a leg's recogniser session."""
        party = self.parties[leg_id]
        party.leg.receive(number, event, now=now, at_ms=at_ms)
        if isinstance(event, SessionUpdated) and party.policy != "on":
            # Extensions are honoured as a whole or not at all.
            honoured = event.config.extensions.progress and not event.config.extensions.emotion
            party.enforced_by = "recogniser" if honoured else "boundary"
            self.outputs.dirty_legs.add(leg_id)
        self._collect(party)

    def session_lost(self, leg_id: str, number: int, *, now: float) -> None:
        """A leg's recogniser session is gone."""
        party = self.parties[leg_id]
        party.leg.session_lost(number, now=now)
        self._collect(party)

    def tick(self, *, now: float, record_ms: int, caught_up: bool) -> None:
        """Let time-outs act; ``record_ms`` is the newest record time of the partition."""
        idle = [self._is_idle(party, now, record_ms) and caught_up for party in self.parties.values()]
        for party, is_idle in zip(self.parties.values(), idle, strict=True):
            if is_idle and not party.is_over:
                party.leg.end("idle", now=now)
            if not party.leg.ended:
                party.leg.tick(now=now, caught_up=caught_up)
            self._collect(party)
        if all(idle):
            self._end_if_over(expected=True)

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
                progress=True, emotion=party.allows_emotion(party.leg.covered_until), emotion_detail=True
            ),
        )

    # --- what goes out ----------------------------------------------------------------------------

    def take_outputs(self) -> CallOutputs:
        """Return what was decided since the last call."""
        outputs, self.outputs = self.outputs, CallOutputs()
        return outputs

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
            call_seq=self.call_seq,
            control_offset=self.control_offset,
            tenant=next(tenants, None),
            ended=self.ended,
        )

    def leg_row(self, leg_id: str) -> LegRow:
        """The state of a leg to store."""
        party = self.parties[leg_id]
        info = party.info
        return LegRow(
            call_id=self.call_id,
            leg_id=leg_id,
            role=info.role,
            role_is_explicit=party.role_is_explicit,
            emotion_policy=party.policy,
            emotion_enforced_by=party.enforced_by,
            codec=party.leg.codec,
            rate=party.leg.rate,
            tenant=info.tenant,
            agent_id=info.agent_id,
            queue=info.queue,
            direction=info.direction,
            language=info.language,
            subject=info.subject,
            attributes=info.attributes,
            origin_ms=party.origin_ms,
            covered_until=party.leg.covered_until,
            ordinal=party.ordinal,
            # As of the first record that would be read again: a pause that comes after it is met again.
            paused=party.leg.paused and not party.leg.has_uncovered_audio,
            ended=party.leg.ended,
            covered_seq=party.leg.covered_seq,
        )

    # --- records ----------------------------------------------------------------------------------

    def _take_audio(self, record: AudioFrame, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        codec = record.codec or (party.leg.codec if party is not None else DEFAULT_CODEC)
        rate = party.leg.rate if party is not None else record.rate or DEFAULT_RATE
        samples = count_samples(codec, record.audio, rate)
        if party is None:
            party = self._open(
                record.leg, _UNKNOWN, offset, ts=record.ts, codec=codec, rate=record.rate, pos=record.pos
            )
        elif record.rate is not None and record.rate != party.leg.rate:
            raise _rate_changed(party, record.rate)
        if not party.is_anchored:
            self._anchor(party, ts=record.ts, pos=record.pos)
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
            self._anchor(party, ts=record.ts, pos=0)
        party.leg.codec = record.codec
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
            party = self._open(record.leg, _UNKNOWN, offset, ts=record.ts, is_anchored=False)
        elif offset <= self.control_offset:
            return "repeated"
        explicit = party.role_is_explicit or record.change.role is not msgspec.UNSET
        self._describe(party, apply_change(party.info, record.change), explicit=explicit, now=now)
        self._log_updated(party, offset)
        return "accepted"

    def _take_pause(self, record: LegPause, offset: int, now: float) -> Outcome:
        party = self.parties.get(record.leg)
        if party is None:
            party = self._open(record.leg, _UNKNOWN, offset, ts=record.ts, is_anchored=False)
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
        pos: int = 0,
        is_anchored: bool = True,
    ) -> Party:
        party = self.parties[leg_id] = Party(
            leg_id,
            Leg(codec=codec, rate=rate or DEFAULT_RATE, limits=self._policy.limits),
            info,
            role_is_explicit=info is not _UNKNOWN,
            origin_ms=0,
        )
        self._anchor(party, ts=ts, pos=pos)
        party.is_anchored = is_anchored
        self._log_opened(party, offset)
        return party

    def _anchor(self, party: Party, *, ts: int, pos: int) -> None:
        """Place a leg without audio on the call's clock: ``pos`` was captured at ``ts``."""
        party.is_anchored = True
        party.origin_ms = ts - pos * 1000 // party.leg.rate - self.origin_ts
        if pos:
            # Nobody told us of a beginning, so nothing is claimed about what was before.
            party.leg.begin_at(pos)

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

    def _log_opened(self, party: Party, offset: int) -> None:
        self.ended = False
        party.opened_offset = offset
        self._note_control(party, offset)
        at = party.call_ms(party.leg.covered_until)
        started = LegStarted(
            codec=party.leg.codec, rate=party.leg.rate, **_described(party), source_offset=offset
        )
        self._log(party.leg_id, at, at, started)

    def _log_updated(self, party: Party, offset: int) -> None:
        self._note_control(party, offset)
        at = party.call_ms(party.leg.received_until)
        self._log(party.leg_id, at, at, LegUpdated(**_described(party), source_offset=offset))

    def _note_control(self, party: Party, offset: int) -> None:
        self.control_offset = max(self.control_offset, offset)
        self.outputs.dirty_legs.add(party.leg_id)

    def _is_idle(self, party: Party, now: float, record_ms: int) -> bool:
        """Whether nothing came for a leg for long: by the records of others, or since none come at all."""
        if party.last_record_at is None:  # just taken over: its time begins now
            party.last_record_at = now
        if not party.last_record_ms:
            party.last_record_ms = record_ms
        waited_ms = max(record_ms - party.last_record_ms, (now - party.last_record_at) * 1000)
        return waited_ms >= self._policy.idle_ms

    @property
    def _has_live_legs(self) -> bool:
        return any(not party.leg.ended for party in self.parties.values())

    def _end_if_over(self, *, expected: bool) -> None:
        if expected and not self.ended and not self._has_live_legs:
            self.ended = True
            at = max((party.call_ms(party.leg.covered_until) for party in self.parties.values()), default=0)
            self._log(None, at, at, CallEnded())

    # --- the log ----------------------------------------------------------------------------------

    def _collect(self, party: Party) -> None:
        """Turn what a leg decided into log entries, actions and partials."""
        for output in party.leg.take_outputs():
            self._apply(party, output)
        self._end_if_over(expected=self.is_ending)

    def _apply(self, party: Party, output: Output) -> None:
        match output:
            case OpenSession() | Append() | FinishSession() | AbandonSession():
                self.outputs.actions.append((party.leg_id, output))
            case HeardPartial():
                self._pass_partial(party, output.event, output.start)
            case ReleasedUtterance():
                self._log_utterance(party, output)
            case ReleasedQuiet(start=start, end=end):
                body: Body = Quiet(start_pos=start, end_pos=end, time_source=output.time_source)
                self._log(party.leg_id, party.call_ms(start), party.call_ms(end), body)
            case ReleasedGap(start=start, end=end):
                body = Gap(reason=output.reason, start_pos=start, end_pos=end)
                self._log(party.leg_id, party.call_ms(start), party.call_ms(end), body)
            case ReleasedEnd(reason=reason):
                self._log_end(party, reason)

    def _log_end(self, party: Party, reason: EndReason) -> None:
        at = party.call_ms(party.leg.covered_until)
        party.end_offset = party.pause_offset = None
        self._log(party.leg_id, at, at, LegEnded(reason))

    def _log_utterance(self, party: Party, released: ReleasedUtterance) -> None:
        result = released.result
        start_ms, end_ms = party.call_ms(released.start), party.call_ms(released.end)
        text, redactions = self._redactor.redact(party.leg_id, result.transcript.strip(), start_ms, end_ms)
        party.ordinal += 1
        emotion, confidence, abstained = _judge_emotion(party, released)
        body = Utterance(
            utterance_id=utterance_id(self.call_id, party.leg_id, party.ordinal),
            ordinal=party.ordinal,
            text=text,
            language=result.language,
            emotion=emotion,
            emotion_confidence=confidence,
            emotion_abstained=abstained,
            start_pos=released.start,
            end_pos=released.end,
            time_source=released.time_source,
            engine=result.detail.engine or None if result.detail else None,
            model=result.detail.model or None if result.detail else None,
            redactions=redactions,
            final_at=released.final_at_ms,
        )
        entry = self._log(party.leg_id, start_ms, end_ms, body)
        self.outputs.outbox.append(announce_utterance(entry, body, role=party.info.role))

    def _pass_partial(self, party: Party, event: Partial, start: int) -> None:
        text, stash = redact_partial_pair(event.text, event.stash)
        self.outputs.partials.append(
            PartialData(
                call_id=self.call_id,
                leg=party.leg_id,
                role=party.info.role,
                text=text,
                stash=stash,
                language=event.language,
                emotion=_known_emotion(event.judged_emotion) if party.allows_emotion(start) else None,
                at_ms=party.call_ms(start),
            )
        )

    def _log(self, leg_id: str | None, start_ms: int, end_ms: int, body: Body) -> LogEntry:
        """Number an entry, and let the rules see it."""
        self.call_seq += 1
        entry = LogEntry(
            call_id=self.call_id,
            call_seq=self.call_seq,
            leg_id=leg_id,
            start_ms=start_ms,
            end_ms=end_ms,
            body=body,
        )
        self.outputs.entries.append(entry)
        if leg_id is not None:
            self.outputs.dirty_legs.add(leg_id)
        final_at = body.final_at if isinstance(body, Utterance) else None
        for change in self._rules.feed(entry):
            self.outputs.incidents.append(change)
            self.outputs.outbox.append(
                announce_incident(
                    change, recording_template=self._policy.recording_template, final_at=final_at
                )
            )
        return entry


_UNKNOWN = LegInfo(role="other")
"""What is known of a leg that nobody announced."""


def _known_emotion(label: str | None) -> Emotion | None:
    """Take a label of the protocol; a vendor may send others some day."""
    return next((emotion for emotion in EMOTIONS if emotion == label), None)


def _judge_emotion(party: Party, released: ReleasedUtterance) -> tuple[Emotion | None, float | None, bool]:
    """Keep what the policy of the leg allows: emotion, confidence, abstention; the rest is dropped here."""
    if not party.allows_emotion(released.start):
        return None, None, False
    result = released.result
    emotion = _known_emotion(result.judged_emotion)
    if result.detail is None:
        return emotion, None, False
    confidence = None if emotion is None else result.detail.emotion_confidence
    return emotion, confidence, result.detail.emotion_abstained


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


def _described(party: Party) -> dict[str, Any]:
    """Give the members that :class:`LegStarted` and :class:`LegUpdated` share."""
    info = party.info
    return {
        "role": info.role,
        "role_is_explicit": party.role_is_explicit,
        "emotion_policy": party.policy,
        "tenant": info.tenant,
        "agent_id": info.agent_id,
        "queue": info.queue,
        "direction": info.direction,
        "language": info.language,
        "subject": info.subject,
        "attributes": info.attributes,
    }


def _restore_party(row: LegRow, limits: LegLimits) -> Party:
    leg = Leg(
        codec=row.codec,  # type: ignore[arg-type]
        rate=row.rate,
        covered_until=row.covered_until,
        covered_seq=row.covered_seq,
        paused=row.paused,
        ended=row.ended,
        limits=limits,
    )
    info = LegInfo(
        role=row.role,
        tenant=row.tenant,
        agent_id=row.agent_id,
        queue=row.queue,
        direction=row.direction,  # type: ignore[arg-type]
        language=row.language,
        consent=Consent(emotion=False if row.emotion_policy == "off_opt_out" else None),
        subject=row.subject,
        attributes=row.attributes,
    )
    return Party(
        row.leg_id,
        leg,
        info,
        role_is_explicit=row.role_is_explicit,
        origin_ms=row.origin_ms,
        ordinal=row.ordinal,
        enforced_by=row.emotion_enforced_by,
        has_audio=row.covered_until > 0,
        is_anchored=row.covered_until > 0 or row.role_is_explicit,
    )


def _restore_history(parties: dict[str, Party], entries: Iterable[LogEntry]) -> None:
    """Find in the log what no row tells: what opened the legs last, and since when emotions are allowed."""
    policies: dict[str, EmotionPolicy] = {}
    for entry in entries:
        body, party = entry.body, parties.get(entry.leg_id or "")
        if party is None or not isinstance(body, LegStarted | LegUpdated):
            continue
        if isinstance(body, LegStarted):
            party.opened_offset = body.source_offset
        if body.emotion_policy == "on" and policies.get(party.leg_id, "on") != "on":
            # Call time is rounded down to milliseconds: this is the position, or up to one of them later.
            party.emotion_from = (entry.start_ms + 1 - party.origin_ms) * party.leg.rate // 1000
        policies[party.leg_id] = body.emotion_policy
