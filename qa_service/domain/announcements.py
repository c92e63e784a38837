"""What leaves the service: the data of events about utterances and incidents.

Their JSON Schemas are in ``qa_service/contract/schemas``; a test holds the two together.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from msgspec import Struct

from qa_service.contract.info import Role
from qa_service.domain.entries import LogEntry, Redaction, TimeSource, Utterance
from qa_service.domain.identities import event_id
from qa_service.domain.incidents import Audience, Evidence, IncidentChange, IncidentState, Severity
from qa_service.domain.writes import OutboxEvent
from qa_service.protocol.events import Emotion

UTTERANCE_TYPE = "qa.utterance"
PARTIAL_TYPE = "qa.partial"
ALERT_TYPES: dict[IncidentState, str] = {
    "opened": "qa.alert.opened",
    "updated": "qa.alert.updated",
    "closed": "qa.alert.closed",
    "withdrawn": "qa.alert.withdrawn",
}


class Stamps(Struct, frozen=True, kw_only=True):
    """What happened when; the relay adds the last two."""

    speech_end_ms: int | None
    """Call time."""
    final_at: int | None
    """Unix ms."""
    durable_at: int | None = None
    """Unix ms."""
    published_at: int | None = None
    """Unix ms."""


class AlertData(Struct, frozen=True, kw_only=True):
    """Data of a ``qa.alert.*`` event."""

    incident_id: UUID
    call_id: str
    call_seq: int
    rule_id: str
    rule_version: int
    rule_set_hash: str
    severity: Severity
    audience: Audience
    state: IncidentState
    description: str
    opened_ms: int
    updated_ms: int
    closed_ms: int | None
    evidence: tuple[Evidence, ...]
    recording_url: str | None
    stamps: Stamps


class UtteranceData(Struct, frozen=True, kw_only=True):
    """Data of a ``qa.utterance`` event."""

    utterance_id: UUID
    call_id: str
    call_seq: int
    leg: str
    role: Role
    ordinal: int
    text: str
    language: str | None
    emotion: Emotion | None
    emotion_confidence: float | None
    emotion_abstained: bool
    emotion_distribution: dict[str, float] | None
    anger_score: float | None
    anger_rank: float | None
    anger_daily: float | None
    loudness_dbfs: float | None
    start_ms: int
    end_ms: int
    time_source: TimeSource
    engine: str | None
    model: str | None
    redactions: tuple[Redaction, ...]
    stamps: Stamps


class PartialData(Struct, frozen=True, kw_only=True):
    """Data of a ``qa.partial`` event: what is being said right now, redacted."""

    call_id: str
    leg: str
    role: Role
    text: str
    stash: str
    language: str | None
    emotion: Emotion | None
    at_ms: int


def announce_utterance(entry: LogEntry, utterance: Utterance, *, role: Role) -> OutboxEvent:
    """Make the event for an utterance entry."""
    data = UtteranceData(
        utterance_id=utterance.utterance_id,
        call_id=entry.call_id,
        call_seq=entry.call_seq,
        leg=entry.leg_id or "",
        role=role,
        ordinal=utterance.ordinal,
        text=utterance.text,
        language=utterance.language,
        emotion=utterance.emotion,
        emotion_confidence=utterance.emotion_confidence,
        emotion_abstained=utterance.emotion_abstained,
        emotion_distribution=utterance.emotion_distribution,
        anger_score=utterance.anger_score,
        anger_rank=utterance.anger_rank,
        anger_daily=utterance.anger_daily,
        loudness_dbfs=utterance.loudness_dbfs,
        start_ms=entry.start_ms,
        end_ms=entry.end_ms,
        time_source=utterance.time_source,
        engine=utterance.engine,
        model=utterance.model,
        redactions=utterance.redactions,
        stamps=Stamps(speech_end_ms=entry.end_ms, final_at=utterance.final_at),
    )
    return OutboxEvent(
        event_id=event_id(utterance.utterance_id, "utterance", 1),
        call_id=entry.call_id,
        call_seq=entry.call_seq,
        topic="transcripts",
        type=UTTERANCE_TYPE,
        data=msgspec.json.encode(data),
    )


def announce_incident(
    change: IncidentChange, *, recording_template: str | None, final_at: int | None
) -> OutboxEvent:
    """Make the event for a new state of an incident; ``final_at`` is that of the entry that caused it."""
    data = AlertData(
        incident_id=change.incident_id,
        call_id=change.call_id,
        call_seq=change.call_seq,
        rule_id=change.rule_id,
        rule_version=change.rule_version,
        rule_set_hash=change.rule_set_hash,
        severity=change.severity,
        audience=change.audience,
        state=change.state,
        description=change.description,
        opened_ms=change.opened_ms,
        updated_ms=change.at_ms,
        closed_ms=change.closed_ms,
        evidence=change.evidence,
        recording_url=_recording_url(recording_template, change),
        stamps=Stamps(
            speech_end_ms=max((e.end_ms for e in change.evidence), default=None), final_at=final_at
        ),
    )
    return OutboxEvent(
        event_id=event_id(change.incident_id, change.state, change.n),
        call_id=change.call_id,
        call_seq=change.call_seq,
        topic="alerts",
        type=ALERT_TYPES[change.state],
        data=msgspec.json.encode(data),
    )


def _recording_url(template: str | None, change: IncidentChange) -> str | None:
    if template is None:
        return None
    start_ms = min((e.start_ms for e in change.evidence), default=change.opened_ms)
    return template.replace("{call_id}", change.call_id).replace("{start_s}", str(max(start_ms, 0) // 1000))
