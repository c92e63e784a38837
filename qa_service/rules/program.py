"""A rule set compiled for all calls: which rules an utterance can concern, and where each is judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard, get_args

from qa_service.rules.axis import TalkBook
from qa_service.rules.cues import Cue, CueBook
from qa_service.rules.language import (
    AbsentCondition,
    AllCondition,
    Anchor,
    AnyCondition,
    Condition,
    DuringCondition,
    EmotionCondition,
    InterruptionCondition,
    LegCondition,
    RepeatedCondition,
    ResponseDelayCondition,
    Rule,
    ScoreCondition,
    SequenceCondition,
    ShiftCondition,
    SilenceCondition,
    Speaker,
    TalkCondition,
    TalkShareCondition,
    TrendCondition,
)
from qa_service.rules.nodes import Maker

_LEG_CONDITIONS: tuple[type, ...] = get_args(LegCondition)
_TALK_CONDITIONS: tuple[type, ...] = get_args(TalkCondition)


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled rules; they are known by their numbers."""

    rules: tuple[Rule, ...]
    cues: CueBook
    talk: TalkBook
    maker: Maker
    roles: tuple[frozenset[Speaker], ...]
    """By rule: whom it is about."""
    waits: frozenset[int]
    """Rules that wait for something that must happen."""
    leg_rules: frozenset[int]
    """Rules that are judged leg by leg."""
    call_rules: frozenset[int]
    leg_listeners: dict[Cue, tuple[int, ...]]
    call_listeners: dict[Cue, tuple[int, ...]]
    leg_standing: tuple[int, ...]
    """Rules that time alone may raise, from the beginning on."""
    call_standing: tuple[int, ...]
    hears_legs: tuple[int, ...]
    """Rules of the call for which a leg that comes is an anchor."""
    early: dict[Cue, tuple[int, ...]]


def compile_rules(rules: Sequence[Rule]) -> Program:
    """Compile rules once for all calls."""
    conditions = [tuple(_walk(rule.when)) for rule in rules]
    every = [condition for each in conditions for condition in each]
    cues = CueBook(condition for condition in every if _is_of_leg(condition))
    talk = dict.fromkeys(condition for condition in every if _is_of_talk(condition))
    talk_numbers = {condition: len(cues.numbers) + number for number, condition in enumerate(talk)}
    numbers: dict[Condition, Cue] = dict([*cues.numbers.items(), *talk_numbers.items()])
    leg_rules = frozenset(
        number for number, rule in enumerate(rules) if is_judged_by_leg(rule, conditions[number])
    )
    call_rules = frozenset(range(len(rules))) - leg_rules
    standing = [number for number, each in enumerate(conditions) if any(map(_is_standing, each))]
    return Program(
        rules=tuple(rules),
        cues=cues,
        talk=TalkBook(talk_numbers),
        maker=Maker(numbers, find_roles),
        roles=tuple(find_roles(rule.when) for rule in rules),
        waits=frozenset(
            number
            for number, each in enumerate(conditions)
            if any(isinstance(condition, AbsentCondition) for condition in each)
        ),
        leg_rules=leg_rules,
        call_rules=call_rules,
        leg_listeners=_find_listeners(leg_rules, conditions, numbers),
        call_listeners=_find_listeners(call_rules, conditions, numbers),
        leg_standing=tuple(number for number in standing if number in leg_rules),
        call_standing=tuple(number for number in standing if number in call_rules),
        hears_legs=tuple(
            number
            for number in sorted(call_rules)
            if any(anchor.at == "leg_start" for anchor in _find_anchors(conditions[number]))
        ),
        early=_find_early(rules, cues),
    )


def _is_of_leg(condition: Condition) -> TypeGuard[LegCondition]:
    return isinstance(condition, _LEG_CONDITIONS)


def _is_of_talk(condition: Condition) -> TypeGuard[TalkCondition]:
    return isinstance(condition, _TALK_CONDITIONS)


def find_roles(condition: Condition) -> frozenset[Speaker]:
    """Find whom a condition is about: of an absence and of a span of time, not those of its anchor."""
    match condition:
        case EmotionCondition() | ShiftCondition() | TrendCondition():
            return frozenset({"customer"})
        case SilenceCondition(of=of):
            return frozenset({"any" if of == "call" else of})
        case InterruptionCondition(by=side) | ResponseDelayCondition(of=side) | TalkShareCondition(of=side):
            return frozenset({side})
        case AbsentCondition(what=what) | DuringCondition(what=what) | RepeatedCondition(what=what):
            return find_roles(what)
        case AllCondition() | AnyCondition() | ScoreCondition() | SequenceCondition():
            return frozenset().union(*(find_roles(part) for part in _find_parts(condition)))
        case _:
            return frozenset({getattr(condition, "leg", "any")})


def is_judged_by_leg(rule: Rule, conditions: Sequence[Condition]) -> bool:
    """Tell whether a rule is judged on each leg alone."""
    if rule.where is not None:
        return False
    if _is_of_leg(rule.when):
        return True
    beyond = (*_TALK_CONDITIONS, AbsentCondition, DuringCondition)
    roles = find_roles(rule.when)
    return not any(isinstance(each, beyond) for each in conditions) and len(roles) == 1 and "any" not in roles


def _find_parts(condition: Condition) -> Iterable[Condition]:
    """Find the parts that a condition combines, without its anchor."""
    match condition:
        case AllCondition(parts=parts, unless=unless):
            return (*parts, *unless)
        case AnyCondition(parts=parts):
            return parts
        case ScoreCondition(parts=weighted):
            return tuple(part.what for part in weighted)
        case SequenceCondition(steps=steps):
            return steps
        case AbsentCondition(what=what) | DuringCondition(what=what) | RepeatedCondition(what=what):
            return (what,)
        case _:
            return ()


def _walk(condition: Condition) -> Iterator[Condition]:
    """Go over a condition and all in it."""
    yield condition
    for part in _find_parts(condition):
        yield from _walk(part)
    for anchor in _find_anchors((condition,)):
        if anchor.what is not None:
            yield from _walk(anchor.what)


def _find_anchors(conditions: Iterable[Condition]) -> Iterator[Anchor]:
    for condition in conditions:
        if isinstance(condition, AbsentCondition | DuringCondition):
            yield condition.of


def _is_standing(condition: Condition) -> bool:
    """Tell whether a condition needs nothing to be said, to begin with."""
    if isinstance(condition, AbsentCondition | DuringCondition):
        return condition.of.at not in {"condition", "step"}
    return isinstance(condition, SilenceCondition)


def _find_listeners(
    numbers: Iterable[int], conditions: Sequence[Sequence[Condition]], cues: dict[Condition, Cue]
) -> dict[Cue, tuple[int, ...]]:
    listeners: dict[Cue, tuple[int, ...]] = {}
    for number in sorted(numbers):
        for condition in dict.fromkeys(conditions[number]):
            if condition in cues:
                cue = cues[condition]
                listeners[cue] = (*listeners.get(cue, ()), number)
    return listeners


def _find_early(rules: Sequence[Rule], cues: CueBook) -> dict[Cue, tuple[int, ...]]:
    early: dict[Cue, tuple[int, ...]] = {}
    for number, rule in enumerate(rules):
        if rule.early and _is_of_leg(rule.when):
            cue = cues.numbers[rule.when]
            early[cue] = (*early.get(cue, ()), number)
    return early
