"""What the rules of a log amount to, worked out the slow way: each rule anew over the whole log.

Shares no code with the engine but the rules as loaded. All hits of a condition are listed, each with the
instant at which it is known, from the lists of its parts; then the incidents are told from those of the
whole. Silences alone, whose incidents last as long as they do, come from a table of all instants at which
anything changes on any leg.
"""

# ruff: noqa: C901, PLR0911, PLR0912, PLR0917 - naive on purpose: each condition is told in one go

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

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
from qa_service.rules import language as lang
from qa_service.rules.language import Rule, SilenceCondition

NEAR_MS = 30_000
SEVERITIES = ("low", "medium", "high", "critical")
# Hand-written equivalents of the phrases that the properties' rules use.
PATTERNS = {
    "cancel * contract": r"\bcancel\b(\W+\w+){0,6}?\W+contract\b",
    "i guarantee": r"\bi\W+guarantee\b",
    "pay [num] euros": r"\bpay \d+ euros\b",
}

Instant = tuple[float, int, str, int]
"""When something is known: at a time, by an item (1) or by the time alone (0, before those), of which leg."""
Place = tuple[float, str, int]


@dataclass(frozen=True)
class Incident:
    """An incident as it stands at the end of a log; evidence as times, of silences only once closed."""

    incident_id: str
    rule_id: str
    anchor: str
    severity: str
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
            severity=change.severity,
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
        is_silence = isinstance(rule.when, SilenceCondition)
        if is_silence and rule.when.of == "call":
            found |= _judge_silence(rule, log, None)
        elif is_silence:
            for leg in legs:
                found |= _judge_silence(rule, [e for e in log if e.leg_id in {leg, None}], leg)
        elif _is_on_one_leg(rule):
            for leg in legs:
                found |= _judge(rule, World([e for e in log if e.leg_id in {leg, None}], leg))
        else:
            found |= _judge(rule, World(log, None))
    return found


def _make(
    rule: Rule,
    anchor: str,
    opened_ms: int,
    closed_ms: int | None,
    evidence: list[tuple[str | None, int, int]],
    severity: str = "",
) -> Incident:
    identity = str(incident_id("call-1", rule.id, rule.version, anchor))
    return Incident(
        identity, rule.id, anchor, severity or rule.severity, opened_ms, closed_ms, tuple(evidence)
    )


# --- what happened ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """An utterance at its place."""

    leg: str
    role: str
    start: int
    told_start: int
    end: int
    ordinal: int
    instant: Instant
    body: Utterance

    @property
    def place(self) -> Place:
        return (self.start, self.leg, self.ordinal)


@dataclass(frozen=True)
class Hit:
    """A condition holds, as is known from an instant on."""

    instant: Instant
    at: int
    start: float
    end: int
    place: Place
    floor: Place
    pieces: tuple[tuple[Place, tuple[str | None, int, int], str], ...]
    first: int = 0
    last: int = 0


