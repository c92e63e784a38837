"""Conditions that combine others, and those that time fulfils, as trees of nodes.

A node is told of every instant that concerns any part of its rule, once and in the order of time, and says
whether its condition holds by it. An instant is an utterance, or a moment at which some node wanted to be
told of the time (:meth:`Node.due`). No node looks at anything but instants and what the axis
knows (``axis``), so neither the order in which entries arrive nor how many come at once makes a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, Protocol, TypeAlias

from qa_service.domain.incidents import Evidence
from qa_service.rules.cues import Cue, Hits, Speech, concerns
from qa_service.rules.hits import BEFORE_ALL_MS, Hit, Piece, Place, follows, join_pieces
from qa_service.rules.language import (
    AbsentCondition,
    AllCondition,
    Anchor,
    AnyCondition,
    Condition,
    DuringCondition,
    IfCallEnds,
    RepeatedCondition,
    ScoreCondition,
    SequenceCondition,
    SilenceCondition,
    Silent,
    Speaker,
    Window,
)

EPSILON: Final = 1e-9
"""What a sum of weights may fall short of its threshold by rounding."""


class Knowledge(Protocol):
    """What nodes may ask of the axis that they are on."""

    @property
    def end_ms(self) -> int:
        """Call time up to which everything is decided."""
        ...

    def count(self, roles: frozenset[Speaker]) -> int:
        """Return how many utterances there have been of these."""
        ...

    def silent_since(self, of: Silent) -> int | None:
        """Return since when nobody of these speaks, which may lie ahead; None: they are not there."""
        ...

    def lost_until(self, roles: frozenset[Speaker]) -> int:
        """Return where the newest gap ends on a leg of these."""
        ...

    def was_there(self, roles: frozenset[Speaker], since_ms: int) -> bool:
        """Tell whether a leg of these has been in the call since a time."""
        ...


class Findings(Protocol):
    """What a rule's absences have come to in a call."""

    arose: bool
    """Whether any was waited for."""
    undecidable: bool


class Instant(NamedTuple):
    """A moment at which something may come to hold."""

    at_ms: int
    axis: Knowledge
    findings: Findings
    hits: Hits
    speech: Speech | None = None
    new_role: Speaker | None = None
    """The role that a leg has just taken up."""
    leg_id: str = ""
    is_end: bool = False
    """Whether the call has ended: everything is known now."""


class Node:
    """A condition at work in one call."""

    __slots__ = ()

    def hear(self, instant: Instant) -> Hit | None:
        """Take the next instant; return whether the condition holds by it."""
        raise NotImplementedError

    def due(self, axis: Knowledge) -> int | None:
        """Return the call time at which it wants to be told of the time; None: at none."""
        raise NotImplementedError

    @property
    def is_timed(self) -> bool:
        """Whether it ever wants to be told of the time, or of every utterance."""
        return True

    @property
    def is_keen(self) -> bool:
        """Whether it wants to be told of every utterance."""
        return False


class _CueNode(Node):
    """A condition on utterances or on the talk, which is evaluated elsewhere for all rules."""

    __slots__ = ("_cue",)

    def __init__(self, cue: Cue) -> None:
        self._cue = cue

    def hear(self, instant: Instant) -> Hit | None:
        return instant.hits.get(self._cue)

    def due(self, axis: Knowledge) -> int | None:  # noqa: ARG002 - as all nodes
        return None

    @property
    def is_timed(self) -> bool:
        return False


class _SilenceNode(Node):
    """Silence that has become too long."""

    __slots__ = ("_longer_than_ms", "_of", "_told")

    def __init__(self, condition: SilenceCondition) -> None:
        self._of: Silent = condition.of
        self._longer_than_ms = condition.longer_than_ms
        self._told = BEFORE_ALL_MS
        """Since when the silence lasted that was told last."""

    def hear(self, instant: Instant) -> Hit | None:
        since = instant.axis.silent_since(self._of)
        if since is None or since == self._told or instant.at_ms <= since + self._longer_than_ms:
            return None
        self._told = since
        return make_stretch(since, since + self._longer_than_ms)

    def due(self, axis: Knowledge) -> int | None:
        since = axis.silent_since(self._of)
        if since is None:
            return axis.end_ms + self._longer_than_ms
        # After one that was told the next cannot be too long before this.
        start = max(axis.end_ms, since + 1) if since == self._told else since
        return start + self._longer_than_ms + 1


