"""Dialogues for tests: call logs written by hand, and put into other orders of arrival."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from qa_service.domain.entries import (
    Body,
    CallEnded,
    CallStarted,
    Gap,
    LegEnded,
    LegStarted,
    LegUpdated,
    LogEntry,
    Quiet,
    Redaction,
    Utterance,
)
from qa_service.domain.identities import utterance_id

CALL = "call-1"


@dataclass
class Dialogue:
    """Writes a log entry by entry; a leg's entries follow each other unless told otherwise."""

    entries: list[LogEntry] = field(default_factory=list)
    _ordinals: dict[str, int] = field(default_factory=dict)
    _ends: dict[str, int] = field(default_factory=dict)

    def begin(self, *legs: str) -> Dialogue:
        self.add(None, 0, 0, CallStarted("hash", 0))
        for leg in legs:
            self.start(leg)
        return self

    def start(self, leg: str, at_ms: int = 0, role: Any = None, **described: Any) -> Dialogue:
        self._ends[leg] = max(at_ms, self._ends.get(leg, at_ms))
        body = LegStarted(
            role=role or leg.split("-", maxsplit=1)[0],
            role_is_explicit=True,
            emotion_policy="on",
            codec="pcmu",
            rate=8000,
            source_offset=0,
            **described,
        )
        return self.add(leg, at_ms, at_ms, body)

    def update(self, leg: str, role: Any, **described: Any) -> Dialogue:
        body = LegUpdated(role=role, role_is_explicit=True, emotion_policy="on", source_offset=0, **described)
        return self.add(leg, self._ends[leg], self._ends[leg], body)

    def say(self, leg: str, text: str, start_ms: int, end_ms: int, **changes: Any) -> Dialogue:
        ordinal = self._ordinals[leg] = self._ordinals.get(leg, 0) + 1
        body = Utterance(
            utterance_id=utterance_id(CALL, leg, ordinal),
            ordinal=ordinal,
            text=text,
            language="en",
            emotion=None,
            emotion_confidence=None,
            emotion_abstained=False,
            start_pos=0,
            end_pos=0,
            time_source="server",
            engine="engine",
            model="model",
        )
        return self.add(leg, start_ms, end_ms, msgspec.structs.replace(body, **changes))

    def feel(
        self, leg: str, emotion: Any, start_ms: int, end_ms: int, confidence: float | None = 0.9
    ) -> Dialogue:
        return self.say(leg, "words", start_ms, end_ms, emotion=emotion, emotion_confidence=confidence)

    def hush(self, leg: str, until_ms: int) -> Dialogue:
        body = Quiet(start_pos=0, end_pos=0, time_source="progress")
        return self.add(leg, self._ends[leg], until_ms, body)

    def lose(self, leg: str, until_ms: int, reason: Any = "lost") -> Dialogue:
        return self.add(leg, self._ends[leg], until_ms, Gap(reason=reason, start_pos=0, end_pos=0))

    def end(self, leg: str) -> Dialogue:
        return self.add(leg, self._ends[leg], self._ends[leg], LegEnded("stop"))

    def end_call(self) -> Dialogue:
        at_ms = max(self._ends.values(), default=0)
        return self.add(None, at_ms, at_ms, CallEnded())

    def add(self, leg: str | None, start_ms: int, end_ms: int, body: Body) -> Dialogue:
        if leg is not None:
            self._ends[leg] = max(self._ends[leg], end_ms)
        entry = LogEntry(
            call_id=CALL,
            call_seq=len(self.entries) + 1,
            leg_id=leg,
            start_ms=start_ms,
            end_ms=end_ms,
            body=body,
        )
        self.entries.append(entry)
        return self


def shuffle(entries: list[LogEntry], seed: int) -> list[LogEntry]:
    """Let the legs' entries arrive in another order: each leg's own stay in order, starts come in time."""
    random = Random(seed)
    closing = [entry for entry in entries if entry.leg_id is None]
    waiting: dict[str, list[LogEntry]] = {}
    for entry in entries:
        if entry.leg_id is not None:
            waiting.setdefault(entry.leg_id, []).append(entry)
    arrived: list[LogEntry] = []
    while any(waiting.values()):
        leg = random.choice([leg for leg, left in waiting.items() if left and _may_arrive(left[0], waiting)])
        arrived.append(waiting[leg].pop(0))
    return [
        msgspec.structs.replace(entry, call_seq=number)
        for number, entry in enumerate((*arrived, *closing), start=1)
    ]


def _may_arrive(entry: LogEntry, waiting: dict[str, list[LogEntry]]) -> bool:
    if isinstance(entry.body, LegStarted | LegUpdated):
        return True
    starts = [
        other.start_ms for left in waiting.values() for other in left if isinstance(other.body, LegStarted)
    ]
    return all(entry.end_ms <= start for start in starts)


def redacted(dialogue: Dialogue, leg: str, text: str, *redactions: Redaction) -> Dialogue:
    """Say something of which redaction removed a part."""
    return dialogue.say(leg, text, 0, 1_000, redactions=redactions)
