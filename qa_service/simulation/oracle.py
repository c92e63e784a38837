"""Whether a run came out right, from what was said and what the database holds in the end.

Nothing here looks at how it came about. Of every leg: what was released covers it without holes or overlaps;
every word that was published stands in the transcript once, in its place and order, or lies in a gap for
which the run gave a reason; nothing that was said in a pause is there. Of every call: its log is numbered
without holes, it has ended, and its incidents were each announced, opened and closed once: those of words
that were said, and in detail those that its rules make of its log.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from qa_service.domain.entries import (
    CallEnded,
    CallStarted,
    Gap,
    LegEnded,
    LegStarted,
    LegUpdated,
    LogEntry,
    Quiet,
    Utterance,
)
from qa_service.domain.writes import WriteBatch
from qa_service.rules.ruleset import RuleSet, load_rule_set
from qa_service.simulation.script import CallScript, LegScript
from qa_service.simulation.words import read_words
from qa_service.storage import rows
from qa_service.testing.store import MemoryStore

ORDINARY_GAPS = frozenset({"paused", "not_sent", "lost"})
"""Gaps that a platform causes, where nothing was said that could be lost."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the faults of a run excuse."""

    gaps: frozenset[str] = ORDINARY_GAPS
    words: frozenset[int] = frozenset()
    """Said to a recogniser that was deaf, and of a kind that does not tell of its progress: a short sound
    that it leaves unanswered is taken for none."""


def find_faults(calls: Iterable[CallScript], store: MemoryStore, allowance: Allowance) -> list[str]:
    """Everything that is wrong with what is stored, in words; empty if nothing is."""
    logs = _logs(store)
    faults: list[str] = []
    for call in calls:
        log = logs.pop(call.call_id, [])
        faults += (f"{call.call_id}: {fault}" for fault in _judge_call(call, log, store, allowance))
    faults += (f"{call_id}: nobody published this call" for call_id in logs)
    return faults


def _logs(store: MemoryStore) -> dict[str, list[LogEntry]]:
    logs: dict[str, list[LogEntry]] = {}
    for (call_id, _), row in sorted(store.entries.items()):
        logs.setdefault(call_id, []).append(rows.entry_from_row(row))
    return logs


def _judge_call(
    call: CallScript, log: list[LogEntry], store: MemoryStore, allowance: Allowance
) -> Iterator[str]:
    if [entry.call_seq for entry in log] != list(range(1, len(log) + 1)):
        yield f"the log is numbered {[entry.call_seq for entry in log]}"
    if not log or not isinstance(log[0].body, CallStarted):
        yield "the log does not begin with the call's start"
    if not log or not isinstance(log[-1].body, CallEnded):
        yield "the call has not ended"
    if sum(isinstance(entry.body, CallStarted) for entry in log) > 1:
        yield "the call began twice"
    for leg_id, leg in call.legs.items():
        bodies = [entry.body for entry in log if entry.leg_id == leg_id]
        # A record may both open a leg and describe it.
        for kind in (LegStarted, LegUpdated):
            told = [body.source_offset for body in bodies if isinstance(body, kind)]
            if len(set(told)) < len(told):
                yield f"{leg_id}: records at {told} were applied more than once"
        has_idled = any(isinstance(body, LegEnded) and body.reason == "idle" for body in bodies)
        if has_idled and not leg.may_idle:
            yield f"{leg_id}: its end was forgotten, and only its silence ended it"
        releases = [body for body in bodies if isinstance(body, Utterance | Quiet | Gap)]
        yield from (f"{leg_id}: {fault}" for fault in _judge_leg(leg, releases, allowance))
    yield from _judge_incidents(call, log, store)


def _judge_leg(
    leg: LegScript, releases: list[Utterance | Quiet | Gap], allowance: Allowance
) -> Iterator[str]:
    covered, spoken_from = 0, 0
    for release in releases:
        # A hole that a speaker talked across lies inside the utterance.
        is_inside = isinstance(release, Gap) and release.start_pos >= spoken_from
        if release.end_pos < release.start_pos or (release.start_pos < covered and not is_inside):
            yield f"{release} overlaps what is covered up to {covered}"
        if isinstance(release, Utterance):
            spoken_from = release.start_pos
        elif release.end_pos > covered:
            spoken_from = release.end_pos
        covered = max(covered, release.end_pos)
    ordinals = [release.ordinal for release in releases if isinstance(release, Utterance)]
    if ordinals != list(range(1, len(ordinals) + 1)):
        yield f"utterances are numbered {ordinals}"
    gaps = [release for release in releases if isinstance(release, Gap)]
    strange = {gap.reason for gap in gaps} - allowance.gaps
    if strange:
        yield f"gaps of reason {sorted(strange)} without a reason"
    heard = [
        word for release in releases if isinstance(release, Utterance) for word in read_words(release.text)
    ]
    yield from _compare(leg, heard, gaps, excused=allowance.words)


