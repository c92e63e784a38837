"""A call's score on a scorecard: each answer with its reasons, and what could not be answered."""

from __future__ import annotations

from typing import Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

Verdict: TypeAlias = Literal["pass", "fail", "undecidable", "not_applicable", "no_rule"]
"""``undecidable``: what decides it may lie in a gap. ``not_applicable``: nothing of the kind took place.
``no_rule``: the call's rule set lacks the rule. These three are left out of the score, and shown."""


class Reason(Struct, frozen=True, kw_only=True):
    """An incident that an answer rests on."""

    incident_id: UUID
    opened_ms: int
    """Call time."""
    utterance_ids: tuple[UUID, ...]
    words: str | None
    """What was said in the first of them, redacted."""


class Answer(Struct, frozen=True, kw_only=True):
    """The answer to one question."""

    section: str
    question: str
    ask: str
    rule_id: str
    verdict: Verdict
    weight: int
    is_critical: bool
    reasons: tuple[Reason, ...]
    """Incidents of the rule; none where the answer rests on there being none."""


class CallScore(Struct, frozen=True, kw_only=True):
    """The score of a call that has ended."""

    call_id: str
    scorecard_hash: str
    scorecard_id: str
    scorecard_version: int
    score: float | None
    """0 to 100; None where no question could be answered."""
    auto_failed: bool
    """A critical question was failed, and the score is 0 for it."""
    answered: int
    left_out: int
    answers: tuple[Answer, ...]
