"""Scorecards: how a call that is over is graded by what its rules raised.

A scorecard is a document beside the rules: sections with weights, in them questions that a rule answers.
Whether a rule's incident means that the question is passed or failed is said with the question. The score of
a section is the weight of what was passed over the weight of what was answered; that of the call the mean of
its sections by their weights, 0 to 100. What cannot be decided, or did not apply, is left out of both and
shown. A failed question that is critical makes the score 0.

A pure function of the rules' outcomes and incidents, and so of the call's log.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from typing import Final, Literal, Protocol, TypeAlias, get_args
from uuid import UUID

import msgspec
import yaml
from msgspec import Struct

from qa_service.domain.entries import LogEntry
from qa_service.domain.incidents import IncidentChange
from qa_service.domain.scores import Answer, CallScore, Reason, Verdict
from qa_service.rules.documents import Document
from qa_service.rules.language import MAX_ID_LENGTH, RuleOutcome

SCORECARD_LANGUAGE_VERSION: Final = 1
DEFAULT_SCORECARD: Final = "scorecard.yaml"
MAX_REASONS: Final = 5
"""Incidents that an answer names, the earliest, so that the state of a call stays small."""

RaisedMeans: TypeAlias = Literal["fail", "pass"]

_RAISED_MEANS: Final[tuple[RaisedMeans, ...]] = get_args(RaisedMeans)
_ID = re.compile(rf"(?=.{{1,{MAX_ID_LENGTH}}}$)[a-z0-9]+(?:-[a-z0-9]+)*")


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question that a rule answers."""

    id: str
    ask: str
    rule: str
    raised_means: RaisedMeans
    weight: int = 1
    critical: bool = False


