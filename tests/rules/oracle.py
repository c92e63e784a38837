"""What the rules of a log amount to, worked out the slow way: each rule anew over the whole log.

Shares no code with the engine but the rules as loaded. Utterance rules are worked out from lists of a
leg's utterances, silences from a table of all instants at which anything changes on any leg.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from qa_service.domain.entries import (
    CallEnded,
    Gap,
    LegEnded,
    LegStarted,
    LegUpdated,
    LogEntry,
    Quiet,
    Utterance,
)
from qa_service.domain.identities import incident_id
from qa_service.domain.incidents import IncidentChange
from qa_service.rules.language import EmotionCondition, Rule, SaidCondition, SilenceCondition

# Hand-written equivalents of the phrases that the property's rules use.
PATTERNS = {
    "cancel * contract": r"\bcancel\b(\W+\w+){0,6}?\W+contract\b",
    "i guarantee": r"\bi\W+guarantee\b",
    "pay [num] euros": r"\bpay \d+ euros\b",
}


@dataclass(frozen=True)
class Incident:
    """An incident as it stands at the end of a log; evidence as times, of silences only once closed."""

    incident_id: str
    rule_id: str
    anchor: str
    opened_ms: int
    closed_ms: int | None
    evidence: tuple[tuple[str | None, int, int], ...]


def summarise(rules: tuple[Rule, ...], changes: list[IncidentChange]) -> set[Incident]:
    """Reduce the engine's changes to what the oracle knows."""
    newest = {change.incident_id: change for change in changes}
    silences = {rule.id for rule in rules if isinstance(rule.when, SilenceCondition)}
    return {
        Incident(
            incident_id=str(change.incident_id),
            rule_id=change.rule_id,
            anchor=change.anchor,
            opened_ms=change.opened_ms,
            closed_ms=change.closed_ms,
            evidence=()
            if change.rule_id in silences and change.closed_ms is None
            else tuple((piece.leg, piece.start_ms, piece.end_ms) for piece in change.evidence),
        )
        for change in newest.values()
    }


def judge(rules: tuple[Rule, ...], log: list[LogEntry]) -> set[Incident]:
    """Work out all incidents of a log."""
    found: set[Incident] = set()
    legs = sorted({entry.leg_id for entry in log if entry.leg_id is not None})
    for rule in rules:
        if isinstance(rule.when, SilenceCondition) and rule.when.of == "call":
            found |= _judge_silence(rule, log, None)
            continue
        for leg in legs:
            own = [entry for entry in log if entry.leg_id in {leg, None}]
            judge_leg = _judge_silence if isinstance(rule.when, SilenceCondition) else _judge_utterances
            found |= judge_leg(rule, own, leg)
    return found


def _make(
    rule: Rule,
    anchor: str,
    opened_ms: int,
    closed_ms: int | None,
    evidence: list[tuple[str | None, int, int]],
) -> Incident:
    identity = str(incident_id("call-1", rule.id, rule.version, anchor))
    return Incident(identity, rule.id, anchor, opened_ms, closed_ms, tuple(evidence))


# Utterances


def _judge_utterances(rule: Rule, own: list[LogEntry], leg: str | None) -> set[Incident]:
    condition = rule.when
    assert not isinstance(condition, SilenceCondition)
    needed, window = (
        (condition.needed, condition.window) if isinstance(condition, EmotionCondition) else (1, 1)
    )
    concerned = [
        position
        for position, entry in enumerate(own)
        if isinstance(entry.body, Utterance) and _concerns(condition, _role_at(own, position))
    ]
    hits = [position for position in concerned if _counts(condition, own[position].body)]
    found: set[Incident] = set()
    first_free, cooldown_until = 0, -math.inf
    position = 0
    while position < len(own):
        recent = [p for p in hits if p in [c for c in concerned if c <= position][-window:]]
        fresh = [p for p in recent if p >= first_free]
        too_early = own[position].end_ms < cooldown_until
        if position not in hits or len(fresh) < needed or too_early:
            position += 1
            continue
        evidence, closed_ms, closed_at = _follow(rule, own, concerned, hits, fresh, window, needed)
        pieces = [(leg, own[p].start_ms, own[p].end_ms) for p in evidence]
        body = own[fresh[0]].body
        assert isinstance(body, Utterance)
        found.add(_make(rule, f"{leg}:{body.ordinal}", own[position].end_ms, closed_ms, pieces))
        if closed_ms is None:
            break
        first_free, cooldown_until = evidence[-1] + 1, closed_ms + rule.cooldown_ms
        position = max(position + 1, closed_at)
    return found


