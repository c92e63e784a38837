"""Incidents: what rules raise. One stretch of trouble is one incident, opened once and closed once."""

from __future__ import annotations

from typing import Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

from qa_service.contract.info import Role
from qa_service.protocol.events import Emotion

Severity: TypeAlias = Literal["low", "medium", "high", "critical"]
Audience: TypeAlias = Literal["supervisor", "agent"]
IncidentState: TypeAlias = Literal["opened", "updated", "closed", "withdrawn"]


class Evidence(Struct, frozen=True, kw_only=True):
    """One piece of what an incident rests on: an utterance, or a stretch of silence (no utterance)."""

    utterance_id: UUID | None
    leg: str | None
    role: Role | None
    text: str | None
    start_ms: int
    end_ms: int
    emotion: Emotion | None = None
    emotion_confidence: float | None = None
    anger_rank: float | None = None
    anger_daily: float | None = None
    engine: str | None = None
    model: str | None = None


class IncidentChange(Struct, frozen=True, kw_only=True):
    """A new state of an incident, as the rule engine decided it.

    ``n`` counts the changes of one incident from 1 (opened) on; ``call_seq`` is the log entry that
    brought the change about; all times are call time in milliseconds.
    """

    incident_id: UUID
    call_id: str
    call_seq: int
    rule_id: str
    rule_version: int
    rule_set_hash: str
    severity: Severity
    audience: Audience
    description: str
    anchor: str
    state: IncidentState
    n: int
    at_ms: int
    opened_ms: int
    closed_ms: int | None
    evidence: tuple[Evidence, ...]