class _Compound(Node):
    """A node with parts."""

    __slots__ = ("_parts", "_timed")

    def __init__(self, parts: Sequence[Node]) -> None:
        self._parts = tuple(parts)
        self._timed = tuple(part for part in self._parts if part.is_timed)

    @property
    def is_timed(self) -> bool:
        return bool(self._timed)

    def due(self, axis: Knowledge) -> int | None:
        return earliest(part.due(axis) for part in self._timed) if self._timed else None

    @property
    def is_keen(self) -> bool:
        return bool(self._timed) and any(part.is_keen for part in self._timed)


class _AnyNode(_Compound):
    """One of the parts holds."""

    __slots__ = ()

    def hear(self, instant: Instant) -> Hit | None:
        hits = [hit for part in self._parts if (hit := part.hear(instant)) is not None]
        if len(hits) < 2:  # noqa: PLR2004 - nothing to join
            return hits[0] if hits else None
        newest = max(hits, key=lambda hit: hit.place)
        return newest._replace(
            pieces=join_pieces(*hits),
            first=min(hit.first for hit in hits),
            last=max(hit.last for hit in hits),
        )


class _Held(NamedTuple):
    """That a part held, and how many utterances there had been by then."""

    hit: Hit
    utterances: int


class _SumNode(_Compound):
    """The weights of the parts that hold within a window add up to a threshold."""

    __slots__ = ("_at_least", "_held", "_roles", "_weights", "_within")

    def __init__(
        self,
        parts: Sequence[Node],
        weights: Sequence[float],
        at_least: float,
        within: Window,
        roles: frozenset[Speaker],
    ) -> None:
        super().__init__(parts)
        self._weights = tuple(weights)
        self._at_least = at_least - EPSILON
        self._within = within
        self._roles = roles
        self._held: list[_Held | None] = [None] * len(parts)

    def hear(self, instant: Instant) -> Hit | None:
        count = instant.axis.count(self._roles)
        newest: Hit | None = None
        for number, part in enumerate(self._parts):
            hit = part.hear(instant)
            if hit is None:
                continue
            self._held[number] = _Held(hit, count)
            if self._weights[number] > 0 and (newest is None or hit.place > newest.place):
                newest = hit
        return None if newest is None else self._add_up(newest, count)

    def _add_up(self, newest: Hit, count: int) -> Hit | None:
        total, hits = 0.0, list[Hit]()
        for held, weight in zip(self._held, self._weights, strict=True):
            if held is not None and is_within(self._within, held.hit.end_ms, held.utterances, newest, count):
                total += weight
                if weight > 0:
                    hits.append(held.hit)
        return newest._replace(pieces=join_pieces(*hits)) if total >= self._at_least else None


class _RepeatedNode(_Compound):
    """The part holds several times within a window."""

    __slots__ = ("_held", "_roles", "_times", "_within")

    def __init__(self, part: Node, times: int, within: Window, roles: frozenset[Speaker]) -> None:
        super().__init__((part,))
        self._times = times
        self._within = within
        self._roles = roles
        self._held: tuple[_Held, ...] = ()

    def hear(self, instant: Instant) -> Hit | None:
        hit = self._parts[0].hear(instant)
        if hit is None:
            return None
        count = instant.axis.count(self._roles)
        self._held = (*self._held[1 - self._times :], _Held(hit, count))
        oldest = self._held[0]
        is_full = len(self._held) == self._times
        if not is_full or not is_within(self._within, oldest.hit.start_ms, oldest.utterances, hit, count):
            return None
        return hit._replace(floor=oldest.hit.place, pieces=join_pieces(*(held.hit for held in self._held)))


