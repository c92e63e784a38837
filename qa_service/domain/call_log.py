"""The log of one call as it is written: what is known of the call, in the order in which it became known.

Decided here: what an utterance may say once it is stored (redaction, and whose emotion may be known at all),
how entries are numbered, and what is announced. The rules see each entry as it is numbered, so that what they
raise stands in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypedDict

from qa_service.domain.actions import Action, DamagedPackets, HeardPartial
from qa_service.domain.announcements import PartialData, announce_incident, announce_utterance
from qa_service.domain.coverage import ReleasedGap, ReleasedQuiet, ReleasedUtterance
from qa_service.domain.emotions import known_emotion
from qa_service.domain.entries import Body, CallEnded, EarlyWords, Gap, LogEntry, Quiet, Utterance
from qa_service.domain.identities import utterance_id
from qa_service.domain.incidents import IncidentChange
from qa_service.domain.party import Party
from qa_service.domain.redaction import Redactor, redact_partial_pair
from qa_service.domain.scores import CallScore
from qa_service.domain.writes import OutboxEvent
from qa_service.protocol.events import EMOTIONS, Emotion


class CallRules(Protocol):
    """The rules a call is pinned to, as far as this module needs them."""

    def feed(self, entry: LogEntry) -> tuple[IncidentChange, ...]:
        """Take the next log entry; return what changed by it."""
        ...

    def score(self) -> CallScore | None:
        """Grade the call by what is known of it; None if nothing is to be graded."""
        ...

    @property
    def has_early(self) -> bool:
        """Whether words of an utterance that is not finished can raise any rule."""
        ...

    def would_raise(self, leg_id: str, text: str, language: str | None, at_ms: int) -> bool:
        """Tell whether such words would raise a rule now."""
        ...


@dataclass(slots=True)
class CallOutputs:
    """What a call decided and nobody has taken yet."""

    actions: list[tuple[str, Action]] = field(default_factory=list)
    entries: list[LogEntry] = field(default_factory=list)
    incidents: list[IncidentChange] = field(default_factory=list)
    outbox: list[OutboxEvent] = field(default_factory=list)
    scores: list[CallScore] = field(default_factory=list)
    partials: list[PartialData] = field(default_factory=list)
    damaged: list[tuple[str, DamagedPackets]] = field(default_factory=list)
    dirty_legs: set[str] = field(default_factory=set)
    """Legs whose row has changed."""


class CallLog:
    """Writes the log of a call; what it decides is in :attr:`outputs`."""

    def __init__(self, call_id: str, *, rules: CallRules, recording_template: str | None) -> None:
        self.call_id = call_id
        self.call_seq = 0
        """Number of the newest entry."""
        self.outputs = CallOutputs()
        self._rules = rules
        self._recording_template = recording_template
        self._redactor = Redactor()

    def recall(self, entries: Iterable[LogEntry], *, call_seq: int) -> None:
        """Go on after the stored entries: the state of rules and redaction comes from them."""
        self.call_seq = call_seq
        for entry in entries:
            self._rules.feed(entry)
            self._redactor.observe(entry)

    def take_outputs(self) -> CallOutputs:
        """Return what was decided since the last call."""
        outputs, self.outputs = self.outputs, CallOutputs()
        return outputs

    def add(self, leg_id: str | None, start_ms: int, end_ms: int, body: Body) -> LogEntry:
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
        outputs = self.outputs
        outputs.entries.append(entry)
        if leg_id is not None:
            outputs.dirty_legs.add(leg_id)
        final_at = body.final_at if isinstance(body, Utterance) else None
        for change in self._rules.feed(entry):
            outputs.incidents.append(change)
            outputs.outbox.append(
                announce_incident(change, recording_template=self._recording_template, final_at=final_at)
            )
        if isinstance(body, CallEnded) and (score := self._rules.score()) is not None:
            outputs.scores.append(score)
        return entry

    def add_utterance(self, party: Party, released: ReleasedUtterance) -> None:
        """Log a finished turn, redacted, with the emotion that may be known, and announce it."""
        result, detail = released.result, released.result.detail
        start_ms, end_ms = party.call_ms(released.start), party.call_ms(released.end)
        text, redactions = self._redactor.redact(party.leg_id, result.transcript.strip(), start_ms, end_ms)
        party.ordinal += 1
        body = Utterance(
            utterance_id=utterance_id(self.call_id, party.leg_id, party.ordinal),
            ordinal=party.ordinal,
            text=text,
            language=result.language,
            **_judge_emotion(party, released),
            start_pos=released.start,
            end_pos=released.end,
            time_source=released.time_source,
            engine=detail.engine or None if detail else None,
            model=detail.model or None if detail else None,
            loudness_dbfs=released.loudness_dbfs,
            redactions=redactions,
            final_at=released.final_at_ms,
        )
        entry = self.add(party.leg_id, start_ms, end_ms, body)
        self.outputs.outbox.append(announce_utterance(entry, body, role=party.info.role))

    def add_quiet(self, party: Party, released: ReleasedQuiet) -> None:
        """Log a stretch that was heard and holds no speech."""
        start, end = released.start, released.end
        body = Quiet(start_pos=start, end_pos=end, time_source=released.time_source)
        self.add(party.leg_id, party.call_ms(start), party.call_ms(end), body)

    def add_gap(self, party: Party, released: ReleasedGap) -> None:
        """Log a stretch that nobody transcribed."""
        start, end = released.start, released.end
        body = Gap(reason=released.reason, start_pos=start, end_pos=end)
        self.add(party.leg_id, party.call_ms(start), party.call_ms(end), body)

    def pass_partial(self, party: Party, heard: HeardPartial) -> None:
        """Pass on an intermediate result; the log holds only one whose stable words raise a rule early."""
        event = heard.event
        text, stash = redact_partial_pair(event.text, event.stash)
        at_ms = party.call_ms(heard.start)
        if self._rules.has_early and self._rules.would_raise(party.leg_id, text, event.language, at_ms):
            words = EarlyWords(ordinal=party.ordinal + 1, text=text, language=event.language)
            self.add(party.leg_id, at_ms, at_ms, words)
        allows_emotion = party.allows_emotion(heard.start)
        self.outputs.partials.append(
            PartialData(
                call_id=self.call_id,
                leg=party.leg_id,
                role=party.info.role,
                text=text,
                stash=stash,
                language=event.language,
                emotion=known_emotion(event.judged_emotion) if allows_emotion else None,
                at_ms=at_ms,
            )
        )


class _Feeling(TypedDict):
    """What an utterance says of an emotion, under the names it has there."""

    emotion: Emotion | None
    emotion_confidence: float | None
    emotion_abstained: bool
    emotion_distribution: dict[str, float] | None
    anger_score: float | None
    anger_rank: float | None
    anger_daily: float | None


_NO_FEELING: Final[_Feeling] = {
    "emotion": None,
    "emotion_confidence": None,
    "emotion_abstained": False,
    "emotion_distribution": None,
    "anger_score": None,
    "anger_rank": None,
    "anger_daily": None,
}
_DISTRIBUTED: Final = (*EMOTIONS, "other")
"""What a distribution may give a probability to; a recogniser that says more is not believed."""


def _judge_emotion(party: Party, released: ReleasedUtterance) -> _Feeling:
    """Keep what the policy of the leg allows to know of an emotion; the rest is dropped here."""
    if not party.allows_emotion(released.start):
        return _NO_FEELING
    result, detail = released.result, released.result.detail
    emotion = known_emotion(result.judged_emotion)
    if detail is None or detail.emotion_off:
        return {**_NO_FEELING, "emotion": emotion}
    told = detail.emotion_distribution
    return {
        "emotion": emotion,
        "emotion_confidence": None if emotion is None else detail.emotion_confidence,
        "emotion_abstained": detail.emotion_abstained,
        "emotion_distribution": told and {label: told[label] for label in _DISTRIBUTED if label in told},
        "anger_score": detail.anger_score,
        "anger_rank": detail.anger_rank,
        "anger_daily": detail.anger_daily,
    }