def _follow(  # noqa: PLR0917 - called once
    rule: Rule,
    own: list[LogEntry],
    concerned: list[int],
    hits: list[int],
    evidence: list[int],
    window: int,
    needed: int,
) -> tuple[list[int], int | None, int]:
    """Follow an incident from its opening: its evidence, its end, and where in the log that is."""
    evidence = list(evidence)
    for position in range(evidence[-1], len(own)):
        entry = own[position]
        deadline = own[evidence[-1]].end_ms + rule.close_after_ms
        covers = isinstance(entry.body, Utterance | Quiet | Gap)
        if position > evidence[-1]:
            if isinstance(entry.body, Utterance) and entry.start_ms >= deadline:
                return evidence, deadline, position
            recent = [p for p in hits if p in [c for c in concerned if c <= position][-window:]]
            if position in hits and len(recent) >= needed:
                evidence += [p for p in recent if p > evidence[-1]]
                deadline = entry.end_ms + rule.close_after_ms
        if covers and entry.end_ms >= deadline:
            return evidence, deadline, position + 1
        if isinstance(entry.body, LegEnded):
            return evidence, min(deadline, entry.end_ms), position + 1
        if isinstance(entry.body, CallEnded):
            covered = max((e.end_ms for e in own[:position] if not isinstance(e.body, LegEnded)), default=0)
            return evidence, min(deadline, covered), position + 1
    return evidence, None, len(own)


def _role_at(own: list[LogEntry], position: int) -> str:
    roles = [e.body.role for e in own[: position + 1] if isinstance(e.body, LegStarted | LegUpdated)]
    return roles[-1]


def _concerns(condition: EmotionCondition | SaidCondition, role: str) -> bool:
    if isinstance(condition, EmotionCondition):
        return role == "customer"
    return condition.leg in {"any", role}


def _counts(condition: EmotionCondition | SaidCondition, body: object) -> bool:
    assert isinstance(body, Utterance)
    if isinstance(condition, SaidCondition):
        return any(re.search(PATTERNS[phrase], body.text, re.IGNORECASE) for phrase in condition.phrases)
    asked = []
    if condition.emotions:
        if body.emotion is None or body.emotion_abstained or body.emotion not in condition.emotions:
            return False
        confidence = body.emotion_confidence
        asked.append(None if confidence is None else confidence >= condition.min_confidence)
    for value, most in ((body.anger_rank, condition.top_share), (body.anger_daily, condition.most_a_day)):
        if most is not None:
            asked.append(None if value is None else value <= most)
    return all(condition.if_missing == "pass" if answer is None else answer for answer in asked)


# Silence


def _judge_silence(rule: Rule, log: list[LogEntry], leg: str | None) -> set[Incident]:
    condition = rule.when
    assert isinstance(condition, SilenceCondition)
    if leg is None:
        frontier, is_over = _decided_until(log), any(isinstance(e.body, CallEnded) for e in log)
        return _judge_runs(rule, _find_runs(log, condition.of, frontier), frontier, is_over, None)
    found: set[Incident] = set()
    # A leg that comes back begins anew, but for the cool-down; the whole history is told in one go.
    cooldown_until = -math.inf
    for life in _split_lives(log):
        covered = _covered_until(life)
        is_over = any(isinstance(e.body, LegEnded | CallEnded) for e in life)
        runs = _find_runs(life, condition.of, covered)
        incidents = _judge_runs(rule, runs, covered, is_over, leg, cooldown_until)
        found |= incidents
        ends = [i.closed_ms + rule.cooldown_ms for i in incidents if i.closed_ms is not None]
        cooldown_until = max([cooldown_until, *ends])
    return found


def _split_lives(own: list[LogEntry]) -> list[list[LogEntry]]:
    lives: list[list[LogEntry]] = []
    covered = None
    for entry in own:
        if isinstance(entry.body, LegStarted):
            start = entry.start_ms if covered is None else max(covered, entry.start_ms)
            body = entry
            if start != entry.start_ms:
                body = LogEntry(
                    call_id=entry.call_id,
                    call_seq=entry.call_seq,
                    leg_id=entry.leg_id,
                    start_ms=start,
                    end_ms=start,
                    body=entry.body,
                )
            lives.append([body])
        elif lives:
            lives[-1].append(entry)
        covered = max(covered if covered is not None else entry.end_ms, entry.end_ms)
    return lives