class _AnchorNode(Node):
    """The moments that times are counted from."""

    __slots__ = ("_at", "_condition", "_is_over", "_known", "_role")

    def __init__(self, anchor: Anchor, condition: Node | None) -> None:
        self._at = anchor.at
        self._role: Speaker = anchor.role
        self._condition = condition
        self._known: tuple[str, ...] = ()
        """Legs of the role that have come, as far as each is an anchor."""
        self._is_over = anchor.at == "call_end"

    def hear(self, instant: Instant) -> Hit | None:
        if self._condition is not None:
            return self._condition.hear(instant)
        if self._is_over:
            return None
        if self._at == "call_start":
            self._is_over = True
            return Hit(0, BEFORE_ALL_MS, 0, Place(BEFORE_ALL_MS), Place(BEFORE_ALL_MS), ())
        if self._at == "leg_start":
            return self._find_leg(instant)
        return self._find_first_utterance(instant)

    def due(self, axis: Knowledge) -> int | None:
        if self._condition is not None:
            return self._condition.due(axis)
        return BEFORE_ALL_MS if self._at == "call_start" and not self._is_over else None

    @property
    def is_keen(self) -> bool:
        if self._condition is not None:
            return self._condition.is_keen
        return self._at == "first_utterance" and not self._is_over

    def _find_leg(self, instant: Instant) -> Hit | None:
        role, leg_id = instant.new_role, instant.leg_id
        if role is None or leg_id in self._known or self._role not in {"any", role}:
            return None
        self._known += (leg_id,)
        place = Place(instant.at_ms, leg_id)
        return Hit(instant.at_ms, instant.at_ms, instant.at_ms, place, place, ())

    def _find_first_utterance(self, instant: Instant) -> Hit | None:
        speech = instant.speech
        if speech is None or not concerns(self._role, speech.role):
            return None
        self._is_over = True
        # Time counts from the first word on.
        return speech.hit()._replace(end_ms=speech.start_ms)


class _DuringNode(_Compound):
    """The part holds in a span of time after an anchor, or at the end of the call."""

    __slots__ = ("_base_ms", "_condition", "_held")

    def __init__(self, condition: DuringCondition, part: Node, anchor: _AnchorNode) -> None:
        super().__init__((anchor, part))
        self._condition = condition
        self._base_ms: int | None = None
        self._held: Hit | None = None
        """What may turn out to lie in the last part of the call."""

    def hear(self, instant: Instant) -> Hit | None:
        anchored, hit = (part.hear(instant) for part in self._parts)
        if anchored is not None:
            self._base_ms = anchored.end_ms
        if self._condition.last_ms:
            return self._hear_end(instant, hit)
        if hit is None or self._base_ms is None:
            return None
        since = hit.start_ms - self._base_ms
        is_in = since >= self._condition.from_ms and (
            not self._condition.until_ms or since < self._condition.until_ms
        )
        return hit if is_in else None

    def _hear_end(self, instant: Instant, hit: Hit | None) -> Hit | None:
        if hit is not None:
            self._held = hit
        if not instant.is_end or self._held is None:
            return None
        held, self._held = self._held, None
        return held if held.start_ms >= instant.axis.end_ms - self._condition.last_ms else None


@dataclass(frozen=True, slots=True)
class _Wait:
    """How long something must not happen, and to whom one has to listen."""

    within: Window
    roles: frozenset[Speaker]
    if_call_ends: IfCallEnds


@dataclass(slots=True)
class _Waiting:
    """Something that must not happen from now on."""

    anchor: Hit
    deadline_ms: int | None
    count: int | None
    """How many utterances there are when the time is over."""

    @classmethod
    def begin(cls, wait: _Wait, anchor: Hit, axis: Knowledge) -> _Waiting:
        """Begin to wait."""
        within = wait.within
        return cls(
            anchor,
            anchor.end_ms + within.ms if within.ms else None,
            axis.count(wait.roles) + within.utterances if within.utterances else None,
        )

    def find_end(self, instant: Instant, wait: _Wait) -> Place | None:
        """Return where the time was over; None: it is not."""
        if self.deadline_ms is not None and instant.at_ms >= self.deadline_ms:
            return Place(self.deadline_ms)
        speech = instant.speech
        if self.count is not None and speech is not None and instant.axis.count(wait.roles) >= self.count:
            return speech.place
        return Place(instant.axis.end_ms) if instant.is_end else None

    def decide(self, instant: Instant, wait: _Wait, place: Place) -> Hit | None:
        """Decide that it did not happen, unless nobody can know, or nobody was there."""
        axis, since = instant.axis, self.anchor.start_ms
        if not axis.was_there(wait.roles, since):
            return None
        instant.findings.arose = True
        if axis.lost_until(wait.roles) > since:
            instant.findings.undecidable = True
            return None
        is_cut = instant.is_end and bool(wait.within.ms or wait.within.utterances)
        if is_cut and wait.if_call_ends == "pass":
            return None
        end = instant.speech.end_ms if place.leg_id and instant.speech is not None else place.at_ms
        return make_stretch(min(self.anchor.end_ms, end), end, place=place, before=self.anchor)