def _compare(leg: LegScript, heard: list[int], gaps: list[Gap], *, excused: frozenset[int]) -> Iterator[str]:
    counts = Counter(heard)
    if doubled := sorted(word for word, count in counts.items() if count > 1):
        yield f"words {doubled} came more than once"
    if leaked := sorted(counts.keys() & leg.secrets):
        yield f"words {leaked} were said in a pause"
    missing = [word for word in leg.words if word not in counts and word not in excused]
    if lost := [word for word in missing if not _lies_in(leg.where[word], gaps)]:
        yield f"words {lost} are lost"
    if foreign := sorted(counts.keys() - set(leg.words) - leg.secrets):
        yield f"words {foreign} were never said"
    in_order = [word for word in dict.fromkeys(heard) if word in leg.where]
    if in_order != sorted(in_order, key=lambda word: leg.where[word]):
        yield f"words came in the order {in_order}"


def _lies_in(stretch: tuple[int, int], gaps: list[Gap]) -> bool:
    """Whether a gap takes away enough of a word that it cannot be read."""
    start, end = stretch
    return any(
        gap.start_pos < end and start < gap.end_pos and gap.reason not in ORDINARY_GAPS for gap in gaps
    )


def _judge_incidents(call: CallScript, log: list[LogEntry], store: MemoryStore) -> Iterator[str]:
    found = [row for row in store.incidents.values() if row["call_id"] == call.call_id]
    for rule_id, expected in call.incidents.items():
        count = sum(row["rule_id"] == rule_id for row in found)
        if count != expected:
            yield f"{count} incidents of {rule_id}, not {expected}"
    if still := sorted(row["rule_id"] for row in found if row["state"] != "closed"):
        yield f"incidents of {still} are still open"
    events = [row for _, row in sorted(store.outbox.items()) if row.call_id == call.call_id]
    order = [row.call_seq for row in events]
    if order != sorted(order):
        yield f"events leave in the order {order} of the log"
    kinds = Counter(row.type for row in events if row.topic == "alerts")
    if kinds["qa.alert.opened"] != len(found) or kinds["qa.alert.closed"] != len(found):
        yield f"{len(found)} incidents, announced by {dict(kinds)}"
    yield from _judge_by_log(call.call_id, log, found, store)


def _judge_by_log(
    call_id: str, log: list[LogEntry], found: list[dict[str, Any]], store: MemoryStore
) -> Iterator[str]:
    """Compare with what the rules that the call is pinned to make of its log, read from start to end."""
    if not log or not isinstance(log[0].body, CallStarted):
        return  # told already
    pinned = log[0].body.rule_set_hash
    if store.calls[call_id]["rule_set_hash"] != pinned:
        yield "the call is pinned to two rule sets"
    if pinned not in store.rule_sets:
        yield "the rule set that it is pinned to is not stored"
        return
    rules = _load(store.rule_sets[pinned]).start(call_id)
    newest = {change.incident_id: change for entry in log for change in rules.feed(entry)}
    expected = {key: (c.rule_set_hash, c.opened_ms, c.closed_ms, c.n) for key, c in newest.items()}
    stored = {
        row["incident_id"]: (row["rule_set_hash"], row["opened_ms"], row["closed_ms"], row["n"])
        for row in found
    }
    if stored != expected:
        yield f"incidents are {stored}, and by the log {expected}"


@functools.cache
def _load(source: str) -> RuleSet:
    return load_rule_set(source, "stored rules")


class Promise:
    """Watches each transaction: ``next_offset`` never passes a word that is not stored or excused."""

    def __init__(
        self,
        calls: Iterable[CallScript],
        offsets: dict[int, tuple[int, int]],
        excused: Callable[[], AbstractSet[int]],
    ) -> None:
        self._excused = excused
        self.broken: list[str] = []
        self._legs = {(call.call_id, leg_id): leg for call in calls for leg_id, leg in call.legs.items()}
        self._homes = {word: key for key, leg in self._legs.items() for word in leg.words}
        self._offsets = offsets
        """Where each word was published first: partition and offset."""
        self._settled: set[int] = set()

    def watch(self, batch: WriteBatch) -> None:
        """Look at a batch that has just been stored."""
        for entry in batch.entries:
            match entry.body:
                case Utterance(text=text):
                    self._settled.update(read_words(text))
                case Gap(reason=reason) if reason not in ORDINARY_GAPS and entry.leg_id is not None:
                    leg = self._legs[entry.call_id, entry.leg_id]
                    self._settled.update(w for w, where in leg.where.items() if _lies_in(where, [entry.body]))
                case _:
                    pass
        for word, (partition, offset) in self._offsets.items():
            if partition != batch.partition or offset >= batch.next_offset or word in self._settled:
                continue
            self._settled.add(word)  # told once
            if word not in self._excused():
                where = "/".join(self._homes[word])
                self.broken.append(f"{where}: next_offset {batch.next_offset} passes word {word} at {offset}")

    def forget(self, store: MemoryStore) -> None:
        """Begin anew with what a database that was set back still holds."""
        self._settled.clear()
        for row in store.entries.values():
            body = rows.entry_from_row(row).body
            if isinstance(body, Utterance):
                self._settled.update(read_words(body.text))
