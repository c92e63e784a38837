"""How many log entries a second the rules of one core judge.

The rule set is taken several times over, under other ids, against calls in English, Chinese and Japanese,
whose texts are made of sentences, some of which a rule is about. Every entry of a log counts as an event: a
mix as calls have it, with a step of coverage a second while a side listens.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any, Final

import yaml

from qa_service.domain.entries import (
    Body,
    CallEnded,
    CallStarted,
    LegEnded,
    LegStarted,
    LogEntry,
    Quiet,
    Utterance,
)
from qa_service.domain.identities import utterance_id
from qa_service.protocol.events import Emotion
from qa_service.rules.ruleset import RuleSet, load_rule_set

TIMES_OVER: Final = 4
LEAST_EVENTS_PER_SECOND: Final = 10_000
"""The bar, for one core."""
MATCHING_SHARE: Final = 0.12
"""Of the utterances that are made, how many a rule is about."""

_FEELINGS: Final[tuple[Emotion, ...]] = ("neutral", "neutral", "neutral", "neutral", "happy", "angry")


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesReport:
    """What was measured."""

    events_per_second: float
    """Median over the rounds."""
    utterances_per_second: float
    rules: int
    phrases: int
    languages: tuple[str, ...]
    calls: int
    events: int
    utterances: int
    matching_share: float
    """Of the utterances, how many brought a change about."""
    state_bytes: int
    """The most that one call's rules held at its end, of the set taken once, without what all calls share."""
    bar: int = LEAST_EVENTS_PER_SECOND

    @property
    def is_reached(self) -> bool:
        """Whether the bar is."""
        return self.events_per_second >= self.bar