class World:
    """A log laid out: of one leg, or of all as far as the live ones are covered."""

    def __init__(self, log: list[LogEntry], leg: str | None) -> None:
        self.leg = leg
        self.is_over = any(isinstance(entry.body, CallEnded) for entry in log)
        self.said: list[Said] = []
        self.gaps: list[tuple[Instant, str, str, int]] = []
        """Instant, leg, role, end."""
        self.described: list[tuple[Instant, str, Any]] = []
        self.left: list[tuple[Instant, str]] = []
        legs = sorted({entry.leg_id for entry in log if entry.leg_id is not None})
        covered: dict[str, int] = {}
        live: set[str] = set()
        heard = -math.inf
        for each in legs:
            covered[each], is_live, leg_heard = self._lay_out(log, each)
            heard = max(heard, leg_heard)
            if is_live and not self.is_over:
                live.add(each)
        instants = [i for i, *_ in self.gaps] + [i for i, *_ in self.described] + [i for i, *_ in self.left]
        instants += [each.instant for each in self.said]
        if leg is not None:
            self.end = covered.get(leg, 0)
            self.frontier = math.inf
        elif self.is_over:
            self.end = int(max([heard, *(instant[0] for instant in instants)], default=0))
            if not instants:
                self.end = log[-1].end_ms
            self.frontier = math.inf
        else:
            self.frontier = min([heard, *(covered[each] for each in live)])
            self.end = self.frontier
        self.said = sorted(
            (each for each in self.said if each.instant[0] < self.frontier), key=lambda each: each.instant
        )
        self.gaps = sorted(gap for gap in self.gaps if gap[0][0] < self.frontier)
        self.described = sorted(
            (each for each in self.described if each[0][0] < self.frontier), key=lambda each: each[0]
        )
        self.left = sorted(each for each in self.left if each[0][0] < self.frontier)
        self.end_instant: Instant = (math.inf, 2, "", 0)

    def _lay_out(self, log: list[LogEntry], leg: str) -> tuple[int, bool, float]:
        covered, role, is_live, number, heard = None, "other", False, 0, -math.inf
        for entry in log:
            if isinstance(entry.body, CallEnded) and is_live:
                self.left.append(((covered or 0, 1, leg, 10_000), leg))
            if entry.leg_id != leg:
                continue
            body = entry.body
            number += 1
            if isinstance(body, LegStarted):
                covered = entry.start_ms if covered is None else covered
                covered = covered if is_live else max(covered, entry.start_ms)
                is_live = True
            assert covered is not None
            start = max(covered, entry.start_ms)
            instant: Instant = (start, 1, leg, number)
            if isinstance(body, LegStarted | LegUpdated):
                role = body.role
                self.described.append(((covered, 1, leg, number), leg, body))
            elif isinstance(body, LegEnded):
                if is_live:
                    self.left.append(((covered, 1, leg, number), leg))
                is_live = False
            elif isinstance(body, Utterance):
                self.said.append(
                    Said(leg, role, start, entry.start_ms, entry.end_ms, body.ordinal, instant, body)
                )
            elif isinstance(body, Gap) and body.reason != "not_sent" and entry.end_ms > start:
                self.gaps.append((instant, leg, role, entry.end_ms))
            if isinstance(body, Utterance | Quiet | Gap) and entry.end_ms > covered:
                covered = entry.end_ms
                heard = max(heard, entry.end_ms)
        return covered or 0, is_live, heard

    def count(self, roles: frozenset[str], until: Instant) -> int:
        """Count the utterances of some roles."""
        return sum(
            1 for each in self.said if each.instant <= until and ("any" in roles or each.role in roles)
        )

    def is_lost(self, roles: frozenset[str], since: float, until: Instant) -> bool:
        """Tell whether anything of some roles may have been missed."""
        return any(
            end > since and instant <= until and ("any" in roles or role in roles)
            for instant, _, role, end in self.gaps
        )

    def roles_over_time(self, until: Instant) -> list[tuple[float, float, str]]:
        """List from when to when a leg of which role was there."""
        spans = []
        for leg in {leg for _, leg, _ in self.described}:
            marks = [(i, b.role) for i, of, b in self.described if of == leg]
            marks += [(i, None) for i, of in self.left if of == leg]
            marks = sorted((mark for mark in marks if mark[0] <= until), key=lambda mark: mark[0])
            # Described anew in the same role, a leg goes on.
            marks = [
                mark
                for before, mark in zip([None, *marks], marks, strict=False)
                if before is None or before[1] != mark[1]
            ]
            for (instant, role), following in zip(marks, [*marks[1:], None], strict=False):
                if role is not None:
                    spans.append((instant[0], math.inf if following is None else following[0][0], role))
        return spans

    def was_there(self, roles: frozenset[str], since: float, until: Instant) -> bool:
        """Tell whether anyone in some role was there."""
        return any(
            end > since and ("any" in roles or role in roles) for _, end, role in self.roles_over_time(until)
        )

    def is_for(self, where: lang.Where, at: Instant) -> bool:
        """Tell whether some leg is what a rule asks for."""
        bodies = list({leg: body for instant, leg, body in self.described if instant <= at}.values())
        return (not where.queue or any(body.queue in where.queue for body in bodies)) and (
            not where.role or any(body.role in where.role for body in bodies)
        )


def _is_on_one_leg(rule: Rule) -> bool:
    if rule.where is not None:
        return False
    text = repr(rule.when)
    kinds = set(re.findall(r"(\w+)Condition\(", text))
    if kinds <= {"Said", "Near", "Emotion", "Shift", "Trend", "SpeechRate", "Loudness"}:
        return True
    if kinds & {"Overtalk", "Interruption", "ResponseDelay", "TalkShare", "Absent", "During"}:
        return False
    return len(_roles(rule.when)) == 1 and "any" not in _roles(rule.when)


def _roles(condition: Any) -> frozenset[str]:
    name = type(condition).__name__.removesuffix("Condition")
    if name in {"Emotion", "Shift", "Trend"}:
        return frozenset({"customer"})
    if name == "Silence":
        return frozenset({"any" if condition.of == "call" else condition.of})
    if name == "Overtalk":
        return frozenset({"any"})
    if name == "Interruption":
        return frozenset({condition.by})
    if name in {"ResponseDelay", "TalkShare"}:
        return frozenset({condition.of})
    if name in {"Absent", "During", "Repeated"}:
        return _roles(condition.what)
    if name == "All":
        return frozenset().union(*map(_roles, (*condition.parts, *condition.unless)))
    if name == "Any":
        return frozenset().union(*map(_roles, condition.parts))
    if name == "Score":
        return frozenset().union(*(_roles(part.what) for part in condition.parts))
    if name == "Sequence":
        return frozenset().union(*map(_roles, condition.steps))
    return frozenset({condition.leg})


# --- incidents ----------------------------------------------------------------------------------------