def _covered_until(life: list[LogEntry]) -> int:
    return max(e.end_ms for e in life if isinstance(e.body, LegStarted | Utterance | Quiet | Gap))


def _decided_until(log: list[LogEntry]) -> int:
    """Find how far all live legs are covered, or where the last ended."""
    legs = {e.leg_id for e in log if e.leg_id is not None}
    is_over = any(isinstance(e.body, CallEnded) for e in log)
    covered, live = {}, set()
    for leg in legs:
        own = [e for e in log if e.leg_id == leg]
        covered[leg] = _covered_until(own)
        turns = [e.body for e in own if isinstance(e.body, LegStarted | LegEnded)]
        if isinstance(turns[-1], LegStarted) and not is_over:
            live.add(leg)
    heard = max((end for leg in legs for _, end, _ in _tabulate(log, leg, "call")), default=0)
    if is_over:
        return max(heard, *(e.end_ms for e in log if e.leg_id is not None)) if legs else heard
    return min([heard, *(covered[leg] for leg in live)])


def _find_runs(log: list[LogEntry], of: str, frontier: int) -> list[tuple[int, int]]:
    """Find the maximal silences, instant by instant."""
    tables = [_tabulate(log, leg, of) for leg in sorted({e.leg_id for e in log if e.leg_id is not None})]
    instants = sorted({t for table in tables for start, end, _ in table for t in (start, end)} | {frontier})
    runs: list[tuple[int, int]] = []
    for start, end in pairwise(instant for instant in instants if instant <= frontier):
        sounds = {sound for table in tables for s, e, sound in table if s <= start and end <= e}
        if "silent" not in sounds or "busy" in sounds:
            continue
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


def _tabulate(log: list[LogEntry], leg: str, of: str) -> list[tuple[int, int, str]]:
    table: list[tuple[int, int, str]] = []
    covered, role, is_live = None, "", False
    for entry in log:
        if entry.leg_id != leg:
            continue
        body = entry.body
        if isinstance(body, LegStarted | LegUpdated):
            role = body.role
        if isinstance(body, LegStarted):
            if covered is None:
                covered = entry.start_ms
            if not is_live:
                covered = max(covered, entry.start_ms)
            is_live = True
        elif isinstance(body, LegEnded):
            is_live = False
        elif isinstance(body, Utterance | Quiet | Gap):
            assert covered is not None
            start, end = max(covered, entry.start_ms), max(covered, entry.end_ms)
            quiet = isinstance(body, Quiet) or (isinstance(body, Gap) and body.reason == "not_sent")
            if of in {"call", role}:
                before = min(start, end) if entry.end_ms < start else start
                table.append((covered, before, "silent"))
                table.append((start, end, "silent" if quiet else "busy"))
            covered = max(covered, end, min(start, end))
    return [row for row in table if row[0] < row[1]]


def _judge_runs(  # noqa: PLR0917 - called twice
    rule: Rule,
    runs: list[tuple[int, int]],
    frontier: int,
    is_over: bool,  # noqa: FBT001 - one of the facts
    leg: str | None,
    cooldown_until: float = -math.inf,
) -> set[Incident]:
    condition = rule.when
    assert isinstance(condition, SilenceCondition)
    found: set[Incident] = set()
    opened: tuple[str, int, list[tuple[str | None, int, int]]] | None = None
    for start, end in runs:
        due = start + condition.longer_than_ms
        if end <= due:
            continue
        if opened is not None:
            anchor, opened_ms, evidence = opened
            deadline = evidence[-1][2] + rule.close_after_ms
            if due < deadline:
                evidence.append((leg, start, end))
                continue
            found.add(_make(rule, anchor, opened_ms, deadline, evidence))
            opened, cooldown_until = None, deadline + rule.cooldown_ms
        at_ms = max(due, cooldown_until)
        if end > at_ms:
            anchor = str(start) if leg is None else f"{leg}@{start}"
            opened = (anchor, at_ms, [(leg, start, end)])
    if opened is not None:
        anchor, opened_ms, evidence = opened
        deadline = evidence[-1][2] + rule.close_after_ms
        lasts = evidence[-1][2] == frontier
        if is_over:
            found.add(_make(rule, anchor, opened_ms, min(deadline, frontier), evidence))
        elif lasts or deadline > frontier:
            found.add(_make(rule, anchor, opened_ms, None, []))
        else:
            found.add(_make(rule, anchor, opened_ms, deadline, evidence))
    return found