class _AbsentNode(_Compound):
    """Something does not happen within a time of an anchor."""

    __slots__ = ("_wait", "_waiting")

    def __init__(self, wait: _Wait, part: Node, anchor: _AnchorNode) -> None:
        super().__init__((anchor, part))
        self._wait = wait
        self._waiting: _Waiting | None = None

    def hear(self, instant: Instant) -> Hit | None:
        anchored, happened = (part.hear(instant) for part in self._parts)
        result = self._look(instant, happened)
        if anchored is not None and self._waiting is None:
            self._waiting = _Waiting.begin(self._wait, anchored, instant.axis)
            again = self._look(instant, happened)
            result = again if result is None else result
        return result

    def due(self, axis: Knowledge) -> int | None:
        deadline = None if self._waiting is None else self._waiting.deadline_ms
        return earliest((deadline, super().due(axis)))

    @property
    def is_keen(self) -> bool:
        return super().is_keen or (self._waiting is not None and self._waiting.count is not None)

    def _look(self, instant: Instant, happened: Hit | None) -> Hit | None:
        waiting = self._waiting
        if waiting is None:
            return None
        deadline = waiting.deadline_ms
        if happened is not None and (deadline is None or happened.start_ms < deadline):
            instant.findings.arose = True
            self._waiting = None
            return None
        place = waiting.find_end(instant, self._wait)
        if place is None:
            return None
        self._waiting = None
        return waiting.decide(instant, self._wait, place)