def _judge(rule: Rule, world: World) -> set[Incident]:
    found: set[Incident] = set()
    hits = [
        hit for hit in find(rule.when, world) if rule.where is None or world.is_for(rule.where, hit.instant)
    ]
    marks: list[tuple[Instant, Hit | None]] = [(hit.instant, hit) for hit in hits]
    if world.leg is not None:
        marks += [(instant, None) for instant, _ in world.left]
    elif world.is_over:
        marks.append(((math.inf, 3, "", 0), None))
    used: Place = (-math.inf, "", 0)
    cooldown = -math.inf
    now: _Open | None = None
    for instant, hit in sorted(marks, key=lambda mark: mark[0]):
        time = min(instant[0], world.end)
        if now is not None and now.deadline(rule) <= time:
            cooldown = now.deadline(rule) + rule.cooldown_ms
            found.add(now.close(rule, now.deadline(rule)))
            now = None
        if hit is None:
            if now is not None:
                found.add(now.close(rule, int(time)))
                cooldown = time + rule.cooldown_ms
                now = None
            continue
        fresh = [piece for piece in hit.pieces if piece[0] > used]
        if not fresh:
            continue
        if now is not None:
            now.add([piece[1] for piece in fresh])
        elif hit.floor > used and hit.at >= cooldown:
            now = _Open(fresh[0][2], hit.at, [piece[1] for piece in fresh], 0)
        else:
            continue
        used = max(used, hit.place)
    if now is not None:
        deadline = now.deadline(rule)
        found.add(now.close(rule, deadline) if deadline <= world.end else now.close(rule, None, world.end))
    return found


@dataclass
class _Open:
    anchor: str
    opened: int
    evidence: list[tuple[str | None, int, int]]
    updates: int

    def deadline(self, rule: Rule) -> int:
        return max(end for _, _, end in self.all_evidence) + rule.close_after_ms

    def __post_init__(self) -> None:
        self.all_evidence = list(self.evidence)

    def add(self, evidence: list[tuple[str | None, int, int]]) -> None:
        self.all_evidence += evidence
        self.updates += 1
        self.evidence += evidence
        if len(self.evidence) > 16:
            self.evidence = self.evidence[:10] + self.evidence[-6:]

    def close(self, rule: Rule, closed: int | None, until: float = 0) -> Incident:
        lasted = until if closed is None else closed
        severity = _grow(rule, self.opened, self.updates, lasted, self.deadline(rule))
        return _make(rule, self.anchor, self.opened, closed, self.evidence, severity)


def _grow(rule: Rule, opened: int, updates: int, lasted: float, deadline: float) -> str:
    """Tell how severe an incident has become that lasted until a time."""
    severity: str = rule.severity
    for step in rule.escalate:
        by_time = step.after_ms and opened + step.after_ms < deadline and opened + step.after_ms <= lasted
        by_updates = step.updates and updates >= step.updates
        if (by_time or by_updates) and SEVERITIES.index(step.severity) > SEVERITIES.index(severity):
            severity = step.severity
    return severity


# --- hits ---------------------------------------------------------------------------------------------


def find(condition: Any, world: World) -> list[Hit]:
    """List all hits of a condition, in the order in which they are known."""
    name = type(condition).__name__.removesuffix("Condition")
    hits = _FINDERS[name](condition, world)
    return sorted(hits, key=lambda hit: hit.instant)


def _of(said: Said, *, pieces: list[Said] | None = None, floor: Said | None = None, **changes: Any) -> Hit:
    chosen = [said] if pieces is None else sorted(pieces, key=lambda each: each.place)
    chosen = chosen if len(chosen) <= 10 else chosen[:5] + chosen[-5:]
    hit = Hit(
        said.instant,
        said.end,
        said.start,
        said.end,
        said.place,
        (floor or said).place,
        tuple(_piece(each) for each in chosen),
    )
    return replace(hit, **changes)


def _piece(said: Said) -> tuple[Place, tuple[str | None, int, int], str]:
    return said.place, (said.leg, said.told_start, said.end), f"{said.leg}:{said.ordinal}"


def _concerned(world: World, leg: str, speaker: str) -> list[Said]:
    return [each for each in world.said if each.leg == leg and speaker in {"any", each.role}]


def _legs(world: World) -> list[str]:
    return sorted({each.leg for each in world.said})


def _matches(phrase: str, text: str) -> list[int]:
    """Find the numbers of the words where a phrase begins."""
    pattern = PATTERNS.get(phrase, r"\b" + re.escape(phrase).replace(r"\ ", r"\W+") + r"\b")
    return [
        len(re.findall(r"\w+", text[: match.start()]))
        for match in re.finditer(f"(?=({pattern}))", text, re.IGNORECASE)
    ]


def _find_said(condition: Any, world: World) -> list[Hit]:
    hits = []
    for said in world.said:
        text = said.body.text
        if condition.leg not in {"any", said.role}:
            continue
        places = [place for phrase in condition.phrases for place in _matches(phrase, text)]
        needed = [_matches(phrase, text) for phrase in condition.all_of]
        holds = (
            (not condition.phrases or bool(places))
            and all(needed)
            and not any(_matches(phrase, text) for phrase in condition.none_of)
            and (not condition.regex or any(re.search(p, text, re.IGNORECASE) for p in condition.regex))
            and not any(re.search(p, text, re.IGNORECASE) for p in condition.excluding)
        )
        if holds:
            everywhere = places + [place for each in needed for place in each]
            first, last = min(everywhere, default=0), max(everywhere, default=0)
            hits.append(_of(said, first=first, last=last))
    return hits


def _in_window(said: list[Said], counts: list[bool], needed: int, window: int) -> list[Hit]:
    hits = []
    for position, each in enumerate(said):
        newest = [said[p] for p in range(max(0, position - window + 1), position + 1) if counts[p]]
        if counts[position] and len(newest) >= needed:
            hits.append(_of(each, pieces=newest, floor=newest[-needed]))
    return hits


