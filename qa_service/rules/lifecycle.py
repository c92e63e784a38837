"""How an incident lives: opened once, updated while evidence comes, closed once; then a cool-down.

One :class:`IncidentTrack` holds the incidents of one rule in one scope (a leg, or the call), one after
another. It decides nothing about conditions; it numbers the changes and keeps the evidence small.
"""

from __future__ import annotations

from typing import NamedTuple

from qa_service.domain.identities import incident_id
from qa_service.domain.incidents import Evidence, IncidentChange, IncidentState
from qa_service.rules.language import MAX_WINDOW, Rule

FIRST_EVIDENCE = MAX_WINDOW
"""Pieces of evidence kept from an incident's beginning: all that it was opened with."""
MAX_EVIDENCE = FIRST_EVIDENCE + 6
"""Pieces of evidence an incident keeps: the first ones and the newest, so that it stays small."""

BEFORE_ALL_MS = -(2**62)
"""Before any call time. A leg whose clock is behind that of the call's first record has times below zero."""


class Pin(NamedTuple):
    """The call, and the rule set that it is pinned to."""

    call_id: str
    rule_set_hash: str


class IncidentTrack:
    """The incidents of one rule in one scope, at most one open at a time."""

    __slots__ = ("_anchor", "_evidence", "_n", "_opened_ms", "_pin", "_rule", "cooldown_until")

    def __init__(self, rule: Rule, pin: Pin) -> None:
        self._rule = rule
        self._pin = pin
        self._anchor = ""
        self._n = 0
        self._opened_ms = 0
        self._evidence: list[Evidence] = []
        self.cooldown_until = BEFORE_ALL_MS
        """Call time before which no incident is opened."""

    @property
    def is_open(self) -> bool:
        """Whether an incident is open: then, and only then, there is evidence."""
        return bool(self._evidence)

    @property
    def deadline(self) -> int:
        """Call time at which the open incident closes if no more evidence comes."""
        return self._evidence[-1].end_ms + self._rule.close_after_ms

    def open(self, *, anchor: str, at_ms: int, evidence: list[Evidence], call_seq: int) -> IncidentChange:
        """Open an incident; the anchor is the structural place in the call where it began."""
        self._anchor = anchor
        self._n = 0
        self._opened_ms = at_ms
        self._evidence = list(evidence)
        return self._change("opened", at_ms, None, call_seq)

    def update(self, *, at_ms: int, evidence: list[Evidence], call_seq: int) -> IncidentChange:
        """Add further evidence to the open incident."""
        self._evidence += evidence
        while len(self._evidence) > MAX_EVIDENCE:
            del self._evidence[FIRST_EVIDENCE]
        return self._change("updated", at_ms, None, call_seq)

    def amend_last(self, evidence: Evidence) -> None:
        """Replace the newest evidence by what is known of it now; announced with the next change."""
        self._evidence[-1] = evidence

    def close(self, *, at_ms: int, call_seq: int) -> IncidentChange:
        """Close the open incident and begin the cool-down."""
        change = self._change("closed", at_ms, at_ms, call_seq)
        self._evidence = []
        self.cooldown_until = at_ms + self._rule.cooldown_ms
        return change

    def _change(
        self, state: IncidentState, at_ms: int, closed_ms: int | None, call_seq: int
    ) -> IncidentChange:
        self._n += 1
        rule, pin = self._rule, self._pin
        return IncidentChange(
            incident_id=incident_id(pin.call_id, rule.id, rule.version, self._anchor),
            call_id=pin.call_id,
            call_seq=call_seq,
            rule_id=rule.id,
            rule_version=rule.version,
            rule_set_hash=pin.rule_set_hash,
            severity=rule.severity,
            audience=rule.audience,
            description=rule.description,
            anchor=self._anchor,
            state=state,
            n=self._n,
            at_ms=at_ms,
            opened_ms=self._opened_ms,
            closed_ms=closed_ms,
            evidence=tuple(self._evidence),
        )