class Section(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Questions that belong together."""

    id: str
    weight: int
    questions: tuple[Question, ...]


class Scorecard:
    """A scorecard that passed the loader, with the source to store and the hash to store it by."""

    def __init__(
        self, source: str, *, card_id: str, version: int, description: str, sections: tuple[Section, ...]
    ) -> None:
        self.source = source
        self.id = card_id
        self.version = version
        self.description = description
        self.sections = sections

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what was read, in hexadecimal: layout and comments do not change it."""
        meaning = [SCORECARD_LANGUAGE_VERSION, self.id, self.version, self.description, self.sections]
        return hashlib.sha256(msgspec.json.encode(meaning)).hexdigest()

    @property
    def rules(self) -> frozenset[str]:
        """Ids of the rules that it asks."""
        return frozenset(question.rule for section in self.sections for question in section.questions)

    def score(
        self, call_id: str, outcomes: Mapping[str, RuleOutcome], reasons: Mapping[str, Sequence[Reason]]
    ) -> CallScore:
        """Grade a call by the outcome of each rule and the incidents of each, both by rule id."""
        answers = tuple(
            _answer(section, question, outcomes.get(question.rule), reasons.get(question.rule, ()))
            for section in self.sections
            for question in section.questions
        )
        is_failed = any(answer.is_critical and answer.verdict == "fail" for answer in answers)
        answered = sum(answer.verdict in {"pass", "fail"} for answer in answers)
        return CallScore(
            call_id=call_id,
            scorecard_hash=self.hash,
            scorecard_id=self.id,
            scorecard_version=self.version,
            score=0.0 if is_failed else self._mean(answers),
            auto_failed=is_failed,
            answered=answered,
            left_out=len(answers) - answered,
            answers=answers,
        )

    def _mean(self, answers: Sequence[Answer]) -> float | None:
        total = weights = 0.0
        for section in self.sections:
            share = _passed_share([answer for answer in answers if answer.section == section.id])
            if share is not None:
                total += share * section.weight
                weights += section.weight
        return round(100 * total / weights, 2) if weights else None


class Followed(Protocol):
    """A call's rules, as the engine has them (:class:`qa_service.rules.engine.CallRules`)."""

    def feed(self, entry: LogEntry) -> tuple[IncidentChange, ...]:
        """Take the next log entry; return what changed by it."""
        ...

    def outcomes(self) -> Mapping[str, RuleOutcome]:
        """Tell what has become of each rule so far, by its id."""
        ...

    @property
    def has_early(self) -> bool:
        """Whether words of an utterance that is not finished can raise any rule."""
        ...

    def would_raise(self, leg_id: str, text: str, language: str | None, at_ms: int) -> bool:
        """Tell whether such words would raise a rule now."""
        ...


class ScoredRules:
    """A call's rules together with the scorecard that it will be graded by, if any."""

    __slots__ = ("_asked", "_call_id", "_card", "_raised", "_rules", "has_early", "would_raise")

    def __init__(self, rules: Followed, *, call_id: str, card: Scorecard | None) -> None:
        self._rules = rules
        self._call_id = call_id
        self._card = card
        self._asked = frozenset[str]() if card is None else card.rules
        self._raised: dict[str, dict[UUID, Reason]] = {}
        """Incidents that were not withdrawn, by rule, of the rules that the card asks."""
        self.has_early = rules.has_early
        self.would_raise = rules.would_raise

    def feed(self, entry: LogEntry) -> tuple[IncidentChange, ...]:
        """Take the next log entry; return what changed by it."""
        changes = self._rules.feed(entry)
        for change in changes:
            if change.rule_id in self._asked:
                self._note(change)
        return changes

    def score(self) -> CallScore | None:
        """Grade the call by what is known of it; None without a scorecard."""
        if self._card is None:
            return None
        reasons = {rule_id: list(found.values()) for rule_id, found in self._raised.items()}
        return self._card.score(self._call_id, self._rules.outcomes(), reasons)

    def _note(self, change: IncidentChange) -> None:
        reasons = self._raised.setdefault(change.rule_id, {})
        if change.state == "withdrawn":
            reasons.pop(change.incident_id, None)
        elif change.incident_id in reasons or len(reasons) < MAX_REASONS:
            reasons[change.incident_id] = to_reason(change)


def to_reason(change: IncidentChange) -> Reason:
    """What an answer keeps of an incident."""
    said = [piece for piece in change.evidence if piece.utterance_id is not None]
    return Reason(
        incident_id=change.incident_id,
        opened_ms=change.opened_ms,
        utterance_ids=tuple(piece.utterance_id for piece in said if piece.utterance_id is not None),
        words=said[0].text if said else None,
    )


def _answer(
    section: Section, question: Question, outcome: RuleOutcome | None, reasons: Sequence[Reason]
) -> Answer:
    return Answer(
        section=section.id,
        question=question.id,
        ask=question.ask,
        rule_id=question.rule,
        verdict=_verdict(question, outcome),
        weight=question.weight,
        is_critical=question.critical,
        reasons=tuple(reasons),
    )


def _verdict(question: Question, outcome: RuleOutcome | None) -> Verdict:
    match outcome:
        case None:
            return "no_rule"
        case "raised":
            return question.raised_means
        case "passed":
            return "pass" if question.raised_means == "fail" else "fail"
        case _:
            return outcome


def _passed_share(answers: Iterable[Answer]) -> float | None:
    decided = [answer for answer in answers if answer.verdict in {"pass", "fail"}]
    weight = sum(answer.weight for answer in decided)
    return sum(answer.weight for answer in decided if answer.verdict == "pass") / weight if weight else None


# --- reading ------------------------------------------------------------------------------------------


def load_scorecard(source: str, name: str, *, rule_ids: Collection[str] | None = None) -> Scorecard:
    """Load the text of a scorecard; ``name`` is what messages call it.

    With ``rule_ids``, a question that asks another rule is a mistake, too.

    Raises :class:`qa_service.rules.errors.RuleFileError`, which names every problem and its place.
    """
    document = Document(source, name, holds="sections")
    fields = document.read_mapping(
        document.root, "a scorecard", required=("version", "id", "revision", "description", "sections")
    )
    version = document.read_integer(fields.get("version"), "the version of the scorecard language", least=1)
    if version != SCORECARD_LANGUAGE_VERSION:
        document.note(
            fields.get("version", document.root),
            f"version {version} of the scorecard language is not known; "
            f"expected {SCORECARD_LANGUAGE_VERSION}",
        )
    nodes = document.read_list(fields.get("sections"), "sections")
    sections = tuple(_read_section(document, node, rule_ids) for node in nodes)
    _check_ids_differ(document, nodes, sections)
    card = Scorecard(
        source,
        card_id=_read_id(document, fields.get("id")),
        version=document.read_integer(fields.get("revision"), "the scorecard's revision", least=1),
        description=document.read_text(fields.get("description"), "a description"),
        sections=sections,
    )
    document.refuse_if_wrong()
    return card


def default_scorecard() -> Scorecard:
    """Load the scorecard that comes with the package, which grades by its rules."""
    source = resources.files("qa_service.rules").joinpath(DEFAULT_SCORECARD).read_text(encoding="utf-8")
    return load_scorecard(source, DEFAULT_SCORECARD)


def _read_section(document: Document, node: yaml.Node, rule_ids: Collection[str] | None) -> Section:
    fields = document.read_mapping(node, "a section", required=("id", "questions"), optional=("weight",))
    nodes = document.read_list(fields.get("questions"), "questions")
    questions = tuple(_read_question(document, each, rule_ids) for each in nodes)
    _check_ids_differ(document, nodes, questions)
    return Section(
        id=_read_id(document, fields.get("id")),
        weight=document.read_integer(fields.get("weight"), "a weight", least=1),
        questions=questions,
    )


def _read_question(document: Document, node: yaml.Node, rule_ids: Collection[str] | None) -> Question:
    fields = document.read_mapping(
        node,
        "a question",
        required=("id", "ask", "rule", "raised_means"),
        optional=("weight", "critical"),
    )
    rule = _read_id(document, fields.get("rule"))
    if rule and rule_ids is not None and rule not in rule_ids:
        close = difflib.get_close_matches(rule, rule_ids, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        document.note(fields["rule"], f"there is no rule {rule!r} in the rule set{hint}")
    return Question(
        id=_read_id(document, fields.get("id")),
        ask=document.read_text(fields.get("ask"), "a question"),
        rule=rule,
        raised_means=document.read_choice(
            fields.get("raised_means"), "what the rule's alert means", _RAISED_MEANS, "fail"
        ),
        weight=document.read_integer(fields.get("weight"), "a weight", least=1),
        critical=document.read_flag(fields.get("critical"), "'critical'"),
    )


def _read_id(document: Document, node: yaml.Node | None) -> str:
    expected = f"an id: up to {MAX_ID_LENGTH} lower-case letters and digits, parted by hyphens: call-opening"
    match = document.read_match(node, expected, _ID)
    return match[0] if match is not None else ""


def _check_ids_differ(
    document: Document, nodes: Sequence[yaml.Node], found: Sequence[Section | Question]
) -> None:
    lines: dict[str, int] = {}
    for node, each in zip(nodes, found, strict=True):
        if each.id in lines:
            document.note(node, f"id {each.id!r} is taken in line {lines[each.id]}")
        elif each.id:
            lines[each.id] = node.start_mark.line + 1