def _feels(condition: Any, body: Utterance) -> bool | None:
    asked: list[bool | None] = []
    missing = True if condition.if_missing == "pass" else None
    if condition.emotions:
        if body.emotion is None or body.emotion_abstained:
            asked.append(None)
        elif body.emotion not in condition.emotions:
            asked.append(False)
        elif body.emotion_confidence is None:
            asked.append(missing)
        else:
            asked.append(True if body.emotion_confidence >= condition.min_confidence else None)
    for value, most in ((body.anger_rank, condition.top_share), (body.anger_daily, condition.most_a_day)):
        if most is not None:
            asked.append(missing if value is None else value <= most)
    if False in asked:
        return False
    return None if None in asked else True


def _find_emotion(condition: Any, world: World) -> list[Hit]:
    hits = []
    for leg in _legs(world):
        said = _concerned(world, leg, "customer")
        feels = [_feels(condition, each.body) for each in said]
        if not condition.for_ms:
            hits += _in_window(said, [each is True for each in feels], condition.needed, condition.window)
            continue
        for position, each in enumerate(said):
            broken = [p for p in range(position) if feels[p] is False]
            row = [p for p in range(broken[-1] + 1 if broken else 0, position + 1) if feels[p] is True]
            if feels[position] is True and each.end - said[row[0]].start >= condition.for_ms:
                hits.append(_of(each, pieces=list(dict.fromkeys((said[row[0]], each)))))
    return hits


def _find_shift(condition: Any, world: World) -> list[Hit]:
    hits = []
    for leg in _legs(world):
        said = [
            each
            for each in _concerned(world, leg, "customer")
            if each.body.emotion is not None and not each.body.emotion_abstained
        ]
        for position, each in enumerate(said):
            row = said[max(0, position + 1 - 2 * condition.window) : position + 1]
            now = [
                one
                for one in row[-condition.window :]
                if one.body.emotion in condition.after
                and (
                    condition.if_missing == "pass"
                    if one.body.emotion_confidence is None
                    else one.body.emotion_confidence >= condition.min_confidence
                )
            ]
            then = [one for one in row[: -condition.window] if one.body.emotion in condition.before]
            if each in now and len(now) >= condition.needed and len(then) >= condition.needed:
                hits.append(_of(each, pieces=[*then, *now], floor=now[-condition.needed]))
    return hits


def _find_trend(condition: Any, world: World) -> list[Hit]:
    hits, half = [], condition.over // 2
    for leg in _legs(world):
        said = [e for e in _concerned(world, leg, "customer") if e.body.anger_rank is not None]
        for position in range(condition.over - 1, len(said)):
            row = said[position + 1 - condition.over : position + 1]
            ranks = [each.body.anger_rank or 0.0 for each in row]
            older, newer = sum(ranks[:half]), sum(ranks[-half:])
            rises = older > 0 and newer <= older / 2
            falls = newer > 0 and older <= newer / 2
            if rises if condition.direction == "rising" else falls:
                hits.append(_of(said[position], pieces=row))
    return hits


def _find_speech_rate(condition: Any, world: World) -> list[Hit]:
    hits = []
    for leg in _legs(world):
        said = [e for e in _concerned(world, leg, condition.leg) if e.end - e.told_start >= 2_000]
        paces = [len(e.body.text.split()) * 60_000 / (e.end - e.told_start) for e in said]
        faster, slower = condition.faster_than_words, condition.slower_than_words
        counts = [
            (faster is not None and pace > faster) or (slower is not None and pace < slower) for pace in paces
        ]
        hits += _in_window(said, counts, condition.needed, condition.window)
    return hits


def _find_loudness(condition: Any, world: World) -> list[Hit]:
    hits = []
    for leg in _legs(world):
        said = _concerned(world, leg, condition.leg)
        counts = []
        for position, each in enumerate(said):
            level = each.body.loudness_dbfs
            before = [e.body.loudness_dbfs for e in said[:position] if e.body.loudness_dbfs is not None]
            if level is None:
                counts.append(condition.if_missing == "pass")
                continue
            far = condition.louder_by is None or (
                len(before) >= 3 and level - sum(before) / len(before) >= condition.louder_by
            )
            counts.append(
                far
                and (condition.above is None or level > condition.above)
                and (condition.below is None or level < condition.below)
            )
        hits += _in_window(said, counts, condition.needed, condition.window)
    return hits


def _find_near(condition: Any, world: World) -> list[Hit]:
    hits: list[Hit] = []
    for leg in _legs(world):
        spoken = [each for each in world.said if each.leg == leg]
        offsets, total = {}, 0
        for each in spoken:
            offsets[each.ordinal] = total
            total += len(re.findall(r"\w+", each.body.text))
        said = [each for each in spoken if condition.leg in {"any", each.role}]

        def spans(phrases: Any, each: Said, offsets: dict[int, int] = offsets) -> list[tuple[int, int]]:
            return sorted(
                (offsets[each.ordinal] + at, offsets[each.ordinal] + at + len(phrase.split()))
                for phrase in phrases
                for at in _matches(phrase, each.body.text)
            )

        if condition.without:
            hits += _find_not_near(condition, world, leg, said, spoken, spans, offsets)
        else:
            hits += _find_both_near(condition, said, spans, offsets)
    return hits


