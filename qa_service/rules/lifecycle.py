"""How an incident lives: opened once, updated while evidence comes, closed once; then a cool-down.

One :class:`OpenIncident` is one incident of a rule in one place (a leg, or the call), as long as it is open.
It decides nothing about conditions; it numbers the changes and keeps the evidence small.
"""

from __future__ import annotations

from typing import NamedTuple

from qa_service.domain.identities import incident_id
from qa_service.domain.incidents import Evidence, IncidentChange, IncidentState, Severity
from qa_service.rules.hits import MAX_PIECES
from qa_service.rules.language import SEVERITIES, Rule

FIRST_EVIDENCE = MAX_PIECES
"""Pieces of evidence kept from an incident's beginning: all that it was opened with."""
MAX_EVIDENCE = FIRST_EVIDENCE + 6
"""Pieces of evidence an incident keeps: the first ones and the newest, so that it stays small."""


class Pin(NamedTuple):
    """The call, and the rule set that it is pinned to."""

    call_id: str
    rule_set_hash: str


class OpenIncident:
    """An incident while it is open."""

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
    )

    def __init__(
        self, rule: Rule, pin: Pin, *, anchor: str, at_ms: int, evidence: tuple[Evidence, ...]
    ) -> None:
        """Open an incident; the anchor is the structural place in the call where it began."""
        self._rule = rule
        self._pin = pin
        self._anchor = anchor
        self._incident_id = incident_id(pin.call_id, rule.id, rule.version, anchor)
        self._n = 0
        self._updates = 0
        self._opened_ms = at_ms
        self._severity: Severity = rule.severity
        self._evidence = evidence
        self._calm_since = max(piece.end_ms for piece in evidence)

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

    def open(self, *, call_seq: int) -> IncidentChange:
        """Announce the incident."""
        return self._change("opened", self._opened_ms, None, call_seq)

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
        """Close the incident."""
        return self._change("closed", at_ms, at_ms, call_seq)

    def confirm(self, *, at_ms: int, evidence: tuple[Evidence, ...], call_seq: int) -> IncidentChange:
        """Put in place of what an incident was opened with early what it turned out to be."""
        self._evidence = evidence
        self._calm_since = max(piece.end_ms for piece in evidence)
        return self._change("updated", at_ms, None, call_seq)

    def withdraw(self, *, at_ms: int, call_seq: int) -> IncidentChange:
        """Take back the incident, which then never was."""
        return self._change("withdrawn", at_ms, at_ms, call_seq)

    def _raise_severity(self, severity: Severity) -> None:
        if SEVERITIES.index(severity) > SEVERITIES.index(self._severity):
            self._severity = severity

    def _change(
        self, state: IncidentState, at_ms: int, closed_ms: int | None, call_seq: int
    ) -> IncidentChange:
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
