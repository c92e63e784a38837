"""Tests of rules that their authors write: dialogues, and the alerts they should raise.

A file of tests stands beside its rules, ``my-rules.tests.yaml`` beside ``my-rules.yaml``. A line of a
dialogue is ``customer 12.0-14.5 angry 0.9: "text"``: leg, seconds, and if wanted label, confidence,
``rank 0.01``, ``daily 5`` (as few utterances a day are as angry) and ``level -12``. Other lines: ``agent lost
5.0-8.0`` (a gap, by its reason), ``customer early 3.0: "words"`` (of an utterance that is not finished) and
``end 60.0``. What no line covers was heard and held no speech.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, get_args

import msgspec
import yaml

from qa_service.contract.info import Direction, Role
from qa_service.domain.emotions import known_emotion
from qa_service.domain.entries import (
    Body,
    CallEnded,
    CallStarted,
    EarlyWords,
    Gap,
    GapReason,
    LegEnded,
    LegStarted,
    LogEntry,
    Quiet,
    Utterance,
)
from qa_service.domain.identities import utterance_id
from qa_service.domain.incidents import IncidentChange, IncidentState, Severity
from qa_service.protocol.events import EMOTIONS
from qa_service.rules.documents import Document, Fields
from qa_service.rules.language import RuleOutcome
from qa_service.rules.ruleset import RuleSet

CALL: Final = "test"
TESTS_VERSION: Final = 1

_SECONDS = r"\d{1,6}(?:\.\d{1,3})?"
_LEG = r"(?P<leg>(?:customer|agent|other)(?:-[a-z0-9]+)*)"
_SPEECH = re.compile(
    rf"{_LEG} (?P<start>{_SECONDS})-(?P<end>{_SECONDS})"
    rf"(?: (?P<emotion>{'|'.join(EMOTIONS)}|abstained)(?: (?P<confidence>[01](?:\.\d+)?))?)?"
    r"(?: rank (?P<rank>[01](?:\.\d+)?))?(?: daily (?P<daily>\d{1,6}(?:\.\d+)?))?"
    r"(?: level (?P<level>-?\d{1,3}(?:\.\d+)?))?"
)
_EARLY = re.compile(rf"{_LEG} early (?P<start>{_SECONDS})")
_GAP = re.compile(
    rf"{_LEG} (?P<reason>{'|'.join(get_args(GapReason))}) (?P<start>{_SECONDS})-(?P<end>{_SECONDS})"
)
_END = re.compile(rf"end (?P<end>{_SECONDS})")
_LINE: Final = 'a line such as: customer 12.0-14.5 angry 0.9: "text", agent lost 5.0-8.0, or end 60.0'
_LEG_NAME = re.compile(_LEG)


class _Line(NamedTuple):
    """Something on a leg; early words stand before the utterance that they begin."""

    leg: str
    start_ms: int
    end_ms: int
    what: dict[str, Any] | GapReason


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """An alert that is expected, or was raised; of one that is expected, what it says counts."""

    rule: str
    state: IncidentState | None = None
    severity: Severity | None = None
    opened: float | None = None
    """Seconds of call time."""
    closed: float | None = None

    def fits(self, raised: Alert) -> bool:
        """Tell whether an alert that was raised is this one."""
        return all(
            wanted is None or wanted == getattr(raised, name)
            for name in self.__struct_fields__
            if (wanted := getattr(self, name)) is not None
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One test: a call, and what is to come of it."""

    name: str
    log: tuple[LogEntry, ...]
    rules: tuple[str, ...]
    """Rules that it is about; none: all."""
    expected: tuple[Alert, ...]
    outcomes: dict[str, RuleOutcome]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How a test went."""

    name: str
    passed: bool
    missing: tuple[Alert, ...]
    unexpected: tuple[Alert, ...]
    wrong_outcomes: dict[str, tuple[str, str]]
    """By rule: the outcome expected, and what it was."""


def judge(scenario: Scenario, rules: RuleSet) -> Verdict:
    """Run a test."""
    call = rules.start(CALL)
    changes = [change for entry in scenario.log for change in call.feed(entry)]
    about = set(scenario.rules)
    left = [alert for alert in summarise(changes) if not about or alert.rule in about]
    missing: list[Alert] = []
    # The most demanding first, so that one that says less does not take its alert.
    for expected in sorted(scenario.expected, key=lambda alert: -len(msgspec.to_builtins(alert))):
        found = next((alert for alert in left if expected.fits(alert)), None)
        if found is None:
            missing.append(expected)
        else:
            left.remove(found)
    outcomes = call.outcomes()
    wrong: dict[str, tuple[str, str]] = {
        rule: (wanted, str(outcomes[rule]))
        for rule, wanted in scenario.outcomes.items()
        if outcomes[rule] != wanted
    }
    return Verdict(
        name=scenario.name,
        passed=not (missing or left or wrong),
        missing=tuple(missing),
        unexpected=tuple(left),
        wrong_outcomes=wrong,
    )


def summarise(changes: Iterable[IncidentChange]) -> list[Alert]:
    """Reduce the changes of incidents to how each stands in the end, in the order of their opening."""
    newest = {change.incident_id: change for change in changes}
    return [
        Alert(
            change.rule_id,
            change.state,
            change.severity,
            change.opened_ms / 1000,
            None if change.closed_ms is None else change.closed_ms / 1000,
        )
        for change in newest.values()
    ]


def read_scenarios(source: str, name: str, rules: RuleSet) -> tuple[Scenario, ...]:
    """Read a file of tests of some rules; raises :class:`qa_service.rules.errors.RuleFileError`."""
    document = Document(source, name, holds="tests")
    fields = document.read_mapping(document.root, "a file of tests", required=("version", "tests"))
    version = document.read_integer(fields.get("version"), "the version of the tests", least=TESTS_VERSION)
    if "version" in fields and version != TESTS_VERSION:
        document.note(fields["version"], f"version {version} is not known; expected {TESTS_VERSION}")
    known = tuple(rule.id for rule in rules.rules)
    scenarios = tuple(
        _ScenarioReader(document, known).read(node)
        for node in document.read_list(fields.get("tests"), "tests")
    )
    document.refuse_if_wrong()
    return scenarios


@dataclass
class _ScenarioReader:
    """Reads one test."""

    document: Document
    known: tuple[str, ...]
    lines: list[_Line] = field(default_factory=list)
    end_ms: int = 0

    def read(self, node: yaml.Node) -> Scenario:
        document = self.document
        fields = document.read_mapping(
            node,
            "a test",
            required=("name", "dialogue"),
            optional=("language", "legs", "rules", "expect", "outcomes"),
        )
        language = document.read_text(fields["language"], "a language") if "language" in fields else None
        for each in document.read_list(fields.get("dialogue"), "lines"):
            self._read_line(each, language)
        legs = self._read_legs(fields.get("legs"))
        return Scenario(
            name=document.read_text(fields.get("name"), "a name"),
            log=tuple(
                _write_log(self.lines, legs, max([self.end_ms, *(line.end_ms for line in self.lines)]))
            ),
            rules=tuple(self._read_rule(each) for each in self._items(fields, "rules")),
            expected=tuple(self._read_alert(each) for each in self._items(fields, "expect")),
            outcomes=self._read_outcomes(fields.get("outcomes")),
        )

    def _read_line(self, node: yaml.Node, language: str | None) -> None:
        document = self.document
        if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
            key, text = node.value[0]
            speech = _SPEECH.fullmatch(str(key.value))
            early = _EARLY.fullmatch(str(key.value))
            if speech is not None:
                said = _read_speech(speech, _read_text(text), language)
                self._add(node, speech, said)
            elif early is not None:
                self._add(node, early, {"early": _read_text(text), "language": language})
            else:
                document.note(key, f"expected {_LINE}; found {key.value!r}")
            return
        gap = _GAP.fullmatch(str(node.value)) if isinstance(node, yaml.ScalarNode) else None
        end = _END.fullmatch(str(node.value)) if isinstance(node, yaml.ScalarNode) else None
        if gap is not None:
            self._add(node, gap, gap["reason"])
        elif end is not None:
            self.end_ms = _milliseconds(end["end"])
        else:
            document.note(node, f"expected {_LINE}")

    def _add(self, node: yaml.Node, match: re.Match[str], what: Any) -> None:
        start = _milliseconds(match["start"])
        end = _milliseconds(match.groupdict().get("end") or match["start"])
        before = max((line.end_ms for line in self.lines if line.leg == match["leg"]), default=0)
        if end < start:
            self.document.note(node, "this ends before it begins")
        elif start < before:
            self.document.note(node, f"leg {match['leg']!r} is told of up to {before / 1000:g} already")
        self.lines.append(_Line(match["leg"], start, end, what))

    def _read_legs(self, node: yaml.Node | None) -> dict[str, dict[str, Any]]:
        legs: dict[str, dict[str, Any]] = {line.leg: {} for line in self.lines}
        if node is None:
            return legs
        if not isinstance(node, yaml.MappingNode):
            self.document.note(node, "expected 'legs' as a mapping of legs to what they are")
            return legs
        for key, value in node.value:
            match = self.document.read_match(key, "a leg such as customer or agent-2", _LEG_NAME)
            if match is not None:
                legs[match["leg"]] = self._read_leg(value)
        return legs

    def _read_leg(self, node: yaml.Node) -> dict[str, Any]:
        document = self.document
        fields = document.read_mapping(
            node,
            "a leg",
            optional=("start", "tenant", "queue", "agent", "direction", "language", "attributes"),
        )
        told: dict[str, Any] = {
            {"agent": "agent_id"}.get(key, key): document.read_text(value, f"{key!r}")
            for key, value in fields.items()
            if key in {"tenant", "queue", "agent", "language"}
        }
        if "direction" in fields:
            told["direction"] = document.read_choice(
                fields["direction"], "a direction", get_args(Direction), "inbound"
            )
        if "start" in fields:
            start = document.read_number(fields["start"], "'start' in seconds", least=0, most=86_400)
            told["start_ms"] = round((start or 0) * 1000)
        attributes = fields.get("attributes")
        if isinstance(attributes, yaml.MappingNode):
            told["attributes"] = {
                key.value: document.read_scalar(value, "an attribute") for key, value in attributes.value
            }
        return told

    def _read_alert(self, node: yaml.Node) -> Alert:
        document = self.document
        if isinstance(node, yaml.ScalarNode):
            return Alert(self._read_rule(node))
        if not isinstance(node, yaml.MappingNode) or len(node.value) != 1:
            document.note(node, "expected a rule's id, or a mapping of one to what is expected of the alert")
            return Alert("")
        key, value = node.value[0]
        fields = document.read_mapping(value, "an alert", optional=("opened", "closed", "state", "severity"))
        times: dict[str, Any] = {
            name: document.read_number(fields.get(name), f"{name!r} in seconds", least=0, most=86_400)
            for name in ("opened", "closed")
        }
        chosen: dict[str, Any] = {
            name: document.read_choice(fields[name], f"a {name}", choices, choices[0])
            for name, choices in (("state", get_args(IncidentState)), ("severity", get_args(Severity)))
            if name in fields
        }
        return Alert(self._read_rule(key), **chosen, **times)

    def _read_outcomes(self, node: yaml.Node | None) -> dict[str, RuleOutcome]:
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.document.note(node, "expected 'outcomes' as a mapping of rules to outcomes")
            return {}
        choices: tuple[RuleOutcome, ...] = get_args(RuleOutcome)
        return {
            self._read_rule(key): self.document.read_choice(value, "an outcome", choices, "passed")
            for key, value in node.value
        }

    def _read_rule(self, node: yaml.Node) -> str:
        return self.document.read_choice(node, "the id of a rule", self.known, self.known[0])

    def _items(self, fields: Fields, key: str) -> Sequence[yaml.Node]:
        node = fields.get(key)
        if node is None or (isinstance(node, yaml.SequenceNode) and not node.value):
            return ()
        return self.document.read_items(node)


def _read_text(node: yaml.Node) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""


def _read_speech(match: re.Match[str], text: str, language: str | None) -> dict[str, Any]:
    told = match.groupdict()
    numbers = {
        name: None if told[key] is None else float(told[key])
        for name, key in (
            ("emotion_confidence", "confidence"),
            ("anger_rank", "rank"),
            ("anger_daily", "daily"),
            ("loudness_dbfs", "level"),
        )
    }
    return {
        "text": text,
        "language": language,
        "emotion": known_emotion(told["emotion"]),
        "emotion_abstained": told["emotion"] == "abstained",
        **numbers,
    }


def _milliseconds(seconds: str) -> int:
    return round(float(seconds) * 1000)


# --- the log ------------------------------------------------------------------------------------------


def _write_log(lines: list[_Line], legs: dict[str, dict[str, Any]], end_ms: int) -> list[LogEntry]:
    """Write the log of a call, its entries in the order of their ends."""
    log = _Log()
    log.add(None, 0, 0, CallStarted("test", 0))
    waiting: list[tuple[int, int, str, int, Body]] = []
    for leg, described in legs.items():
        start_ms = described.pop("start_ms", 0)
        waiting.append((start_ms, 0, leg, start_ms, _describe(leg, described)))
        waiting += [(end_ms, 2, leg, end_ms, Quiet(start_pos=0, end_pos=0, time_source="progress"))]
        waiting += [(end_ms, 3, leg, end_ms, LegEnded("stop"))]
    ordinals: dict[str, int] = {}
    for line in lines:
        ordinal = ordinals.get(line.leg, 0) + 1
        waiting.append((line.end_ms, 1, line.leg, line.start_ms, _make_body(line, ordinal)))
        if isinstance(line.what, dict) and "early" not in line.what:
            ordinals[line.leg] = ordinal
    for at_ms, _, leg, start_ms, body in sorted(waiting, key=lambda each: each[:2]):
        log.add(leg, start_ms, at_ms, body)
    log.add(None, end_ms, end_ms, CallEnded())
    return log.entries


@dataclass
class _Log:
    entries: list[LogEntry] = field(default_factory=list)

    def add(self, leg: str | None, start_ms: int, end_ms: int, body: Body) -> None:
        self.entries.append(
            LogEntry(
                call_id=CALL,
                call_seq=len(self.entries) + 1,
                leg_id=leg,
                start_ms=start_ms,
                end_ms=end_ms,
                body=body,
            )
        )


def _describe(leg: str, described: dict[str, Any]) -> LegStarted:
    role: Role = "customer" if leg.startswith("customer") else "agent" if leg.startswith("agent") else "other"
    return LegStarted(
        role=role,
        role_is_explicit=True,
        emotion_policy="on" if role == "customer" else "off_role",
        codec="pcmu",
        rate=8000,
        source_offset=0,
        **described,
    )


def _make_body(line: _Line, ordinal: int) -> Body:
    if not isinstance(line.what, dict):
        return Gap(reason=line.what, start_pos=0, end_pos=0)
    if "early" in line.what:
        return EarlyWords(ordinal=ordinal, text=line.what["early"], language=line.what["language"])
    return Utterance(
        utterance_id=utterance_id(CALL, line.leg, ordinal),
        ordinal=ordinal,
        start_pos=0,
        end_pos=0,
        time_source="server",
        engine=None,
        model=None,
        **line.what,
    )