def _distance(one: tuple[int, int], other: tuple[int, int]) -> int:
    return other[0] - one[1] if other[0] >= one[1] else one[0] - other[1]


def _find_both_near(
    condition: Any, said: list[Said], spans: Callable[..., list[tuple[int, int]]], offsets: dict[int, int]
) -> list[Hit]:
    hits = []
    within, ordered = condition.within_words, condition.ordered
    for position, each in enumerate(said):
        a, b = spans(condition.a, each), spans(condition.b, each)
        inside = [x for x in a if any(_distance(x, y) < within and (y[0] >= x[1] or not ordered) for y in b)]
        if inside:
            first, last = inside[0][0] - offsets[each.ordinal], inside[-1][0] - offsets[each.ordinal]
            hits.append(_of(each, first=first, last=last))
            continue
        across = []
        for mine, theirs in ((b, condition.a), *(() if ordered else ((a, condition.b),))):
            earlier = [e for e in said[:position] if spans(theirs, e)]
            if earlier and each.start - earlier[-1].end <= NEAR_MS:
                end = max(span[1] for span in spans(theirs, earlier[-1]))
                across += [(span, earlier[-1]) for span in mine if span[0] - end < within]
        if across:
            span, other = min(across, key=lambda pair: pair[0])
            at = span[0] - offsets[each.ordinal]
            hits.append(_of(each, pieces=[other, each], first=at, last=at))
    return hits


def _find_not_near(
    condition: Any,
    world: World,
    leg: str,
    said: list[Said],
    spoken: list[Said],
    spans: Callable[..., list[tuple[int, int]]],
    offsets: dict[int, int],
) -> list[Hit]:
    known: dict[Instant, list[tuple[Said, int]]] = {}
    within = condition.within_words
    for position, each in enumerate(said):
        waits = False
        for a in spans(condition.a, each):
            own = spans(condition.without, each)
            if any(_distance(a, b) < within and (b[0] >= a[1] or not condition.ordered) for b in own):
                continue
            before = [e for e in said[:position] if spans(condition.without, e)]
            if before and not condition.ordered and each.start - before[-1].end <= NEAR_MS:
                end = max(span[1] for span in spans(condition.without, before[-1]))
                if a[0] - end < within:
                    continue
            deadline: Instant = (each.end + NEAR_MS, 0, "", 0)
            end_of_leg = min((i for i, of in world.left if of == leg and i > each.instant), default=None)
            gap = min((i for i, of, _, _ in world.gaps if of == leg and i > each.instant), default=None)
            decided: Instant | None = None
            for other in said[position:]:
                if decided is not None or other.instant > (gap or other.instant):
                    break
                if other.instant > deadline or (end_of_leg is not None and other.instant > end_of_leg):
                    break
                if other is not each and any(b[0] - a[1] < within for b in spans(condition.without, other)):
                    decided = (-math.inf, 0, "", 0)
                elif offsets[other.ordinal] + len(re.findall(r"\w+", other.body.text)) - a[1] >= within:
                    decided = other.instant
                if other is each and decided is None:
                    if waits:
                        decided = (-math.inf, 0, "", 0)
                    waits = True
            if decided is None:
                ways = [i for i in (deadline, end_of_leg) if i is not None]
                decided = min(ways)
                if decided == deadline:
                    covered = world.end if world.leg is not None else world.frontier
                    if deadline[0] > covered and not world.is_over:
                        continue
                    decided = (deadline[0], 1, leg, -1)
                if gap is not None and gap < decided:
                    continue
            if decided[0] > -math.inf:
                known.setdefault(decided, []).append((each, a[0] - offsets[each.ordinal]))
    hits = []
    for instant, found in known.items():
        each, at = found[-1]
        start = instant[0]
        hits.append(
            _of(
                each,
                pieces=[said for said, _ in found],
                floor=found[0][0],
                instant=instant,
                start=start,
                first=at,
                last=at,
            )
        )
    return hits


def _find_silence(condition: Any, world: World) -> list[Hit]:
    role = "any" if condition.of == "call" else condition.of
    busy = [(e.start, e.end) for e in world.said if role in {"any", e.role} and e.end > e.start]
    busy += [(i[0], end) for i, _, of, end in world.gaps if role in {"any", of}]
    spans = sorted(
        (start, end) for start, end, of in world.roles_over_time(world.end_instant) if role in {"any", of}
    )
    there: list[tuple[float, float]] = []
    for start, end in spans:
        touches = there and (start <= there[-1][1] if world.leg is None else start < there[-1][1])
        if touches:
            there[-1] = (there[-1][0], max(there[-1][1], end))
        else:
            there.append((start, end))
    hits = []
    for start, end in there:
        edges = sorted({start, *(stop for _, stop in busy if start < stop < end)})
        for since in edges:
            if any(one <= since < other for one, other in busy):
                continue
            following = min((one for one, other in busy if one >= since), default=math.inf)
            until = min(following, end)
            due = since + condition.longer_than_ms
            if until > due and due < world.end:
                place = (due, "", 0)
                piece = (place, (None, int(since), int(due)), f"@{int(due)}")
                hits.append(Hit((due + 1, 0, "", 0), int(due), due, int(due), place, place, (piece,)))
    return hits


