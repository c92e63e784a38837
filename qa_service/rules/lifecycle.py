"""How an incident lives: opened once, updated while evidence comes, closed once; then a cool-down.

One :class:`IncidentTrack` holds the incidents of one rule in one place (a leg, or the call), one after
another. It decides nothing about conditions; it numbers the changes and keeps the evidence small.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from qa_service.domain.identities import incident_id
from qa_service.domain.incidents import Evidence, IncidentChange, IncidentState, Severity
from qa_service.rules.hits import BEFORE_ALL_MS, MAX_PIECES
from qa_service.rules.language import SEVERITIES, Rule

FIRST_EVIDENCE = MAX_PIECES
"""Pieces of evidence kept from an incident's beginning: all that it was opened with."""
MAX_EVIDENCE = FIRST_EVIDENCE + 6
"""Pieces of evidence an incident keeps: the first ones and the newest, so that it stays small."""


class Pin(NamedTuple):
    """The call, and the rule set that it is pinned to."""

    call_id: str
    rule_set_hash: str


class IncidentTrack:
    """The incidents of one rule in one place, at most one open at a time."""

    __slots__ = (
        "_anchor",
        "_calm_since",
        "_evidence",
        "_incident_id",
        "_n",
        "_opened_ms",
        "_pin",
        "_rule",
        "_severity",
        "_updates",
        "cooldown_until",
        "is_raised",
    )

    def __init__(self, rule: Rule, pin: Pin) -> None:
        self._rule = rule
        self._pin = pin
        self._anchor = ""
        self._incident_id: UUID | None = None
        self._n = 0
        self._updates = 0
        self._opened_ms = 0
        self._severity: Severity = rule.severity
        self._evidence: tuple[Evidence, ...] = ()
        self._calm_since = BEFORE_ALL_MS
        self.cooldown_until = BEFORE_ALL_MS
        """Call time before which no incident is opened."""
        self.is_raised = False
        """Whether any incident was opened that was not withdrawn."""

    @property
    def is_open(self) -> bool:
        """Whether an incident is open: then, and only then, there is evidence."""
        return bool(self._evidence)

    @property
    def deadline(self) -> int:
        """Call time at which the open incident closes if no more evidence comes."""
        return self._calm_since + self._rule.close_after_ms

    @property
    def escalates_ms(self) -> int | None:
        """Call time at which the open incident becomes more severe by lasting; None: at none."""
        if not self._rule.escalate:
            return None
        times = [
            self._opened_ms + step.after_ms
            for step in self._rule.escalate
            if step.after_ms and SEVERITIES.index(step.severity) > SEVERITIES.index(self._severity)
        ]
        return min(times, default=None)

    def open(
        self, *, anchor: str, at_ms: int, evidence: tuple[Evidence, ...], call_seq: int
    ) -> IncidentChange:
        """Open an incident; the anchor is the structural place in the call where it began."""
        self._anchor = anchor
        rule = self._rule
        self._incident_id = incident_id(self._pin.call_id, rule.id, rule.version, anchor)
        self._n = self._updates = 0
        self._opened_ms = at_ms
        self._severity = self._rule.severity
        self._evidence = evidence
        self._calm_since = max(piece.end_ms for piece in evidence)
        self.is_raised = True
        return self._change("opened", at_ms, None, call_seq)

    def update(self, *, at_ms: int, evidence: tuple[Evidence, ...], call_seq: int) -> IncidentChange:
        """Add further evidence to the open incident."""
        kept = self._evidence + evidence
        newest = MAX_EVIDENCE - FIRST_EVIDENCE
        self._evidence = kept if len(kept) <= MAX_EVIDENCE else kept[:FIRST_EVIDENCE] + kept[-newest:]
        self._calm_since = max(self._calm_since, *(piece.end_ms for piece in evidence))
        self._updates += 1
        for step in self._rule.escalate:
            if step.updates and step.updates <= self._updates:
                self._raise_severity(step.severity)
        return self._change("updated", at_ms, None, call_seq)

    def escalate(self, *, call_seq: int) -> IncidentChange:
        """Make the open incident more severe because it lasts."""
        at_ms = self.escalates_ms or 0
        for step in self._rule.escalate:
            if step.after_ms and self._opened_ms + step.after_ms <= at_ms:
                self._raise_severity(step.severity)
        return self._change("updated", at_ms, None, call_seq)

    def amend_last(self, evidence: Evidence) -> None:
        """Replace the newest evidence by what is known of it now; announced with the next change."""
        self._evidence = (*self._evidence[:-1], evidence)
        self._calm_since = evidence.end_ms

    def close(self, *, at_ms: int, call_seq: int) -> IncidentChange:
        """Close the open incident and begin the cool-down."""
        change = self._change("closed", at_ms, at_ms, call_seq)
        self._evidence = ()
        self.cooldown_until = at_ms + self._rule.cooldown_ms
        return change

    def confirm(self, *, at_ms: int, evidence: tuple[Evidence, ...], call_seq: int) -> IncidentChange:
        """Put in place of what an incident was opened with early what it turned out to be."""
        self._evidence = evidence
        self._calm_since = max(piece.end_ms for piece in evidence)
        return self._change("updated", at_ms, None, call_seq)

    def withdraw(self, *, at_ms: int, was_raised: bool, call_seq: int) -> IncidentChange:
        """Take back the open incident, which then never was; no cool-down begins."""
        change = self._change("withdrawn", at_ms, at_ms, call_seq)
        self._evidence = ()
        self.is_raised = was_raised
        return change

    def _raise_severity(self, severity: Severity) -> None:
        if SEVERITIES.index(severity) > SEVERITIES.index(self._severity):
            self._severity = severity

    def _change(
        self, state: IncidentState, at_ms: int, closed_ms: int | None, call_seq: int
    ) -> IncidentChange:
        assert self._incident_id is not None  # noqa: S101 - an incident is open
        self._n += 1
        rule, pin = self._rule, self._pin
        return IncidentChange(
            incident_id=self._incident_id,
            call_id=pin.call_id,
            call_seq=call_seq,
            rule_id=rule.id,
            rule_version=rule.version,
            rule_set_hash=pin.rule_set_hash,
            severity=self._severity,
            audience=rule.audience,
            description=rule.description,
            anchor=self._anchor,
            state=state,
            n=self._n,
            at_ms=at_ms,
            opened_ms=self._opened_ms,
            closed_ms=closed_ms,
            evidence=self._evidence,
        )
