"""What a rule may say: the rule language, read from YAML into the form that the engine runs.

A rule file is refused whole if anything in it is wrong. Unknown keys are wrong, so that a slip of the pen
is found when the file is loaded and not when an alert is missed. ``schema.json`` next to this module
says the same as JSON Schema, for editors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, get_args

import yaml
from msgspec import Struct

from qa_service.domain.incidents import Audience, Severity
from qa_service.protocol.events import EMOTIONS, Emotion
from qa_service.rules.documents import Document, Fields
from qa_service.rules.errors import PhraseError
from qa_service.rules.phrases import compile_phrase

LANGUAGE_VERSION: Final = 1
MAX_WINDOW: Final = 10
"""Utterances that ``in`` may look back on, so that the state of a call stays small."""
CLOSE_AFTER_MS: Final = 30_000
"""Default calm after which an incident about utterances closes."""
MAX_ID_LENGTH: Final = 64

_ID = re.compile(rf"(?=.{{1,{MAX_ID_LENGTH}}}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_TOP = re.compile(r"top ([0-9]{1,2}(?:\.[0-9]{1,3})?) ?%")
_A_DAY = re.compile(r"([1-9][0-9]{0,5}) (?:a|per) day")
_WINDOW = re.compile(r"([1-9]\d?) of last ([1-9]\d?) utterances?")

Speaker: TypeAlias = Literal["agent", "customer", "any"]
Silent: TypeAlias = Literal["call", "customer", "agent"]
IfMissing: TypeAlias = Literal["pass", "fail"]

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
AUDIENCES: Final[tuple[Audience, ...]] = get_args(Audience)
SPEAKERS: Final[tuple[Speaker, ...]] = get_args(Speaker)
SILENT: Final[tuple[Silent, ...]] = get_args(Silent)
IF_MISSING: Final[tuple[IfMissing, ...]] = get_args(IfMissing)
_FELT: Final = ("customer",)


class EmotionCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="emotion"
):
    """The customer sounds so in ``needed`` of the last ``window`` utterances, the newest among them.

    An utterance counts if everything that the condition asks holds of it: its label is one of ``emotions``
    (none given: whatever its label), its rank and how many a day are as angry stay within their bounds. One
    that does not count takes up its place in the window all the same. Without a label, be it that the model
    abstained or that emotion may not be inferred, it never counts as one that has it. Only customers: nobody
    else's emotion is ever recognised (``qa_service.domain.emotions``).
    """

    emotions: tuple[Emotion, ...]
    needed: int
    window: int
    min_confidence: float
    if_missing: IfMissing
    """Whether a label counts that came without the confidence, rank or number a day that is asked for."""
    top_share: float | None = None
    """The highest anger rank that counts, 0 to 1."""
    most_a_day: int | None = None
    """Counts only what at most so many utterances a day are as angry as."""


class SaidCondition(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="said"):
    """Someone says one of the phrases, within one utterance; phrases as in ``qa_service.rules.phrases``."""

    leg: Speaker
    phrases: tuple[str, ...]


class SilenceCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="silence"
):
    """Nobody (``call``), or a leg of that role, says anything for longer than a time."""

    of: Silent
    longer_than_ms: int


Condition: TypeAlias = EmotionCondition | SaidCondition | SilenceCondition


class Rule(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule, complete: what the file left out has its default here."""

    id: str
    version: int
    severity: Severity
    audience: Audience
    description: str
    when: Condition
    close_after_ms: int
    """Calm after the last evidence that closes an incident, in audio time."""
    cooldown_ms: int
    """How long after an incident's end no other of this rule, on this leg, is opened."""


def read_rules(source: str, name: str) -> tuple[Rule, ...]:
    """Read a rule file, whose name is for messages; raises :class:`RuleFileError`."""
    document = Document(source, name)
    fields = document.read_mapping(document.root, "a rule file", required=("version", "rules"))
    _check_language_version(document, fields.get("version"))
    nodes = document.read_list(fields.get("rules"), "rules")
    rules = tuple(_read_rule(document, node) for node in nodes)
    _check_ids_differ(document, nodes, rules)
    document.refuse_if_wrong()
    return rules


def _check_language_version(document: Document, node: yaml.Node | None) -> None:
    version = document.read_integer(node, "the version of the rule language", least=LANGUAGE_VERSION)
    if node is not None and version != LANGUAGE_VERSION:
        document.note(
            node, f"version {version} of the rule language is not known; expected {LANGUAGE_VERSION}"
        )


def _check_ids_differ(document: Document, nodes: list[yaml.Node], rules: tuple[Rule, ...]) -> None:
    lines: dict[str, int] = {}
    for node, rule in zip(nodes, rules, strict=True):
        if rule.id in lines:
            document.note(node, f"rule id {rule.id!r} is taken by the rule in line {lines[rule.id]}")
        elif rule.id:
            lines[rule.id] = node.start_mark.line + 1


def _read_rule(document: Document, node: yaml.Node) -> Rule:
    fields = document.read_mapping(
        node,
        "a rule",
        required=("id", "version", "severity", "description", "when"),
        optional=("audience", "incident"),
    )
    when = _read_condition(document, fields.get("when"))
    calm = 0 if isinstance(when, SilenceCondition) else CLOSE_AFTER_MS
    close_after_ms, cooldown_ms = _read_incident(document, fields.get("incident"), calm)
    return Rule(
        id=_read_id(document, fields.get("id")),
        version=document.read_integer(fields.get("version"), "the rule's version", least=1),
        severity=document.read_choice(fields.get("severity"), "a severity", SEVERITIES, "low"),
        audience=document.read_choice(fields.get("audience"), "an audience", AUDIENCES, "supervisor"),
        description=document.read_text(fields.get("description"), "a description"),
        when=when,
        close_after_ms=close_after_ms,
        cooldown_ms=cooldown_ms,
    )