def _turns(world: World) -> list[Said]:
    return world.said


def _times(turns: list[Said], until: float) -> tuple[float, float]:
    """Return how long anybody spoke, and two roles at once, up to a time."""
    edges = sorted({min(t, until) for turn in turns for t in (turn.start, max(turn.start, turn.end))})
    anybody = both = 0.0
    for start, end in pairwise(edges):
        roles = {turn.role for turn in turns if turn.start <= start and end <= turn.end}
        anybody += (end - start) * bool(roles)
        both += (end - start) * (len(roles) > 1)
    return anybody, both


def _find_interruption(condition: Any, world: World) -> list[Hit]:
    turns = _turns(world)
    return [
        _of(b)
        for position, b in enumerate(turns)
        if b.role == condition.by
        and any(
            a.role != b.role
            and b.start >= a.start + 200
            and b.start <= a.end - 200
            and max(b.start, b.end) > a.end
            for a in turns[:position]
        )
    ]


def _find_overtalk(condition: Any, world: World) -> list[Hit]:
    hits: list[Hit] = []
    stretch: tuple[int, int] | None = None
    told: int | None = None
    held = False
    for position, turn in enumerate(_turns(world)):
        before = _turns(world)[:position]
        if condition.share is not None:
            anybody, both = _times(before, turn.start)
            holds = anybody >= condition.after_ms and anybody > 0 and both / anybody > condition.share
            if holds and not held:
                hits.append(_of(turn))
            held = holds
            continue
        others = [t.end for t in before if t.role != turn.role and t.end > turn.start]
        end = min(max(turn.start, turn.end), max(others, default=turn.start))
        if end <= turn.start:
            continue
        joins = stretch is not None and turn.start <= stretch[1]
        stretch = (stretch[0], max(stretch[1], end)) if stretch and joins else (turn.start, end)
        if stretch[1] - stretch[0] > condition.longer_than_ms:
            if told != stretch[0]:
                hits.append(_of(turn))
            told = stretch[0]
    return hits


def _find_response_delay(condition: Any, world: World) -> list[Hit]:
    hits = []
    for position, turn in enumerate(_turns(world)):
        before = _turns(world)[:position]
        ends = [(max(t.start, t.end), number) for number, t in enumerate(before)]
        if turn.role != condition.of or not ends:
            continue
        end, number = max(ends)
        lost = any(stop > end and i <= turn.instant for i, _, _, stop in world.gaps)
        is_answer = before[number].role != turn.role and end <= turn.start and not lost
        if is_answer and turn.start - end > condition.longer_than_ms:
            hits.append(_of(turn))
    return hits


def _find_talk_share(condition: Any, world: World) -> list[Hit]:
    hits, held = [], False
    for position, turn in enumerate(_turns(world)):
        spoken = [(t.role, max(0, t.end - t.start)) for t in _turns(world)[: position + 1]]
        total = sum(span for _, span in spoken)
        own = sum(span for role, span in spoken if role == condition.of)
        holds = (
            total > 0
            and total >= condition.after_ms
            and (
                (condition.above is not None and own / total > condition.above)
                or (condition.below is not None and own / total < condition.below)
            )
        )
        if holds and not held:
            hits.append(_of(turn))
        held = holds
    return hits


def _join(*hits: Hit) -> tuple[Any, ...]:
    pieces = sorted({piece[0]: piece for hit in hits for piece in hit.pieces}.values())
    return tuple(pieces if len(pieces) <= 10 else pieces[:5] + pieces[-5:])


def _within(window: Any, world: World, roles: frozenset[str], since: float, earlier: Hit, now: Hit) -> bool:
    if window.ms:
        return now.start - since <= window.ms
    if not window.utterances:
        return True
    passed = world.count(roles, now.instant) - world.count(roles, earlier.instant)
    return passed < window.utterances


def _find_any(condition: Any, world: World) -> list[Hit]:
    together: dict[Instant, list[Hit]] = {}
    for part in condition.parts:
        for hit in find(part, world):
            together.setdefault(hit.instant, []).append(hit)
    hits = []
    for found in together.values():
        newest = max(found, key=lambda hit: hit.place)
        hits.append(
            found[0]
            if len(found) == 1
            else replace(
                newest,
                pieces=_join(*found),
                first=min(hit.first for hit in found),
                last=max(hit.last for hit in found),
            )
        )
    return hits


def _find_sum(condition: Any, world: World) -> list[Hit]:
    if isinstance(condition, lang.AllCondition):
        parts = [(1.0, part) for part in condition.parts]
        parts += [(-float(len(condition.parts)), part) for part in condition.unless]
        at_least = float(len(condition.parts))
    else:
        parts = [(part.weight, part.what) for part in condition.parts]
        at_least = condition.at_least
    roles = _roles(condition)
    lists = [(weight, find(part, world)) for weight, part in parts]
    hits = []
    for instant in sorted({hit.instant for weight, found in lists for hit in found if weight > 0}):
        now = [hit for weight, found in lists if weight > 0 for hit in found if hit.instant == instant]
        newest = max(now, key=lambda hit: hit.place)
        total, held = 0.0, []
        for weight, found in lists:
            earlier = [hit for hit in found if hit.instant <= instant]
            current = replace(newest, instant=instant)
            if earlier and _within(condition.within, world, roles, earlier[-1].end, earlier[-1], current):
                total += weight
                held += [earlier[-1]] if weight > 0 else []
        if total >= at_least - 1e-9:
            hits.append(replace(newest, pieces=_join(*held)))
    return hits


