"""An axis of time with rules on it: that of one leg, or that of the call, on which all legs are merged.

What becomes known is put on an axis as items, in the order of their times. Between them time passes, and
rules that asked for it are told of the moment (:meth:`Axis.advance`). All that rules may know of the call
besides is kept here: who is there, who speaks until when, what was lost, how many utterances there were.

An item is handled after everything that is due up to its time, so a time is over just before what begins
at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, NamedTuple, TypeAlias

from qa_service.contract.info import Role
from qa_service.domain.entries import LegStarted, LegUpdated
from qa_service.domain.incidents import Evidence, IncidentChange
from qa_service.domain.talk import Talk, Turn
from qa_service.rules.cues import Cue, Hits, Speech
from qa_service.rules.hits import BEFORE_ALL_MS, NOWHERE, Hit, Place
from qa_service.rules.language import (
    OvertalkCondition,
    ResponseDelayCondition,
    Rule,
    SilenceCondition,
    Silent,
    Speaker,
    TalkCondition,
    TalkShareCondition,
    Where,
)
from qa_service.rules.lifecycle import OpenIncident, Pin
from qa_service.rules.nodes import Instant, Node, earliest

Description: TypeAlias = LegStarted | LegUpdated

_GROUPS: Final[tuple[Speaker, ...]] = ("any", "customer", "agent")


class Described(NamedTuple):
    """A leg has come, or is described anew from now on."""

    at_ms: int
    leg_id: str
    body: Description


class Left(NamedTuple):
    """A leg has ended."""

    at_ms: int
    leg_id: str


class Spoke(NamedTuple):
    """Somebody has said something."""

    at_ms: int
    leg_id: str
    speech: Speech
    hits: Hits


class Decided(NamedTuple):
    """Conditions on a leg hold because nothing more was said."""

    at_ms: int
    leg_id: str
    hits: Hits


class Lost(NamedTuple):
    """Nobody knows what was said on a leg."""

    at_ms: int
    leg_id: str
    role: Role
    end_ms: int


Item: TypeAlias = Described | Left | Spoke | Decided | Lost


@dataclass(slots=True)
class _Group:
    """What is known of all legs of a role, or of all legs."""

    live: int = 0
    since: int = 0
    """Since when there has been one."""
    left_ms: int = BEFORE_ALL_MS
    busy_until: int = BEFORE_ALL_MS
    lost_until: int = BEFORE_ALL_MS
    count: int = 0

    def enter(self, at_ms: int, *, anew: bool) -> None:
        if not self.live and (anew or at_ms > self.left_ms):
            self.since = at_ms
        self.live += 1

    def leave(self, at_ms: int) -> None:
        self.live -= 1
        self.left_ms = max(self.left_ms, at_ms)


class RuleAtWork:
    """A rule on an axis: its condition, and its incidents."""

    __slots__ = (
        *("_is_early", "_is_timed", "_pin", "_was_raised", "arose", "axis", "cooldown_until", "incident"),
        *("is_keen", "is_raised", "node", "rule", "scheduled", "undecidable", "used"),
    )

    def __init__(self, rule: Rule, node: Node | None, axis: Axis, pin: Pin) -> None:
        self.rule = rule
        self.node = node
        self.axis = axis
        self._pin = pin
        self.incident: OpenIncident | None = None
        """The one that is open."""
        self.is_raised = False
        """Whether any was opened that was not withdrawn."""
        self.cooldown_until = BEFORE_ALL_MS
        """Call time before which none is opened."""
        self._is_timed = node is None or node.is_timed
        self.arose = False
        """Whether anything was waited for that must happen."""
        self.undecidable = False
        """Whether it could not be told if it did."""
        self.is_keen = False
        """Whether it wants to be told of every utterance."""
        self.used: Place = NOWHERE
        """The newest place that any incident rests on."""
        self.scheduled: int | None = None
        self._is_early = False
        """Whether the open incident rests on words of an utterance that is not finished."""
        self._was_raised = False

    def run(self, instant: Instant) -> None:
        """Take an instant."""
        self._pass_time(instant.at_ms)
        if self.node is not None:
            hit = self.node.hear(instant)
            if hit is not None and self.axis.is_for(self.rule.where):
                self._take(hit)

    def due(self) -> int | None:
        """Return the call time at which it wants to be told of the time."""
        due = self.node.due(self.axis) if self._is_timed and self.node is not None else None
        incident = self.incident
        if incident is None or self._is_early:
            return due
        return earliest((due, incident.deadline, incident.escalates_ms))

    def look(self) -> None:
        """Look again at what it wants to be told of."""
        self.is_keen = self._is_early or (self._is_timed and self.node is not None and self.node.is_keen)

    def end(self, at_ms: int) -> None:
        """Close what is open, with the leg or the call."""
        if self._is_early:
            self._withdraw(at_ms)
        self._pass_time(at_ms)
        if self.incident is not None:
            self._close(self.incident, at_ms)

    def break_silence(self, at_ms: int) -> None:
        """Take note that silence may have ended."""

    # --- early words ----------------------------------------------------------------------------------

    def may_open(self, at_ms: int) -> bool:
        """Tell whether early words would open an incident."""
        return self.incident is None and at_ms >= self.cooldown_until

    def open_early(self, anchor: str, at_ms: int, evidence: Evidence) -> None:
        """Open an incident on words of an utterance that is not finished."""
        self._was_raised = self.is_raised
        self._is_early = True
        self._open(anchor, at_ms, (evidence,))

    def settle_early(self, hit: Hit | None, at_ms: int) -> None:
        """Confirm by the finished utterance what its first words said, or take it back."""
        if not self._is_early or self.incident is None:
            return
        if hit is None:
            self._withdraw(at_ms)
            return
        self._is_early = False
        self.used = hit.place
        evidence = tuple(piece.evidence for piece in hit.pieces)
        self._tell(self.incident.confirm(at_ms=hit.at_ms, evidence=evidence, call_seq=self.axis.call_seq))

    def _withdraw(self, at_ms: int) -> None:
        self._is_early = False
        self.is_raised = self._was_raised
        if self.incident is not None:
            self._tell(self.incident.withdraw(at_ms=at_ms, call_seq=self.axis.call_seq))
        self.incident = None

    # --- incidents ------------------------------------------------------------------------------------

    def _pass_time(self, until_ms: int) -> None:
        while (incident := self.incident) is not None and not self._is_early:
            escalates, deadline = incident.escalates_ms, incident.deadline
            is_over = self._may_close and deadline <= until_ms
            if is_over and (escalates is None or deadline <= escalates):
                self._close(incident, deadline)
            elif escalates is not None and escalates <= until_ms:
                self._tell(incident.escalate(call_seq=self.axis.call_seq))
            else:
                return

    @property
    def _may_close(self) -> bool:
        return True

    def _take(self, hit: Hit) -> None:
        fresh = [piece for piece in hit.pieces if piece.place > self.used]
        if not fresh:
            return
        evidence = tuple(piece.evidence for piece in fresh)
        if self.incident is not None:
            self._update(self.incident, hit.at_ms, evidence)
        elif hit.floor > self.used and hit.at_ms >= self.cooldown_until:
            self._open(fresh[0].anchor, hit.at_ms, evidence)
        else:
            return
        self.used = max(self.used, hit.place)

    def _open(self, anchor: str, at_ms: int, evidence: tuple[Evidence, ...]) -> None:
        self.is_raised = True
        self.incident = OpenIncident(self.rule, self._pin, anchor=anchor, at_ms=at_ms, evidence=evidence)
        self._tell(self.incident.open(call_seq=self.axis.call_seq))

    def _update(self, incident: OpenIncident, at_ms: int, evidence: tuple[Evidence, ...]) -> None:
        self._tell(incident.update(at_ms=at_ms, evidence=evidence, call_seq=self.axis.call_seq))

    def _close(self, incident: OpenIncident, at_ms: int) -> None:
        self.incident = None
        self.cooldown_until = at_ms + self.rule.cooldown_ms
        self._tell(incident.close(at_ms=at_ms, call_seq=self.axis.call_seq))

    def _tell(self, change: IncidentChange) -> None:
        self.axis.changes.append(change)


class SilenceAtWork(RuleAtWork):
    """A rule on silence alone: its incident lasts as long as the silence does."""

    __slots__ = ("_counted", "_leg_id", "_longer_than_ms", "_of")

    def __init__(self, rule: Rule, condition: SilenceCondition, axis: Axis, pin: Pin) -> None:
        super().__init__(rule, None, axis, pin)
        self._of: Silent = condition.of
        self._longer_than_ms = condition.longer_than_ms
        self._leg_id = axis.leg_id
        self._counted: int | None = None
        """Since when the silence lasts that is evidence of the open incident and goes on."""

    @property
    def _may_close(self) -> bool:
        return self._counted is None

    def run(self, instant: Instant) -> None:
        """Look whether the silence has become too long."""
        since, is_for = self.axis.silent_since(self._of), self.axis.is_for(self.rule.where)
        if since is not None and is_for and self.incident is not None:
            self._go_on(self.incident, since, instant.at_ms)
        self._pass_time(instant.at_ms)
        if since is not None and is_for and self.incident is None:
            self._begin(since, instant.at_ms)

    def due(self) -> int | None:
        """Return when the silence would be too long, or the incident over."""
        incident, since = self.incident, self.axis.silent_since(self._of)
        escalates = None if incident is None else incident.escalates_ms
        if self._counted is not None:
            return escalates
        if since is None:
            wait = self.axis.end_ms + self._longer_than_ms
        elif incident is not None:
            wait = since + self._longer_than_ms + 1
        else:
            wait = max(since + self._longer_than_ms, self.cooldown_until) + 1
        # One that is not for this call now may be later.
        wait = max(wait, self.axis.end_ms + 1)
        return earliest((wait, escalates, None if incident is None else incident.deadline))

    @property
    def is_counting(self) -> bool:
        """Whether it has to be told when the silence ends."""
        return self._counted is not None

    def break_silence(self, at_ms: int) -> None:
        """Let the silence that was counted end, if it has."""
        if self.axis.silent_since(self._of) != self._counted:
            self._stop_counting(at_ms)

    def end(self, at_ms: int) -> None:
        """End the silence, and close what is open, with the leg or the call."""
        self._stop_counting(at_ms)
        super().end(at_ms)

    def _go_on(self, incident: OpenIncident, since: int, at_ms: int) -> None:
        """Count another silence to the incident that is open."""
        due = since + self._longer_than_ms
        if since != self._counted and due < at_ms and due < incident.deadline:
            self._counted = since
            self._update(incident, due, (self._make_evidence(since, due),))

    def _begin(self, since: int, at_ms: int) -> None:
        due = max(since + self._longer_than_ms, self.cooldown_until)
        if due < at_ms:
            self._counted = since
            anchor = str(since) if self._leg_id is None else f"{self._leg_id}@{since}"
            self._open(anchor, due, (self._make_evidence(since, due),))

    def _stop_counting(self, at_ms: int) -> None:
        if self._counted is not None and self.incident is not None:
            self.incident.amend_last(self._make_evidence(self._counted, at_ms))
        self._counted = None

    def _make_evidence(self, start_ms: int, end_ms: int) -> Evidence:
        return Evidence(
            utterance_id=None, leg=self._leg_id, role=None, text=None, start_ms=start_ms, end_ms=end_ms
        )


class TalkBook:
    """The conditions about the talk of one rule set."""

    def __init__(self, numbers: Mapping[TalkCondition, Cue]) -> None:
        self.conditions = tuple(numbers.items())


@dataclass(slots=True)
class TalkEar:
    """The talk of a call, and which conditions each turn fulfils."""

    book: TalkBook
    talk: Talk = field(default_factory=Talk)
    held: dict[Cue, object] = field(default_factory=dict)
    """What has been told of each condition, so that it is not told again."""

    def hear(self, speech: Speech) -> Hits:
        """Take the next turn."""
        end_ms = max(speech.start_ms, speech.end_ms)
        turn = Turn(speech.leg_id, speech.role, speech.start_ms, end_ms)
        heard = self.talk.hear(turn)
        hits = Hits()
        for condition, cue in self.book.conditions:
            if isinstance(condition, OvertalkCondition):
                holds = self._judge_overtalk(cue, condition, heard.overtalk)
            elif isinstance(condition, ResponseDelayCondition):
                delay = heard.response_ms if speech.role == condition.of else None
                holds = delay is not None and delay > condition.longer_than_ms
            elif isinstance(condition, TalkShareCondition):
                holds = self._judge_share(cue, condition)
            else:
                holds = speech.role == condition.by and bool(heard.interrupted)
            if holds:
                hits[cue] = speech.hit()
        return hits

    def _judge_overtalk(
        self, cue: Cue, condition: OvertalkCondition, stretch: tuple[int, int] | None
    ) -> bool:
        if condition.share is not None:
            share = self.talk.overtalk_ms / self.talk.anybody_ms if self.talk.anybody_ms else 0.0
            is_enough = self.talk.anybody_ms >= condition.after_ms
            return self._is_new(cue, holds=is_enough and share > condition.share)
        if stretch is None or stretch[1] - stretch[0] <= condition.longer_than_ms:
            return False
        is_known = self.held.get(cue) == stretch[0]
        self.held[cue] = stretch[0]
        return not is_known

    def _judge_share(self, cue: Cue, condition: TalkShareCondition) -> bool:
        share = self.talk.share(condition.of)
        is_enough = share is not None and sum(self.talk.speech_ms.values()) >= condition.after_ms
        is_off = share is not None and (
            (condition.above is not None and share > condition.above)
            or (condition.below is not None and share < condition.below)
        )
        return self._is_new(cue, holds=is_enough and is_off)

    def _is_new(self, cue: Cue, *, holds: bool) -> bool:
        before, self.held[cue] = bool(self.held.get(cue)), holds
        return holds and not before


class Axis:
    """Time, what becomes known along it, and the rules that are told."""

    def __init__(self, leg_id: str | None, changes: list[IncidentChange], talk: TalkEar | None) -> None:
        self.leg_id = leg_id
        """The leg whose axis it is; None: the call's."""
        self.end_ms = BEFORE_ALL_MS
        self.call_seq = 0
        self.changes = changes
        self.rules: dict[int, RuleAtWork] = {}
        self._talk = talk
        self._due: list[tuple[int, int]] = []
        self._groups = {name: _Group() for name in _GROUPS}
        self._legs: dict[str, Description] = {}
        """As each leg is described now, or was when it ended."""
        self._live: set[str] = set()
        self._keen: set[int] = set()
        self._counting: set[int] = set()
        self._left_ms: int | None = None
        """When a leg has left, if no time has passed since."""
        self.hears_legs: tuple[int, ...] = ()
        """Rules that want to be told of legs that come."""

    # --- what rules may know --------------------------------------------------------------------------

    def count(self, roles: frozenset[Speaker]) -> int:
        """Return how many utterances there have been of these."""
        return sum(group.count for group in self._find_groups(roles))

    def silent_since(self, of: Silent) -> int | None:
        """Return since when nobody of these speaks, which may lie ahead; None: they are not there."""
        group = self._groups["any" if of == "call" else of]
        return max(group.since, group.busy_until) if group.live else None

    def lost_until(self, roles: frozenset[Speaker]) -> int:
        """Return where the newest gap ends on a leg of these."""
        return max(group.lost_until for group in self._find_groups(roles))

    def was_there(self, roles: frozenset[Speaker], since_ms: int) -> bool:
        """Tell whether a leg of these has been in the call since a time."""
        return any(group.live or group.left_ms > since_ms for group in self._find_groups(roles))

    def is_for(self, where: Where | None) -> bool:
        """Tell whether each thing asked for holds of some leg."""
        return where is None or _matches(where, self._legs.values())

    # --- what comes in --------------------------------------------------------------------------------

    def begin(self, number: int, at_work: RuleAtWork) -> RuleAtWork:
        """Begin to follow a rule."""
        self.rules[number] = at_work
        self._schedule(number, at_work)
        return at_work

    def advance(self, until_ms: int) -> None:
        """Let time pass."""
        if self._left_ms is not None and until_ms > self._left_ms:
            # Only now: another leg might have come in the same moment.
            self._break_silence(self._left_ms)
            self._left_ms = None
        due = self._due
        while due and due[0][0] <= until_ms:
            at_ms, number = heappop(due)
            at_work = self.rules[number]
            if at_work.scheduled == at_ms:
                at_work.scheduled = None
                self.end_ms = max(self.end_ms, at_ms)
                self._run(number, at_work, {})
        self.end_ms = max(self.end_ms, until_ms)

    def describe(self, item: Described) -> None:
        """Take up a leg, or what it has become."""
        left = set(self._groups_of(self._legs[item.leg_id].role)) if item.leg_id in self._live else set()
        entered = self._groups_of(item.body.role)
        for name in left.difference(entered):
            self._groups[name].leave(item.at_ms)
        for name in entered:
            if name not in left:
                self._groups[name].enter(item.at_ms, anew=self.leg_id is not None)
        self._legs[item.leg_id] = item.body
        self._live.add(item.leg_id)
        self._break_silence(item.at_ms)
        role = item.body.role
        new_role = role if role != "other" else None
        for number in self.hears_legs:
            self._run(number, self.rules[number], {}, new_role=new_role, leg_id=item.leg_id)

    def leave(self, item: Left) -> None:
        """Let a leg go."""
        if item.leg_id in self._live:
            self._live.discard(item.leg_id)
            for name in self._groups_of(self._legs[item.leg_id].role):
                self._groups[name].leave(item.at_ms)
            self._left_ms = item.at_ms

    def lose(self, item: Lost) -> None:
        """Take note of what nobody knows."""
        for name in self._groups_of(item.role):
            group = self._groups[name]
            group.lost_until = max(group.lost_until, item.end_ms)
            group.busy_until = max(group.busy_until, item.end_ms)
        if self._talk is not None:
            self._talk.talk.lose(item.end_ms)
        self._break_silence(item.at_ms)

    def speak(self, speech: Speech, hits: Hits) -> Hits:
        """Take note of an utterance; returns its hits with those about the talk."""
        for name in self._groups_of(speech.role):
            group = self._groups[name]
            group.count += 1
            if speech.end_ms > speech.start_ms:
                group.busy_until = max(group.busy_until, speech.end_ms)
        self._break_silence(speech.start_ms)
        if self._talk is not None:
            told = self._talk.hear(speech)
            hits = {**hits, **told} if told else hits
        return hits

    def tell(self, numbers: Iterable[int], hits: Hits, speech: Speech | None) -> None:
        """Tell rules, and those who want to hear all, of an utterance or of what time has decided."""
        for number in sorted({*numbers, *self._keen} if self._keen and speech is not None else numbers):
            self._run(number, self.rules[number], hits, speech=speech)

    def finish(self) -> None:
        """End the call here: what is still open is decided and closed."""
        for number, at_work in sorted(self.rules.items()):
            self._run(number, at_work, {}, is_end=True)
        self.end()

    def end(self) -> None:
        """Close all incidents."""
        for number, at_work in self.rules.items():
            at_work.end(self.end_ms)
            self._schedule(number, at_work)

    def reschedule(self, number: int) -> None:
        """Look again at when a rule wants to be told, after it was changed from outside."""
        self._schedule(number, self.rules[number])

    # --- parts ----------------------------------------------------------------------------------------

    def _run(
        self,
        number: int,
        at_work: RuleAtWork,
        hits: Hits,
        *,
        speech: Speech | None = None,
        new_role: Speaker | None = None,
        leg_id: str = "",
        is_end: bool = False,
    ) -> None:
        at_work.run(Instant(self.end_ms, self, at_work, hits, speech, new_role, leg_id, is_end))
        self._schedule(number, at_work)

    def _schedule(self, number: int, at_work: RuleAtWork) -> None:
        due = at_work.due()
        if due is not None and due != at_work.scheduled:
            heappush(self._due, (due, number))
        at_work.scheduled = due
        was_keen = at_work.is_keen
        at_work.look()
        if at_work.is_keen != was_keen:
            (self._keen.add if at_work.is_keen else self._keen.discard)(number)
        if isinstance(at_work, SilenceAtWork):
            (self._counting.add if at_work.is_counting else self._counting.discard)(number)

    def _break_silence(self, at_ms: int) -> None:
        for number in tuple(self._counting):
            self.rules[number].break_silence(at_ms)
            self._schedule(number, self.rules[number])

    def _find_groups(self, roles: frozenset[Speaker]) -> list[_Group]:
        return [self._groups["any"]] if "any" in roles else [self._groups[role] for role in roles]

    @staticmethod
    def _groups_of(role: Role) -> tuple[Speaker, ...]:
        return ("any",) if role == "other" else ("any", role)


def _matches(where: Where, legs: Iterable[Description]) -> bool:
    bodies = tuple(legs)
    asked = (
        (where.role, [body.role for body in bodies]),
        (where.tenant, [body.tenant for body in bodies]),
        (where.queue, [body.queue for body in bodies]),
        (where.agent, [body.agent_id for body in bodies]),
        (where.direction, [body.direction for body in bodies]),
        (where.language, [(body.language or "").split("-")[0].lower() for body in bodies]),
    )
    return all(not wanted or set(wanted) & set(told) for wanted, told in asked) and all(
        any(name in body.attributes and _is_one_of(body.attributes[name], values) for body in bodies)
        for name, values in where.attributes
    )


def _is_one_of(value: object, values: Iterable[object]) -> bool:
    # In Python True is 1, which is not what a rule means.
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in values)
