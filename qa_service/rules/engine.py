"""What happens in a call's rules when a log entry arrives.

:class:`CallRules` is a pure function of the call's log, taken one entry at a time: feeding a log again
from its start brings about the same changes, which is how a successor restores the state. A condition on
one leg is judged as that leg's entries come; one across legs as far as all live legs are covered
(``silences``). So the order in which entries of different legs arrive changes no incident: not its
identity, its times or its evidence. Only ``call_seq``, the entry that brought a change about, follows the
log.

Time for closing incidents and for cool-downs is audio time; a gap lets it pass, or else an incident on a
leg that nobody can hear would never close.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from qa_service.contract.info import Role
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
from qa_service.domain.incidents import IncidentChange
from qa_service.rules.errors import CallLogError
from qa_service.rules.language import Rule, SilenceCondition
from qa_service.rules.lifecycle import IncidentTrack, Pin
from qa_service.rules.silences import CallSilence, SilenceWatch, Stretch, read_stretches
from qa_service.rules.utterances import Speech, UtteranceTest, UtteranceWatch, compile_utterance_test

Changes: TypeAlias = Iterator[IncidentChange]


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule and, if it is about utterances, its compiled test."""

    rule: Rule
    test: UtteranceTest | None


def compile_rules(rules: Sequence[Rule]) -> tuple[CompiledRule, ...]:
    """Compile rules once for all calls."""
    return tuple(
        CompiledRule(
            rule, None if isinstance(rule.when, SilenceCondition) else compile_utterance_test(rule.when)
        )
        for rule in rules
    )


@dataclass(slots=True)
class _LegSilence:
    """A rule on the silence of whoever holds a role, on one leg."""

    role: Role
    watch: SilenceWatch


@dataclass(slots=True)
class _Leg:
    """A leg, and the rules that look at it alone."""

    leg_id: str
    role: Role
    covered_until: int
    is_live: bool = True
    utterance_watches: list[UtteranceWatch] = field(default_factory=list)
    silences: list[_LegSilence] = field(default_factory=list)


class CallRules:
    """The rules of one call, and all they remember of it."""

    __slots__ = ("_call_silences", "_legs", "_pin", "_rules")

    def __init__(self, call_id: str, rule_set_hash: str, rules: tuple[CompiledRule, ...]) -> None:
        self._pin = Pin(call_id, rule_set_hash)
        self._rules = rules
        self._legs: dict[str, _Leg] = {}
        self._call_silences = [
            CallSilence(compiled.rule.when.longer_than_ms, IncidentTrack(compiled.rule, self._pin))
            for compiled in rules
            if isinstance(compiled.rule.when, SilenceCondition) and compiled.rule.when.of == "call"
        ]

    def feed(self, entry: LogEntry) -> tuple[IncidentChange, ...]:
        """Take the next entry of the log; return the changes it brings about, in order.

        Raises :class:`CallLogError` for an entry of a leg that is not there, which no log may hold.
        """
        return tuple(self._handle(entry))

    def _handle(self, entry: LogEntry) -> Changes:
        body = entry.body
        if isinstance(body, CallStarted):
            return
        if isinstance(body, CallEnded):
            yield from self._end_call(entry)
        elif isinstance(body, LegStarted):
            self._start_leg(entry, body)
        elif isinstance(body, LegUpdated):
            self._get_leg(entry).role = body.role
        elif isinstance(body, LegEnded):
            yield from self._end_leg(self._get_leg(entry), entry.end_ms, entry.call_seq)
        else:
            yield from self._cover(self._get_leg(entry), entry, body)

    def _cover(self, leg: _Leg, entry: LogEntry, body: Utterance | Quiet | Gap) -> Changes:
        if isinstance(body, Utterance):
            yield from self._hear(leg, Speech.from_entry(entry, body, leg.leg_id, leg.role))
        for watch in leg.utterance_watches:
            yield from watch.pass_time(entry.end_ms, entry.call_seq)
        for stretch in read_stretches(entry, leg.covered_until):
            yield from self._listen(leg, stretch, entry.call_seq)
        leg.covered_until = max(leg.covered_until, entry.end_ms)

    def _hear(self, leg: _Leg, speech: Speech) -> Changes:
        for watch in leg.utterance_watches:
            yield from watch.pass_time(speech.start_ms, speech.call_seq)
            yield from watch.hear(speech)

    def _listen(self, leg: _Leg, stretch: Stretch, call_seq: int) -> Changes:
        for silence in leg.silences:
            sounded = stretch if silence.role == leg.role else stretch._replace(sound="away")
            yield from silence.watch.hear(sounded, call_seq)
        for call_silence in self._call_silences:
            yield from call_silence.hear(leg.leg_id, stretch, call_seq)

    def _start_leg(self, entry: LogEntry, body: LegStarted) -> None:
        leg_id = self._get_leg_id(entry)
        leg = self._legs.get(leg_id)
        if leg is None:
            leg = self._legs[leg_id] = self._make_leg(leg_id, body.role, entry.start_ms)
        if not leg.is_live:
            leg.covered_until = max(leg.covered_until, entry.start_ms)
        leg.role = body.role
        leg.is_live = True
        for call_silence in self._call_silences:
            call_silence.start_leg(leg_id, leg.covered_until)

    def _make_leg(self, leg_id: str, role: Role, start_ms: int) -> _Leg:
        leg = _Leg(leg_id, role, covered_until=start_ms)
        for compiled in self._rules:
            condition = compiled.rule.when
            track = IncidentTrack(compiled.rule, self._pin)
            if compiled.test is not None:
                leg.utterance_watches.append(UtteranceWatch(compiled.test, track))
            elif isinstance(condition, SilenceCondition) and condition.of != "call":
                watch = SilenceWatch(condition.longer_than_ms, track, leg_id)
                leg.silences.append(_LegSilence(condition.of, watch))
        return leg

    def _end_leg(self, leg: _Leg, at_ms: int, call_seq: int) -> Changes:
        if not leg.is_live:
            return
        leg.is_live = False
        for watch in leg.utterance_watches:
            yield from watch.end(at_ms, call_seq)
        for silence in leg.silences:
            yield from silence.watch.end(leg.covered_until, call_seq)
        for call_silence in self._call_silences:
            yield from call_silence.end_leg(leg.leg_id, call_seq)

    def _end_call(self, entry: LogEntry) -> Changes:
        for leg in self._legs.values():
            yield from self._end_leg(leg, leg.covered_until, entry.call_seq)
        for call_silence in self._call_silences:
            yield from call_silence.end(entry.call_seq)

    def _get_leg(self, entry: LogEntry) -> _Leg:
        leg = self._legs.get(self._get_leg_id(entry))
        if leg is None:
            raise CallLogError(f"{self._describe(entry)}: leg {entry.leg_id!r} has not started")
        return leg

    def _get_leg_id(self, entry: LogEntry) -> str:
        if entry.leg_id is None:
            raise CallLogError(f"{self._describe(entry)} names no leg")
        return entry.leg_id

    def _describe(self, entry: LogEntry) -> str:
        return f"entry {entry.call_seq} ({type(entry.body).__name__}) of call {self._pin.call_id!r}"