def _find_repeated(condition: Any, world: World) -> list[Hit]:
    found, hits = find(condition.what, world), []
    for position in range(condition.times - 1, len(found)):
        row = found[position + 1 - condition.times : position + 1]
        if _within(condition.within, world, _roles(condition.what), row[0].start, row[0], row[-1]):
            hits.append(replace(row[-1], floor=row[0].place, pieces=_join(*row)))
    return hits


def _anchors(anchor: Any, world: World) -> list[Hit]:
    nowhere: Place = (-math.inf, "", 0)
    if anchor.at == "condition":
        return find(anchor.what, world)
    if anchor.at == "call_start":
        return [Hit((-math.inf, 0, "", 0), 0, -math.inf, 0, nowhere, nowhere, ())]
    if anchor.at == "first_utterance":
        said = [each for each in world.said if anchor.role in {"any", each.role}][:1]
        return [replace(_of(each), end=each.start) for each in said]
    seen: set[str] = set()
    found = []
    for instant, leg, body in world.described:
        if body.role != "other" and anchor.role in {"any", body.role} and leg not in seen:
            seen.add(leg)
            place = (instant[0], leg, 0)
            found.append(Hit(instant, int(instant[0]), instant[0], int(instant[0]), place, place, ()))
    return found


@dataclass
class _Outcome:
    """How a wait ended: when, and whether with a hit."""

    instant: Instant
    hit: Hit | None


def _wait(condition: Any, world: World, anchor: Hit, happenings: list[Hit]) -> _Outcome | None:
    """Follow one wait; None: it is not over."""
    roles, within = _roles(condition.what), condition.within
    deadline = anchor.end + within.ms if within.ms else math.inf
    endings: list[tuple[Instant, Place, int]] = []
    if within.ms and deadline <= world.end:
        endings.append(((deadline, 0, "", 0), (deadline, "", 0), int(deadline)))
    if within.utterances:
        target = world.count(roles, anchor.instant) + within.utterances
        for said in world.said:
            if said.instant > anchor.instant and world.count(roles, said.instant) >= target:
                endings.append((said.instant, said.place, said.end))
                break
    if world.is_over and world.leg is None:
        endings.append((world.end_instant, (world.end, "", 0), int(world.end)))
    in_time = [hit.instant for hit in happenings if hit.start < deadline]
    over = min(endings, key=lambda ending: ending[0], default=None)
    if in_time and (over is None or min(in_time) <= over[0]):
        return _Outcome(min(in_time), None)
    if over is None:
        return None
    instant, place, end = over
    is_cut = instant == world.end_instant and bool(within.ms or within.utterances)
    if (
        not world.was_there(roles, anchor.start, instant)
        or world.is_lost(roles, anchor.start, instant)
        or (is_cut and condition.if_call_ends == "pass")
    ):
        return _Outcome(instant, None)
    start = min(anchor.end, end)
    name = f"{place[1]}:{place[2]}" if place[1] else f"@{end}"
    hit = Hit(instant, end, place[0], end, place, place, ((place, (None, start, end), name),))
    return _Outcome(instant, replace(hit, pieces=_join(anchor, hit)))


def _find_absent(condition: Any, world: World) -> list[Hit]:
    happened = find(condition.what, world)
    if condition.of.at == "call_end":
        if not world.is_over:
            return []
        since = world.end - condition.within.ms
        if any(hit.start >= since for hit in happened):
            return []
        place = (since, "", 0)
        anchor = Hit(world.end_instant, int(since), since, int(since), place, place, ())
        ending = _wait(replace_window(condition), world, anchor, [])
        return [ending.hit] if ending is not None and ending.hit is not None else []
    hits, free = [], (-math.inf, -1, "", 0)
    for anchor in _anchors(condition.of, world):
        if anchor.instant < free:
            continue
        after = [hit for hit in happened if hit.instant >= anchor.instant]
        outcome = _wait(condition, world, anchor, after)
        if outcome is None:
            break
        free = outcome.instant
        if outcome.hit is not None:
            hits.append(outcome.hit)
    return hits


def replace_window(condition: Any) -> Any:
    """Take the window away."""
    return lang.AbsentCondition(what=condition.what, of=condition.of)


def _find_during(condition: Any, world: World) -> list[Hit]:
    found = find(condition.what, world)
    if condition.last_ms:
        if not found or not world.is_over or found[-1].start < world.end - condition.last_ms:
            return []
        return [replace(found[-1], instant=world.end_instant)]
    anchors, hits = _anchors(condition.of, world), []
    for hit in found:
        before = [anchor for anchor in anchors if anchor.instant <= hit.instant]
        if before:
            since = hit.start - before[-1].end
            if since >= condition.from_ms and (not condition.until_ms or since < condition.until_ms):
                hits.append(hit)
    return hits


