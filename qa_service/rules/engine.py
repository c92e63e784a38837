"""What happens in a call's rules when a log entry arrives.

:class:`CallRules` is a pure function of the call's log, taken one entry at a time: feeding a log again
from its start brings about the same changes, which is how a successor restores the state. A rule on one
leg is judged on that leg's own axis of time as its entries come; any other on the axis of the call, where the
legs are merged in the order of time as far as all live ones are covered. So the order in which entries of
different legs arrive changes no incident: not its identity, its times or its evidence. Only ``call_seq``, the
entry that brought a change about, follows the log.

It is taken for granted that a leg's start is logged before any entry that ends after it: the start's
record comes before the audio. What comes later than that is judged where the call's axis stands.

Time for closing incidents and for cool-downs is audio time; a gap lets it pass, or else an incident on a
leg that nobody can hear would never close.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from qa_service.contract.info import Role
from qa_service.domain.entries import (
    CallEnded,
    CallStarted,
    EarlyWords,
    Gap,
    LegEnded,
    LegStarted,
    LegUpdated,
    LogEntry,
    Quiet,
    Utterance,
)
from qa_service.domain.identities import utterance_id
from qa_service.domain.incidents import Evidence, IncidentChange
from qa_service.rules.axis import (
    Axis,
    Decided,
    Described,
    Item,
    Left,
    Lost,
    RuleAtWork,
    SilenceAtWork,
    Spoke,
    TalkEar,
)
from qa_service.rules.cues import LegEar, Speech
from qa_service.rules.errors import CallLogError
from qa_service.rules.hits import BEFORE_ALL_MS, Place
from qa_service.rules.language import Rule, RuleOutcome, SilenceCondition
from qa_service.rules.lifecycle import Pin
from qa_service.rules.program import Program, compile_rules

__all__ = ["CallRules", "compile_rules"]

Waiting: TypeAlias = tuple[int, str, int, Item]
"""An item that waits for the other legs: its time, its leg, its number on the leg, and itself."""


@dataclass(slots=True)
class _Leg:
    """A leg: how far it is covered, and the rules that look at it alone."""

    leg_id: str
    role: Role
    covered_until: int
    ear: LegEar
    axis: Axis
    is_live: bool = True
    numbers: count[int] = field(default_factory=count)


class CallRules:
    """The rules of one call, and all they remember of it."""

    __slots__ = (
        *("_axis", "_changes", "_heard", "_heard_until", "_legs", "_pin", "_present", "_program", "_waiting"),
    )

    def __init__(self, call_id: str, rule_set_hash: str, program: Program) -> None:
        self._pin = Pin(call_id, rule_set_hash)
        self._program = program
        self._legs: dict[str, _Leg] = {}
        self._changes: list[IncidentChange] = []
        self._axis = Axis(None, self._changes, TalkEar(program.talk) if program.talk.conditions else None)
        self._axis.hears_legs = program.hears_legs
        self._waiting: list[Waiting] = []
        self._heard_until = BEFORE_ALL_MS
        """How far the leg that is ahead of all others is covered."""
        self._present: set[Role] = set()
        """Roles of all legs there have been."""
        self._heard: set[Role] = set()
        """Roles of whom anything was heard, if only silence."""

    def feed(self, entry: LogEntry) -> tuple[IncidentChange, ...]:
        """Take the next entry of the log; return the changes it brings about, in order.

        Raises :class:`CallLogError` for an entry of a leg that is not there, which no log may hold.
        """
        self._handle(entry)
        changes = tuple(self._changes)
        self._changes.clear()
        return changes

    def outcomes(self) -> Mapping[str, RuleOutcome]:
        """Tell what has become of each rule so far, by its id; final once the call has ended."""
        return {rule.id: self._find_outcome(number, rule) for number, rule in enumerate(self._program.rules)}

    @property
    def has_early(self) -> bool:
        """Whether words of an utterance that is not finished can raise any rule."""
        return bool(self._program.early)

    def would_raise(self, leg_id: str, text: str, language: str | None, at_ms: int) -> bool:
        """Tell whether words of an utterance that is not finished would raise a rule now."""
        leg = self._legs.get(leg_id)
        return leg is not None and any(True for _ in self._find_early(leg, text, language, at_ms))

    # --- entries --------------------------------------------------------------------------------------

    def _handle(self, entry: LogEntry) -> None:
        body = entry.body
        self._axis.call_seq = entry.call_seq
        if isinstance(body, CallStarted):
            return
        if isinstance(body, CallEnded):
            self._end_call(entry)
            return
        leg = self._start_leg(entry) if isinstance(body, LegStarted) else self._get_leg(entry)
        leg.axis.call_seq = entry.call_seq
        if isinstance(body, LegStarted | LegUpdated):
            leg.role = body.role
            self._present.add(body.role)
            self._put(leg, Described(leg.covered_until, leg.leg_id, body))
        elif isinstance(body, LegEnded):
            self._end_leg(leg)
        elif isinstance(body, EarlyWords):
            self._hear_early(leg, entry, body)
        else:
            self._cover(leg, entry, body)
        self._merge()

    def _cover(self, leg: _Leg, entry: LogEntry, body: Utterance | Quiet | Gap) -> None:
        if not isinstance(body, Quiet):
            self._place(leg, entry, body)
        else:
            self._heard.add(leg.role)
        if entry.end_ms > leg.covered_until:
            leg.covered_until = entry.end_ms
            self._heard_until = max(self._heard_until, entry.end_ms)
        self._pass_time(leg, leg.covered_until)
        leg.axis.advance(leg.covered_until)

    def _place(self, leg: _Leg, entry: LogEntry, body: Utterance | Gap) -> None:
        start_ms = max(entry.start_ms, leg.covered_until)
        if isinstance(body, Utterance):
            self._pass_time(leg, start_ms)
            place = Place(start_ms, leg.leg_id, body.ordinal)
            speech = Speech(leg.leg_id, leg.role, place, start_ms, entry.end_ms, body, entry.start_ms)
            self._heard.add(leg.role)
            self._put(leg, Spoke(start_ms, leg.leg_id, speech, leg.ear.hear(speech)))
        elif body.reason == "not_sent":
            self._heard.add(leg.role)
        else:
            self._pass_time(leg, start_ms)
            if entry.end_ms > start_ms:
                leg.ear.lose()
                self._put(leg, Lost(start_ms, leg.leg_id, leg.role, entry.end_ms))

    def _pass_time(self, leg: _Leg, until_ms: int | None) -> None:
        if self._program.cues.near and leg.ear.waits:
            for at_ms, hits in leg.ear.pass_time(until_ms):
                if until_ms is None:
                    told = {cue: hit._replace(start_ms=leg.covered_until) for cue, hit in hits.items()}
                    self._put(leg, Decided(leg.covered_until, leg.leg_id, told))
                else:
                    self._put(leg, Decided(at_ms, leg.leg_id, hits))

    def _start_leg(self, entry: LogEntry) -> _Leg:
        leg_id = self._get_leg_id(entry)
        leg = self._legs.get(leg_id)
        if leg is None:
            axis = Axis(leg_id, self._changes, None)
            leg = self._legs[leg_id] = _Leg(leg_id, "other", entry.start_ms, LegEar(self._program.cues), axis)
        elif not leg.is_live:
            leg.covered_until = max(leg.covered_until, entry.start_ms)
        leg.is_live = True
        return leg

    def _end_leg(self, leg: _Leg) -> None:
        if not leg.is_live:
            return
        self._pass_time(leg, None)
        leg.is_live = False
        leg.axis.call_seq = self._axis.call_seq
        self._put(leg, Left(leg.covered_until, leg.leg_id))
        leg.axis.end()

    def _end_call(self, entry: LogEntry) -> None:
        for leg in self._legs.values():
            self._end_leg(leg)
        while self._waiting:
            self._apply_call(heappop(self._waiting)[-1])
        end_ms = self._heard_until if self._heard_until > BEFORE_ALL_MS else entry.end_ms
        self._begin_call_rules()
        self._axis.advance(end_ms)
        self._axis.finish()

    # --- axes -----------------------------------------------------------------------------------------

    def _put(self, leg: _Leg, item: Item) -> None:
        """Put an item on its leg's axis now, and on the call's when its time has come."""
        if self._program.leg_rules:
            self._apply_leg(leg, item)
        if self._program.call_rules:
            heappush(self._waiting, (item.at_ms, leg.leg_id, next(leg.numbers), item))

    def _merge(self) -> None:
        """Let the call's axis follow, as far as all live legs are covered."""
        if not self._program.call_rules:
            return
        until_ms = self._heard_until
        for leg in self._legs.values():
            if leg.is_live and leg.covered_until < until_ms:
                until_ms = leg.covered_until
        while self._waiting and self._waiting[0][0] < until_ms:
            self._apply_call(heappop(self._waiting)[-1])
        if self._axis.end_ms > BEFORE_ALL_MS:
            self._axis.advance(until_ms)

    def _apply_leg(self, leg: _Leg, item: Item) -> None:
        axis = leg.axis
        axis.advance(item.at_ms)
        if isinstance(item, Described):
            axis.describe(item)
            for number in self._program.leg_standing:
                if number not in axis.rules:
                    self._begin(axis, number)
        else:
            self._apply(axis, item, self._program.leg_listeners)

    def _apply_call(self, item: Item) -> None:
        axis = self._axis
        axis.advance(item.at_ms)
        self._begin_call_rules()
        if isinstance(item, Described):
            axis.describe(item)
        else:
            self._apply(axis, item, self._program.call_listeners)

    def _begin_call_rules(self) -> None:
        """Begin with those rules of the call that wait for something from its start on."""
        if self._axis.rules or not self._program.call_standing:
            return
        for number in self._program.call_standing:
            self._begin(self._axis, number)
        self._axis.advance(self._axis.end_ms)

    def _apply(self, axis: Axis, item: Item, listeners: Mapping[int, Sequence[int]]) -> None:
        if isinstance(item, Spoke):
            hits = axis.speak(item.speech, item.hits)
            self._settle_early(axis, item)
            axis.tell(self._find_rules(axis, hits, listeners), hits, item.speech)
        elif isinstance(item, Decided):
            axis.tell(self._find_rules(axis, item.hits, listeners), item.hits, None)
        elif isinstance(item, Lost):
            axis.lose(item)
        elif isinstance(item, Left):
            axis.leave(item)

    def _find_rules(
        self, axis: Axis, hits: Iterable[int], listeners: Mapping[int, Sequence[int]]
    ) -> set[int]:
        numbers = {number for cue in hits for number in listeners.get(cue, ())}
        for number in numbers:
            if number not in axis.rules:
                self._begin(axis, number)
        return numbers

    def _begin(self, axis: Axis, number: int) -> RuleAtWork:
        rule = self._program.rules[number]
        if isinstance(rule.when, SilenceCondition):
            return axis.begin(number, SilenceAtWork(rule, rule.when, axis, self._pin))
        node = self._program.maker.make(rule.when)
        return axis.begin(number, RuleAtWork(rule, node, axis, self._pin))

    # --- early words ----------------------------------------------------------------------------------

    def _find_early(self, leg: _Leg, text: str, language: str | None, at_ms: int) -> Iterable[int]:
        for cue in leg.ear.match(text, leg.role, language):
            for number in self._program.early.get(cue, ()):
                at_work = leg.axis.rules.get(number)
                if at_work is None or at_work.may_open(at_ms):
                    yield number

    def _hear_early(self, leg: _Leg, entry: LogEntry, body: EarlyWords) -> None:
        evidence = Evidence(
            utterance_id=utterance_id(entry.call_id, leg.leg_id, body.ordinal),
            leg=leg.leg_id,
            role=leg.role,
            text=body.text,
            start_ms=entry.start_ms,
            end_ms=entry.end_ms,
        )
        for number in sorted(set(self._find_early(leg, body.text, body.language, entry.end_ms))):
            at_work = leg.axis.rules.get(number) or self._begin(leg.axis, number)
            at_work.open_early(f"{leg.leg_id}~{entry.start_ms}", entry.end_ms, evidence)
            leg.axis.reschedule(number)

    def _settle_early(self, axis: Axis, item: Spoke) -> None:
        if not self._program.early or axis.leg_id is None:
            return
        for cue, numbers in self._program.early.items():
            for number in numbers:
                at_work = axis.rules.get(number)
                if at_work is not None:
                    at_work.settle_early(item.hits.get(cue), item.speech.end_ms)
                    axis.reschedule(number)

    # --- outcomes -------------------------------------------------------------------------------------

    def _find_outcome(self, number: int, rule: Rule) -> RuleOutcome:
        axes = (self._axis, *(leg.axis for leg in self._legs.values()))
        at_work = [axis.rules[number] for axis in axes if number in axis.rules]
        if any(each.is_raised for each in at_work):
            return "raised"
        roles = self._program.roles[number]
        present = self._present if "any" in roles else roles & self._present
        if not present or not self._axis.is_for(rule.where):
            return "not_applicable"
        if any(each.undecidable for each in at_work):
            return "undecidable"
        if number in self._program.waits:
            arose = any(each.arose for each in at_work)
            return "passed" if arose else "not_applicable"
        return "passed" if present & self._heard else "undecidable"

    # --- parts ----------------------------------------------------------------------------------------

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