class _EndingNode(_Compound):
    """Something does not happen in the last part of the call."""

    __slots__ = ("_is_over", "_last_ms", "_wait")

    def __init__(self, wait: _Wait, part: Node) -> None:
        super().__init__((part,))
        self._wait = wait
        self._last_ms = BEFORE_ALL_MS
        self._is_over = False

    def hear(self, instant: Instant) -> Hit | None:
        hit = self._parts[0].hear(instant)
        if hit is not None:
            self._last_ms = max(self._last_ms, hit.start_ms)
        if not instant.is_end or self._is_over:
            return None
        self._is_over = True
        end_ms = instant.axis.end_ms
        since = end_ms - self._wait.within.ms
        if self._last_ms >= since:
            instant.findings.arose = True
            return None
        anchor = Hit(since, since, since, Place(since), Place(since), ())
        return _Waiting(anchor, None, None).decide(instant, self._wait, Place(end_ms))


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a sequence: something that happens, or (``wait``) does not, before any of ``guards``."""

    part: int
    """Number of the node."""
    wait: _Wait | None = None
    guards: tuple[tuple[int, frozenset[Speaker]], ...] = ()


@dataclass(slots=True)
class _Chain:
    """A sequence as far as it has come."""

    first: Hit
    last: Hit
    pieces: tuple[Piece, ...]
    waiting: _Waiting | None = None


_Heard: TypeAlias = "list[Hit | None]"


class _SequenceNode(_Compound):
    """One thing after the other.

    For each step there is one chain that waits for it. Where several could, it is the newest, which leaves
    the most time; but a time that something must not happen in runs on from where it began.
    """

    __slots__ = ("_chains", "_steps", "_within_ms")

    def __init__(self, steps: Sequence[_Step], parts: Sequence[Node], within_ms: int) -> None:
        super().__init__(parts)
        self._steps = tuple(steps)
        self._within_ms = within_ms
        self._chains: list[_Chain | None] = [None] * len(steps)

    def hear(self, instant: Instant) -> Hit | None:
        heard = [part.hear(instant) for part in self._parts]
        found: Hit | None = None
        for number in range(len(self._steps) - 1, -1, -1):
            result = self._go_on(number, instant, heard)
            found = result if found is None else found
        return found

    def due(self, axis: Knowledge) -> int | None:
        return earliest(
            (
                *(chain.waiting.deadline_ms for chain in self._chains if chain and chain.waiting),
                super().due(axis),
            )
        )

    @property
    def is_timed(self) -> bool:
        return super().is_timed or any(step.wait is not None for step in self._steps)

    @property
    def is_keen(self) -> bool:
        return super().is_keen or any(
            chain.waiting.count is not None for chain in self._chains if chain and chain.waiting
        )

    def _go_on(self, number: int, instant: Instant, heard: _Heard) -> Hit | None:
        """Let the chain that waits for a step take it, and further ones by words of the same utterance."""
        chain = self._chains[number]
        moved = self._advance(number, chain, instant, heard)
        while moved is not None:
            self._chains[number] = None
            number += 1
            if number == len(self._steps):
                last = moved.last
                return last._replace(pieces=moved.pieces, floor=last.place, first=moved.first.first)
            place = self._place(number, moved, instant)
            moved = self._advance(number, place, instant, heard) if place is not None else None
        return None

    def _place(self, number: int, moved: _Chain, instant: Instant) -> _Chain | None:
        """Put a chain where it waits for its next step; None: one is waiting there already."""
        wait = self._steps[number].wait
        if wait is not None:
            if self._chains[number] is not None:
                return None
            instant.findings.arose = True
            moved.waiting = _Waiting.begin(wait, moved.last, instant.axis)
        self._chains[number] = moved
        return moved

    def _advance(self, number: int, chain: _Chain | None, instant: Instant, heard: _Heard) -> _Chain | None:
        step = self._steps[number]
        hit = heard[step.part]
        if chain is None:
            return _Chain(hit, hit, hit.pieces) if number == 0 and hit is not None else None
        if self._is_cut(step, chain, heard):
            self._chains[number] = None
            return None
        if step.wait is not None and chain.waiting is not None:
            hit = self._wait(number, step.wait, chain, hit, instant)
        elif hit is not None and not follows(hit, chain.last.place, chain.last.first):
            return None
        if hit is None or self._is_blind(step, chain, instant):
            return None
        if self._within_ms and hit.start_ms - chain.first.end_ms > self._within_ms:
            self._chains[number] = None
            return None
        return _Chain(chain.first, hit, join_pieces(chain.last._replace(pieces=chain.pieces), hit))

    def _wait(
        self, number: int, wait: _Wait, chain: _Chain, happened: Hit | None, instant: Instant
    ) -> Hit | None:
        waiting = chain.waiting
        assert waiting is not None  # noqa: S101 - for the type checker
        deadline = waiting.deadline_ms
        in_time = happened is not None and (deadline is None or happened.start_ms < deadline)
        if happened is not None and in_time and follows(happened, chain.last.place, chain.last.first):
            self._chains[number] = None
            return None
        place = waiting.find_end(instant, wait)
        if place is None:
            return None
        self._chains[number] = None
        return waiting.decide(instant, wait, place)

    def _is_cut(self, step: _Step, chain: _Chain, heard: _Heard) -> bool:
        """Tell whether something has come that must not come before a step."""
        return any(
            guard is not None and follows(guard, chain.last.place, chain.last.first)
            for guard in (heard[part] for part, _ in step.guards)
        )

    def _is_blind(self, step: _Step, chain: _Chain, instant: Instant) -> bool:
        """Tell whether it may have come in a gap; then nobody can know whether the step follows."""
        if not any(instant.axis.lost_until(roles) > chain.last.start_ms for _, roles in step.guards):
            return False
        instant.findings.undecidable = True
        self._chains[self._steps.index(step)] = None
        return True


# --- parts --------------------------------------------------------------------------------------------


def make_stretch(start_ms: int, end_ms: int, *, place: Place | None = None, before: Hit | None = None) -> Hit:
    """Make a hit of a stretch of time, after what came before it."""
    place = Place(end_ms) if place is None else place
    evidence = Evidence(utterance_id=None, leg=None, role=None, text=None, start_ms=start_ms, end_ms=end_ms)
    anchor = f"{place.leg_id}:{place.ordinal}" if place.leg_id else f"@{end_ms}"
    hit = Hit(end_ms, place.at_ms, end_ms, place, place, (Piece(place, evidence, anchor),))
    return hit if before is None else hit._replace(pieces=join_pieces(before, hit))


def is_within(within: Window, since_ms: int, since_count: int, newest: Hit, count: int) -> bool:
    """Tell whether something lies within a window that ends with the newest."""
    if within.ms:
        return newest.start_ms - since_ms <= within.ms
    return not within.utterances or count - since_count < within.utterances


def earliest(times: Iterable[int | None]) -> int | None:
    """Return the least of several times, of which any may be none."""
    return min((time for time in times if time is not None), default=None)


# --- making -------------------------------------------------------------------------------------------


class Maker:
    """Makes the nodes of conditions; what they do not change they share."""

    def __init__(
        self, numbers: Mapping[Condition, Cue], find_roles: Callable[[Condition], frozenset[Speaker]]
    ) -> None:
        self._cues = {condition: _CueNode(cue) for condition, cue in numbers.items()}
        self.find_roles = cache(find_roles)
        self._make_wait = cache(self._find_wait)

    def make(self, condition: Condition) -> Node:  # noqa: PLR0911 - one for each kind
        """Make the node of a condition, with its parts."""
        match condition:
            case SilenceCondition():
                return _SilenceNode(condition)
            case RepeatedCondition(what=what, times=times, within=within):
                return _RepeatedNode(self.make(what), times, within, self.find_roles(what))
            case AnyCondition(parts=parts):
                return _AnyNode([self.make(part) for part in parts])
            case AllCondition():
                return self._make_all(condition)
            case ScoreCondition(parts=parts, at_least=at_least, within=within):
                nodes = [self.make(part.what) for part in parts]
                weights = [part.weight for part in parts]
                return _SumNode(nodes, weights, at_least, within, self.find_roles(condition))
            case AbsentCondition():
                return self._make_absent(condition)
            case SequenceCondition():
                return self._make_sequence(condition)
            case DuringCondition(what=what, of=anchor):
                return _DuringNode(condition, self.make(what), self._make_anchor(anchor))
            case _:
                return self._cues[condition]

    def _make_all(self, condition: AllCondition) -> Node:
        parts = [*condition.parts, *condition.unless]
        against = -float(len(condition.parts))
        weights = [1.0] * len(condition.parts) + [against] * len(condition.unless)
        nodes = [self.make(part) for part in parts]
        return _SumNode(nodes, weights, len(condition.parts), condition.within, self.find_roles(condition))

    def _make_absent(self, condition: AbsentCondition) -> Node:
        wait, part = self._make_wait(condition), self.make(condition.what)
        if condition.of.at == "call_end":
            return _EndingNode(wait, part)
        return _AbsentNode(wait, part, self._make_anchor(condition.of))

    def _find_wait(self, condition: AbsentCondition) -> _Wait:
        return _Wait(condition.within, self.find_roles(condition.what), condition.if_call_ends)

    def _make_anchor(self, anchor: Anchor) -> _AnchorNode:
        return _AnchorNode(anchor, None if anchor.what is None else self.make(anchor.what))

    def _make_sequence(self, condition: SequenceCondition) -> Node:
        parts: list[Node] = []
        steps: list[_Step] = []
        guards: tuple[tuple[int, frozenset[Speaker]], ...] = ()
        for number, each in enumerate(condition.steps):
            is_absent = isinstance(each, AbsentCondition) and each.of.at == "step"
            parts.append(self.make(each.what if is_absent and isinstance(each, AbsentCondition) else each))
            if isinstance(each, AbsentCondition) and is_absent:
                is_last = number == len(condition.steps) - 1
                if not is_last and each.within == Window():
                    guards += ((number, self.find_roles(each.what)),)
                    continue
                steps.append(_Step(number, self._make_wait(each), guards))
            else:
                steps.append(_Step(number, None, guards))
            guards = ()
        return _SequenceNode(steps, parts, condition.within_ms)