def _comes_after(later: Hit, earlier: Hit) -> bool:
    return later.place != earlier.place or later.last > earlier.first


@dataclass
class _Path:
    first: Hit
    last: Hit
    pieces: tuple[Any, ...]
    outcome: _Outcome | None = None


def _find_sequence(condition: Any, world: World) -> list[Hit]:
    """Walk over all instants with one path for each step, as the documents describe it."""
    steps: list[tuple[Any, list[Hit], list[tuple[list[Hit], frozenset[str]]], bool]] = []
    guards: list[tuple[list[Hit], frozenset[str]]] = []
    for number, step in enumerate(condition.steps):
        is_absent = isinstance(step, lang.AbsentCondition) and step.of.at == "step"
        found = find(step.what if is_absent else step, world)
        is_last = number == len(condition.steps) - 1
        if is_absent and not is_last and step.within == lang.Window():
            guards.append((found, _roles(step.what)))
            continue
        steps.append((step, found, guards, is_absent))
        guards = []
    instants = {hit.instant for _, found, _, _ in steps for hit in found}
    instants |= {hit.instant for _, _, around, _ in steps for found, _ in around for hit in found}
    instants |= {each.instant for each in world.said}
    if world.is_over:
        instants.add(world.end_instant)
    paths: dict[int, _Path] = {}
    hits: list[Hit] = []
    todo = sorted(instants)
    while todo:
        now = todo.pop(0)
        done: Hit | None = None
        for number in range(len(steps) - 1, -1, -1):
            at = number
            path = _take(steps, at, paths.get(at), now, condition, world, paths)
            while path is not None:
                paths.pop(at, None)
                at += 1
                if at == len(steps):
                    last = path.last
                    result = replace(last, pieces=path.pieces, floor=last.place, first=path.first.first)
                    done = result if done is None else done
                    break
                step, found, _, is_absent = steps[at]
                if is_absent:
                    if at in paths:
                        break
                    mine = path.last
                    after = [h for h in found if h.instant >= now and _comes_after(h, mine)]
                    path.outcome = _wait(step, world, path.last, after)
                    if path.outcome is not None and path.outcome.instant > now:
                        todo = sorted({*todo, path.outcome.instant})
                paths[at] = path
                path = _take(steps, at, path, now, condition, world, paths)
        if done is not None:
            hits.append(done)
    return hits


def _take(
    steps: list[Any], number: int, path: _Path | None, now: Instant, condition: Any, world: World, paths: Any
) -> _Path | None:
    _, found, guards, is_absent = steps[number]
    hit = next((hit for hit in found if hit.instant == now), None)
    if path is None:
        return _Path(hit, hit, hit.pieces) if number == 0 and hit is not None else None
    for guard, _ in guards:
        if any(each.instant == now and _comes_after(each, path.last) for each in guard):
            paths.pop(number, None)
            return None
    if is_absent:
        if path.outcome is None or path.outcome.instant != now:
            return None
        hit = path.outcome.hit
        paths.pop(number, None)
    elif hit is not None and not _comes_after(hit, path.last):
        hit = None
    if hit is None:
        return None
    if any(world.is_lost(roles, path.last.start, now) for _, roles in guards):
        paths.pop(number, None)
        return None
    if condition.within_ms and hit.start - path.first.end > condition.within_ms:
        paths.pop(number, None)
        return None
    return _Path(path.first, hit, _join(replace(path.last, pieces=path.pieces), hit))


_FINDERS: dict[str, Callable[[Any, World], list[Hit]]] = {
    "Said": _find_said,
    "Near": _find_near,
    "Emotion": _find_emotion,
    "Shift": _find_shift,
    "Trend": _find_trend,
    "SpeechRate": _find_speech_rate,
    "Loudness": _find_loudness,
    "Silence": _find_silence,
    "Interruption": _find_interruption,
    "Overtalk": _find_overtalk,
    "ResponseDelay": _find_response_delay,
    "TalkShare": _find_talk_share,
    "Any": _find_any,
    "All": _find_sum,
    "Score": _find_sum,
    "Repeated": _find_repeated,
    "Absent": _find_absent,
    "During": _find_during,
    "Sequence": _find_sequence,
}


# --- incidents of silence ---------------------------------------------------------------------------


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


def _judge_runs(
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
            severity = _grow(rule, opened_ms, len(evidence) - 1, deadline, deadline)
            found.add(_make(rule, anchor, opened_ms, deadline, evidence, severity))
            opened, cooldown_until = None, deadline + rule.cooldown_ms
        at_ms = max(due, cooldown_until)
        if end > at_ms:
            anchor = str(start) if leg is None else f"{leg}@{start}"
            opened = (anchor, at_ms, [(leg, start, end)])
    if opened is not None:
        anchor, opened_ms, evidence = opened
        deadline = evidence[-1][2] + rule.close_after_ms
        lasts = evidence[-1][2] == frontier
        is_open = not is_over and (lasts or deadline > frontier)
        closed = None if is_open else min(deadline, frontier)
        severity = _grow(
            rule,
            opened_ms,
            len(evidence) - 1,
            frontier if closed is None else closed,
            math.inf if lasts else deadline,
        )
        found.add(_make(rule, anchor, opened_ms, closed, [] if is_open else evidence, severity))
    return found