def _read_id(document: Document, node: yaml.Node | None) -> str:
    match = document.read_match(
        node,
        f"an id: up to {MAX_ID_LENGTH} lower-case letters and digits, parted by hyphens: angry-customer",
        _ID,
    )
    return match[0] if match is not None else ""


def _read_incident(document: Document, node: yaml.Node | None, calm: int) -> tuple[int, int]:
    if node is None:
        return calm, 0
    fields = document.read_mapping(node, "'incident'", optional=("close_after", "cooldown"))
    return (
        document.read_duration(fields.get("close_after"), "'close_after'", calm, allow_zero=True),
        document.read_duration(fields.get("cooldown"), "'cooldown'", 0, allow_zero=True),
    )


def _read_condition(document: Document, node: yaml.Node | None) -> Condition:
    readers: dict[str, Callable[[Document, yaml.Node], Condition]] = {
        "emotion": _read_emotion,
        "said": _read_said,
        "silence": _read_silence,
    }
    found = document.read_one_of(node, "'when'", tuple(readers)) if node is not None else None
    if found is None:
        return SilenceCondition(of="call", longer_than_ms=1)  # stands in until the document is refused
    key, condition = found
    return readers[key](document, condition)


def _read_emotion(document: Document, node: yaml.Node) -> EmotionCondition:
    fields = document.read_mapping(
        node,
        "'emotion'",
        required=("leg", "in"),
        optional=("is", "min_confidence", "rank", "at_most", "if_missing"),
    )
    document.read_choice(
        fields.get("leg"), "whose emotion (only a customer's is recognised)", _FELT, "customer"
    )
    needed, window = _read_window(document, fields.get("in"))
    emotions = _read_emotions(document, fields.get("is"))
    _check_what_is_asked(document, node, fields, emotions)
    return EmotionCondition(
        emotions=emotions,
        needed=needed,
        window=window,
        min_confidence=document.read_fraction(fields.get("min_confidence"), "'min_confidence'", 0.0),
        if_missing=document.read_choice(
            fields.get("if_missing"), "'if_missing'", IF_MISSING, "pass" if "is" in fields else "fail"
        ),
        top_share=_read_top_share(document, fields.get("rank")),
        most_a_day=_read_most_a_day(document, fields.get("at_most")),
    )


def _check_what_is_asked(
    document: Document, node: yaml.Node, fields: Fields, emotions: tuple[Emotion, ...]
) -> None:
    """Note what contradicts itself: ranks are of anger, and without a label something must be asked."""
    ranked = fields.get("rank") or fields.get("at_most")
    if "is" not in fields:
        if ranked is None and isinstance(node, yaml.MappingNode):
            document.note(node, "'emotion' lacks 'is', or 'rank' or 'at_most' in its place")
        for key in ("min_confidence", "if_missing"):
            if key in fields:
                document.note(fields[key], f"{key!r} is about a label: expected 'is' as well")
    elif ranked is not None and emotions != ("angry",):
        document.note(fields["is"], "'rank' and 'at_most' are of anger alone: expected is: angry, or no 'is'")


def _read_top_share(document: Document, node: yaml.Node | None) -> float | None:
    match = document.read_match(node, "'rank' of the form: top 3%", _TOP)
    if node is None or match is None:
        return None
    share = round(float(match[1]) / 100, 5)
    if not share:
        document.note(node, "'rank' must be more than the top 0%")
    return share


def _read_most_a_day(document: Document, node: yaml.Node | None) -> int | None:
    match = document.read_match(node, "'at_most' of the form: 20 a day", _A_DAY)
    return None if match is None else int(match[1])


def _read_emotions(document: Document, node: yaml.Node | None) -> tuple[Emotion, ...]:
    if node is None:
        return ()
    nodes = document.read_list(node, "emotions") if isinstance(node, yaml.SequenceNode) else [node]
    return tuple(document.read_choice(each, "an emotion", EMOTIONS, "neutral") for each in nodes)


def _read_window(document: Document, node: yaml.Node | None) -> tuple[int, int]:
    match = document.read_match(node, "'in' of the form: 2 of last 3 utterances", _WINDOW)
    if node is None or match is None:
        return 1, 1
    needed, window = int(match[1]), int(match[2])
    if needed > window:
        document.note(node, f"{needed} of the last {window} utterances can never be")
    if window > MAX_WINDOW:
        document.note(node, f"'in' looks back on {window} utterances; expected at most {MAX_WINDOW}")
    return needed, window


def _read_said(document: Document, node: yaml.Node) -> SaidCondition:
    fields = document.read_mapping(node, "'said'", required=("leg", "any_of"))
    return SaidCondition(
        leg=document.read_choice(fields.get("leg"), "who says it", SPEAKERS, "any"),
        phrases=tuple(
            _read_phrase(document, phrase) for phrase in document.read_list(fields.get("any_of"), "phrases")
        ),
    )


def _read_phrase(document: Document, node: yaml.Node) -> str:
    phrase = " ".join(document.read_text(node, "a phrase").split())
    try:
        if phrase:
            compile_phrase(phrase)
    except PhraseError as error:
        document.note(node, f"expected a phrase such as 'cancel * contract': {error}")
    return phrase


def _read_silence(document: Document, node: yaml.Node) -> SilenceCondition:
    fields = document.read_mapping(node, "'silence'", required=("of", "longer_than"))
    return SilenceCondition(
        of=document.read_choice(fields.get("of"), "whose silence", SILENT, "call"),
        longer_than_ms=document.read_duration(
            fields.get("longer_than"), "'longer_than'", 1, allow_zero=False
        ),
    )
