"""Rules tried on calls that are over: what they would have raised, beside what was raised.

Two alerts are the same if they are of one rule and their times overlap, from the first evidence to the
closing; each is paired once, the earliest first. What people said of the raised one holds for its pair:
acknowledged, the rule was right; dismissed, it was not. Precision is the share of the right ones among the
judged, with Wilson's interval at 95 % (E. B. Wilson, 1927), which is honest for few.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Struct

from qa_service.domain.entries import LegStarted, LegUpdated, LogEntry
from qa_service.domain.incidents import IncidentChange, Severity
from qa_service.rules.language import Rule, ScoreCondition
from qa_service.rules.ruleset import RuleSet

Fate: TypeAlias = Literal["same", "added", "gone"]
"""``same``: raised then, and by these rules; ``added``: by these rules alone; ``gone``: then alone."""

Verdict: TypeAlias = Literal["acknowledged", "dismissed"] | None
"""What was said of an alert last; None: nothing."""

MAX_THRESHOLDS: Final = 12
"""Thresholds at which a rule is tried: each costs another run over the calls."""
_Z: Final = 1.96  # quantile of the normal distribution for 95 %


class Alert(Struct, frozen=True, kw_only=True):
    """An alert of a call that is over."""

    incident_id: UUID
    rule_id: str
    rule_version: int
    severity: Severity
    opened_ms: int
    start_ms: int
    """Where its first evidence begins."""
    end_ms: int
    """Where it was closed, or its last evidence ends."""
    words: str | None
    """What was said, in its first evidence that has words."""


class Trial(Struct, frozen=True, kw_only=True):
    """One alert of the comparison."""

    call_id: str
    day: str
    """UTC day on which the call began, ISO 8601."""
    agents: tuple[str, ...]
    fate: Fate
    alert: Alert
    """As these rules would raise it; of ``gone`` as it was raised."""
    verdict: Verdict
    """What was said of the raised one last."""


class Precision(NamedTuple):
    """Share of the right among the judged, and its interval; all None where nothing was judged."""

    right: int
    wrong: int

    @property
    def value(self) -> float | None:
        """The share itself."""
        judged = self.right + self.wrong
        return self.right / judged if judged else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval, 95 %."""
        judged = self.right + self.wrong
        if not judged:
            return None
        share, spread = self.right / judged, _Z * _Z / judged
        middle = (share + spread / 2) / (1 + spread)
        half = _Z * math.sqrt(share * (1 - share) / judged + spread / (4 * judged)) / (1 + spread)
        return max(middle - half, 0.0), min(middle + half, 1.0)


def newest_changes(rules: RuleSet, entries: Sequence[LogEntry]) -> dict[UUID, IncidentChange]:
    """Feed a call's whole log to rules; the newest state of each incident that they raise.

    Raises :class:`qa_service.rules.errors.CallLogError` for a log that breaks its own order.
    """
    call_rules = rules.start(entries[0].call_id)
    return {change.incident_id: change for entry in entries for change in call_rules.feed(entry)}


def to_alert(change: IncidentChange) -> Alert:
    """What a comparison needs of an incident in its newest state."""
    evidence = change.evidence
    return Alert(
        incident_id=change.incident_id,
        rule_id=change.rule_id,
        rule_version=change.rule_version,
        severity=change.severity,
        opened_ms=change.opened_ms,
        start_ms=min([change.opened_ms, *(piece.start_ms for piece in evidence)]),
        end_ms=max([change.opened_ms, change.closed_ms or 0, *(piece.end_ms for piece in evidence)]),
        words=next((piece.text for piece in evidence if piece.text), None),
    )


def pair(would: Iterable[Alert], raised: Iterable[Alert]) -> list[tuple[Alert | None, Alert | None]]:
    """Pair what would be raised with what was, in the order of time."""
    left = sorted(raised, key=_by_time)
    pairs: list[tuple[Alert | None, Alert | None]] = []
    for alert in sorted(would, key=_by_time):
        match = next((other for other in left if _is_same(alert, other)), None)
        if match is not None:
            left.remove(match)
        pairs.append((alert, match))
    return pairs + [(None, other) for other in left]


def thresholds_of(rule: Rule) -> list[float]:
    """Sums that a rule of evidence added up can reach, ascending, the highest of them; none for others."""
    if not isinstance(rule.when, ScoreCondition):
        return []
    weights = [part.weight for part in rule.when.parts]
    sums = {
        round(sum(chosen), 6) for size in range(1, len(weights) + 1) for chosen in combinations(weights, size)
    }
    return sorted(each for each in sums if each > 0)[-MAX_THRESHOLDS:]


def vary_thresholds(rules: RuleSet) -> list[tuple[dict[str, float], RuleSet]]:
    """Make rule sets of those rules alone, each at another threshold; with each the threshold by rule id."""
    scored = [(rule, thresholds) for rule in rules.rules if (thresholds := thresholds_of(rule))]
    varied = []
    for n in range(max((len(thresholds) for _, thresholds in scored), default=0)):
        at = {rule.id: thresholds[n] for rule, thresholds in scored if n < len(thresholds)}
        changed = tuple(_at_threshold(rule, at[rule.id]) for rule, _ in scored if rule.id in at)
        varied.append((at, RuleSet("", f"{rules.name} at other thresholds", changed)))
    return varied


def _at_threshold(rule: Rule, at_least: float) -> Rule:
    assert isinstance(rule.when, ScoreCondition)  # noqa: S101 - others have no threshold
    return msgspec.structs.replace(rule, when=msgspec.structs.replace(rule.when, at_least=at_least))


def name_agents(entries: Iterable[LogEntry]) -> tuple[str, ...]:
    """Agents that any leg of the call names, in order."""
    described = (entry.body for entry in entries if isinstance(entry.body, LegStarted | LegUpdated))
    return tuple(sorted({body.agent_id for body in described if body.agent_id is not None}))


class Difference(Struct, frozen=True, kw_only=True):
    """Where the stored state of an incident is not what its rules make of the stored log."""

    incident_id: UUID
    rule_id: str
    field: str
    """``stored``: it is stored and not raised; ``raised``: the other way round; else a field of it."""
    stored: object
    recomputed: object


def compare(stored: Iterable[IncidentChange], recomputed: Iterable[IncidentChange]) -> list[Difference]:
    """Compare the newest states of a call's incidents, field by field, in the order of their opening."""
    there = {change.incident_id: change for change in stored}
    made = {change.incident_id: change for change in recomputed}
    in_order = sorted({**there, **made}.values(), key=lambda change: (change.opened_ms, change.rule_id))
    found: list[Difference] = []
    for change in in_order:
        key = change.incident_id
        found += _differences(change, there.get(key), made.get(key))
    return found


def _differences(
    change: IncidentChange, stored: IncidentChange | None, made: IncidentChange | None
) -> list[Difference]:
    def differ(field: str, left: object, right: object) -> Difference:
        return Difference(
            incident_id=change.incident_id, rule_id=change.rule_id, field=field, stored=left, recomputed=right
        )

    if stored is None:
        return [differ("raised", None, change.state)]
    if made is None:
        return [differ("stored", change.state, None)]
    left, right = (msgspec.to_builtins(each) for each in (stored, made))
    return [differ(name, left[name], right[name]) for name in left if left[name] != right[name]]


def _by_time(alert: Alert) -> tuple[int, int, str]:
    return alert.start_ms, alert.end_ms, alert.rule_id


def _is_same(alert: Alert, other: Alert) -> bool:
    return (
        alert.rule_id == other.rule_id and alert.start_ms <= other.end_ms and other.start_ms <= alert.end_ms
    )