def measure_rules(*, calls: int = 60, rounds: int = 5) -> RulesReport:
    """Judge generated calls, several times."""
    rules, phrases = take_times_over(read_library(), TIMES_OVER)
    languages = tuple(read_sentences())
    logs = [make_log(number, language) for number in range(calls // 3) for language in languages]
    events = sum(map(len, logs))
    utterances = sum(isinstance(entry.body, Utterance) for log in logs for entry in log)
    matching, _ = _look(rules, logs)
    _, state = _look(take_times_over(read_library(), 1)[0], logs[:9])
    seconds = sorted(_time(rules, logs) for _ in range(rounds))[rounds // 2]
    return RulesReport(
        events_per_second=round(events / seconds, 1),
        utterances_per_second=round(utterances / seconds, 1),
        rules=len(rules.rules),
        phrases=phrases,
        languages=languages,
        calls=len(logs),
        events=events,
        utterances=utterances,
        matching_share=round(matching / utterances, 3),
        state_bytes=state,
    )


def read_library() -> str:
    """Read the rules that are measured: the starter library, as one file."""
    lists: dict[str, Any] = {}
    rules: list[Any] = []
    folder = resources.files("qa_service.rules").joinpath("library")
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if not path.name.endswith(".yaml") or path.name.endswith(".tests.yaml"):
            continue
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        name = path.name.removesuffix(".yaml")
        lists |= {f"{name}-{key}": phrases for key, phrases in document.get("lists", {}).items()}
        rules += _name_lists(document["rules"], name)
    return yaml.safe_dump({"version": 1, "lists": lists, "rules": rules}, allow_unicode=True)


def _name_lists(node: Any, name: str) -> Any:
    """Give the lists that rules name the name of their file before their own."""
    if isinstance(node, dict):
        if set(node) == {"list"}:
            return {"list": f"{name}-{node['list']}"}
        return {key: _name_lists(value, name) for key, value in node.items()}
    return [_name_lists(each, name) for each in node] if isinstance(node, list) else node


@cache
def read_sentences() -> dict[str, dict[str, list[str]]]:
    """Read what is said in the calls, by language: ``plain``, and ``telling`` for some rule."""
    text = resources.files("qa_service.bench").joinpath("sentences.yaml").read_text(encoding="utf-8")
    sentences: dict[str, dict[str, list[str]]] = yaml.safe_load(text)
    return sentences


def take_times_over(source: str, times: int) -> tuple[RuleSet, int]:
    """Load rules several times over, under other ids; returns how many phrases they hold, too."""
    document = yaml.safe_load(source)
    document["rules"] = [
        {**rule, "id": f"{rule['id']}-{number}"} for number in range(times) for rule in document["rules"]
    ]
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    rules = load_rule_set(text, "bench.yaml")
    phrases = sum(len(listed) for listed in document.get("lists", {}).values())
    return rules, phrases


def make_log(number: int, language: str, *, utterances: int = 60) -> list[LogEntry]:
    """Make a call of two legs that take turns; the same for the same number."""
    random = Random(number)  # noqa: S311 - the same calls each time; no secret
    call_id = f"bench-{language}-{number}"
    entries: list[LogEntry] = []

    def add(leg: str | None, start_ms: int, end_ms: int, body: Body) -> None:
        entries.append(
            LogEntry(
                call_id=call_id,
                call_seq=len(entries) + 1,
                leg_id=leg,
                start_ms=start_ms,
                end_ms=end_ms,
                body=body,
            )
        )

    add(None, 0, 0, CallStarted("bench", 0))
    ordinals = {"customer": 0, "agent": 0}
    for leg in ordinals:
        add(leg, 0, 0, _describe(leg, language))
    now = 0
    for turn in range(utterances):
        speaker, listener = ("customer", "agent") if turn % 2 else ("agent", "customer")
        start, end = now + random.randrange(100, 900), now + random.randrange(3_000, 7_000)
        ordinals[speaker] += 1
        for step in _steps(now, end):
            add(listener, step - 1_000, step, Quiet(start_pos=0, end_pos=0, time_source="progress"))
        add(speaker, start, end, _say(random, call_id, speaker, ordinals[speaker], language))
        now = end
    for leg in ordinals:
        add(leg, now, now, LegEnded("stop"))
    add(None, now, now, CallEnded())
    return entries


def _steps(start_ms: int, end_ms: int) -> Iterator[int]:
    yield from range(start_ms + 1_000, end_ms, 1_000)


def _describe(leg: str, language: str) -> LegStarted:
    return LegStarted(
        role="customer" if leg == "customer" else "agent",
        role_is_explicit=True,
        emotion_policy="on" if leg == "customer" else "off_role",
        codec="pcmu",
        rate=8000,
        queue="retention",
        language=language,
        source_offset=0,
    )


def _say(random: Random, call_id: str, leg: str, ordinal: int, language: str) -> Utterance:
    said = read_sentences()[language]
    pool = said["telling"] if random.random() < MATCHING_SHARE else said["plain"]
    is_judged = leg == "customer"
    return Utterance(
        utterance_id=utterance_id(call_id, leg, ordinal),
        ordinal=ordinal,
        text=random.choice(pool),
        language=language,
        emotion=random.choice(_FEELINGS) if is_judged else None,
        emotion_confidence=round(random.random(), 2) if is_judged else None,
        emotion_abstained=False,
        start_pos=0,
        end_pos=0,
        time_source="server",
        engine="bench",
        model="bench",
        anger_rank=round(random.random(), 3) if is_judged else None,
        loudness_dbfs=round(random.uniform(-30, -12), 1),
    )


def _time(rules: RuleSet, logs: list[list[LogEntry]]) -> float:
    gc.collect()
    started = time.process_time()
    for log in logs:
        call = rules.start(log[0].call_id)
        for entry in log:
            call.feed(entry)
    return time.process_time() - started


def _look(rules: RuleSet, logs: list[list[LogEntry]]) -> tuple[int, int]:
    """Count utterances that bring a change about, and weigh the state."""
    matching = state = 0
    for log in logs:
        call = rules.start(log[0].call_id)
        for entry in log:
            changes = call.feed(entry)
            matching += bool(changes) and isinstance(entry.body, Utterance)
            if isinstance(entry.body, CallEnded):
                state = max(state, weigh(call, shared=rules))
    return matching, state


def weigh(root: object, *, shared: object) -> int:
    """Add up the bytes of all objects that one holds, but for those that another holds too."""
    seen = set(_reach(shared))
    return sum(sys.getsizeof(each) for key, each in _reach(root).items() if key not in seen)


def _reach(root: object) -> dict[int, Any]:
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if id(each) in found or isinstance(each, type) or callable(each):
            continue
        found[id(each)] = each
        waiting += gc.get_referents(each)
    return found
