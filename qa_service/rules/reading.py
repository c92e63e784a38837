"""Reads rule files: YAML in, rules out, or everything that is wrong with them.

A rule file is refused whole if anything in it is wrong. Unknown keys are wrong, so that a slip of the pen
is found when the file is loaded and not when an alert is missed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import yaml

from qa_service.contract.info import AttributeValue
from qa_service.domain.incidents import Severity
from qa_service.protocol.events import EMOTIONS, Emotion
from qa_service.rules.documents import Document, Fields
from qa_service.rules.errors import PhraseError
from qa_service.rules.language import (
    AUDIENCES,
    CALM,
    CLOSE_AFTER_MS,
    DIRECTIONS,
    ENOUGH_SPEECH_MS,
    IF_CALL_ENDS,
    IF_MISSING,
    LANGUAGE_VERSION,
    MAX_ID_LENGTH,
    MAX_NEAR,
    MAX_STEPS,
    MAX_WINDOW,
    SEVERITIES,
    SIDES,
    SILENT,
    SPEAKERS,
    AbsentCondition,
    AllCondition,
    Anchor,
    AnyCondition,
    Condition,
    DuringCondition,
    EmotionCondition,
    Escalation,
    InterruptionCondition,
    LoudnessCondition,
    NearCondition,
    OvertalkCondition,
    RepeatedCondition,
    ResponseDelayCondition,
    Rule,
    SaidCondition,
    ScoreCondition,
    SequenceCondition,
    ShiftCondition,
    SilenceCondition,
    Speaker,
    SpeechRateCondition,
    TalkShareCondition,
    TrendCondition,
    Weighted,
    Where,
    Window,
)
from qa_service.rules.patterns import explain_pattern
from qa_service.rules.phrases import compile_phrase

MAX_DEPTH: Final = 8
"""Conditions inside conditions."""
MAX_CONDITIONS: Final = 10_000
"""Conditions in one file, so that no file can stall the service while it is read."""
MAX_DECIBELS: Final = 100.0
"""What a level or a difference of levels may be."""

_ID = re.compile(rf"(?=.{{1,{MAX_ID_LENGTH}}}$)[a-z0-9]+(?:-[a-z0-9]+)*")
_TOP = re.compile(r"top ([0-9]{1,2}(?:\.[0-9]{1,3})?) ?%")
_A_DAY = re.compile(r"([1-9][0-9]{0,5}) (?:a|per) day")
_WINDOW = re.compile(r"([1-9]\d?) of last ([1-9]\d?) utterances?")
_WITHIN_WORDS = re.compile(r"([1-9]\d?) words?")
_UTTERANCES = re.compile(r"([1-9]\d{0,2}) utterances?")
_PACE = re.compile(r"([1-9]\d{0,3}) (words|characters)")
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}")
_FELT: Final = ("customer",)
_NOTHING: Final = SilenceCondition(of="call", longer_than_ms=1)
"""Stands in for a condition that cannot be read, until the document is refused."""

Reader: TypeAlias = Callable[["RuleReader", yaml.Node], Condition]


def read_rules(source: str, name: str) -> tuple[Rule, ...]:
    """Read a rule file, whose name is for messages; raises :class:`RuleFileError`."""
    document = Document(source, name)
    fields = document.read_mapping(
        document.root, "a rule file", required=("version", "rules"), optional=("lists",)
    )
    _check_language_version(document, fields.get("version"))
    reader = RuleReader(document, fields.get("lists"))
    nodes = document.read_list(fields.get("rules"), "rules")
    rules = tuple(reader.read_rule(node) for node in nodes)
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


class RuleReader:
    """Reads the rules of one document, whose word lists come first."""

    def __init__(self, document: Document, lists: yaml.Node | None) -> None:
        self._document = document
        self._depth = 0
        self._conditions = 0
        self._lists: dict[str, tuple[str, ...]] = {}
        if lists is not None:
            self._read_lists(lists)

    def read_rule(self, node: yaml.Node) -> Rule:
        """Read one rule."""
        document = self._document
        fields = document.read_mapping(
            node,
            "a rule",
            required=("id", "version", "severity", "description", "when"),
            optional=("audience", "where", "early", "incident"),
        )
        when = self.read_condition(fields["when"], "'when'") if "when" in fields else _NOTHING
        severity: Severity = document.read_choice(
            fields.get("severity"), "a severity", SEVERITIES, default="low"
        )
        calm = 0 if isinstance(when, SilenceCondition) else CLOSE_AFTER_MS
        close_after_ms, cooldown_ms, escalate = self._read_incident(fields.get("incident"), calm, severity)
        return Rule(
            id=self._read_id(fields.get("id")),
            version=document.read_integer(fields.get("version"), "the rule's version", least=1),
            severity=severity,
            audience=document.read_choice(fields.get("audience"), "an audience", AUDIENCES, "supervisor"),
            description=document.read_text(fields.get("description"), "a description"),
            when=when,
            close_after_ms=close_after_ms,
            cooldown_ms=cooldown_ms,
            where=self._read_where(fields.get("where")),
            early=self._read_early(fields.get("early"), when, has_where="where" in fields),
            escalate=escalate,
        )

    def read_condition(self, node: yaml.Node, what: str) -> Condition:
        """Read a mapping of one condition, and perhaps of ``during``."""
        return self._read_with(node, what)[0]

    # --- rules ----------------------------------------------------------------------------------------

    def _read_lists(self, node: yaml.Node) -> None:
        document = self._document
        if not isinstance(node, yaml.MappingNode):
            document.note(node, "expected 'lists' as a mapping of names to lists of phrases")
            return
        for key, value in node.value:
            name = document.read_text(key, "the name of a list")
            if name in self._lists:
                document.note(key, f"list {name!r} stands twice")
            self._lists[name] = tuple(map(self._read_phrase, document.read_list(value, "phrases")))

    def _read_id(self, node: yaml.Node | None) -> str:
        match = self._document.read_match(
            node,
            f"an id: up to {MAX_ID_LENGTH} lower-case letters and digits, parted by hyphens: angry-customer",
            _ID,
        )
        return match[0] if match is not None else ""

    def _read_incident(
        self, node: yaml.Node | None, calm: int, severity: Severity
    ) -> tuple[int, int, tuple[Escalation, ...]]:
        if node is None:
            return calm, 0, ()
        document = self._document
        fields = document.read_mapping(node, "'incident'", optional=("close_after", "cooldown", "escalate"))
        steps = document.read_list(fields.get("escalate"), "escalations")
        escalate = tuple(map(self._read_escalation, steps))
        severities = [severity, *(step.severity for step in escalate)]
        for place, lower, higher in zip(steps, severities, severities[1:], strict=False):
            if SEVERITIES.index(higher) <= SEVERITIES.index(lower):
                document.note(place, f"an escalation from {lower!r} to {higher!r} is none")
        return (
            document.read_duration(fields.get("close_after"), "'close_after'", calm, allow_zero=True),
            document.read_duration(fields.get("cooldown"), "'cooldown'", 0, allow_zero=True),
            escalate,
        )

    def _read_escalation(self, node: yaml.Node) -> Escalation:
        document = self._document
        fields = document.read_mapping(
            node, "an escalation", required=("severity",), optional=("after", "updates")
        )
        self._need_one(node, fields, "an escalation", ("after", "updates"))
        updates = fields.get("updates")
        return Escalation(
            severity=document.read_choice(fields.get("severity"), "a severity", SEVERITIES, "critical"),
            after_ms=document.read_duration(fields.get("after"), "'after'", 0, allow_zero=False),
            updates=document.read_integer(updates, "'updates'", least=1) if updates is not None else 0,
        )

    def _read_early(self, node: yaml.Node | None, when: Condition, *, has_where: bool) -> bool:
        is_early = self._document.read_flag(node, "'early'")
        if node is not None and is_early and (not isinstance(when, SaidCondition) or has_where):
            self._document.note(node, "'early' is for rules whose condition is 'said' alone, without 'where'")
        return is_early

    def _read_where(self, node: yaml.Node | None) -> Where | None:
        if node is None:
            return None
        keys = ("role", "tenant", "queue", "agent", "direction", "language", "attributes")
        fields = self._document.read_mapping(node, "'where'", optional=keys)
        if isinstance(node, yaml.MappingNode) and not node.value:
            self._document.note(node, f"'where' is empty: expected one of {', '.join(map(repr, keys))}")
        choices = {"role": ("customer", "agent", "other"), "direction": ("inbound", "outbound", "internal")}
        attributes = fields.pop("attributes", None)
        told = {
            key: tuple(
                self._document.read_choice(each, f"a {key}", choices[key], choices[key][0])
                if key in choices
                else self._read_language(each)
                if key == "language"
                else self._document.read_text(each, f"{key!r}")
                for each in self._document.read_items(value)
            )
            for key, value in fields.items()
        }
        return Where(**told, attributes=self._read_attributes(attributes))

    def _read_attributes(self, node: yaml.Node | None) -> tuple[tuple[str, tuple[AttributeValue, ...]], ...]:
        if node is None:
            return ()
        if not isinstance(node, yaml.MappingNode) or not node.value:
            self._document.note(node, "expected 'attributes' as a mapping of names to values")
            return ()
        return tuple(
            sorted(
                (
                    self._document.read_text(key, "the name of an attribute"),
                    tuple(
                        self._document.read_scalar(each, "an attribute")
                        for each in self._document.read_items(value)
                    ),
                )
                for key, value in node.value
            )
        )

    def _read_language(self, node: yaml.Node) -> str:
        match = self._document.read_match(node, "a language by its primary subtag, such as en", _LANGUAGE)
        return "" if match is None else match[0].lower()

    # --- conditions -----------------------------------------------------------------------------------

    def _read_with(
        self,
        node: yaml.Node,
        what: str,
        *,
        required: Sequence[str] = (),
        optional: Sequence[str] = (),
        also: Sequence[str] = (),
    ) -> tuple[Condition, Fields]:
        """Read a condition that stands in a mapping with other keys, which are returned.

        Keys of ``also`` are as good as a condition: where one of them stands, it is returned in its place.
        """
        document, kinds = self._document, (*_READERS, *also)
        fields = document.read_mapping(node, what, required=required, optional=(*kinds, "during", *optional))
        found = [key for key in kinds if key in fields]
        if len(found) != 1:
            wrong = [key for key, _ in node.value if isinstance(key.value, str)] if fields else []
            if isinstance(node, yaml.MappingNode) and (not node.value or len(found) > 1 or wrong):
                document.note(node, f"{what} needs exactly one condition: {_list(kinds)}")
            return _NOTHING, fields
        if found[0] in also:
            return _NOTHING, fields
        condition = self._read_kind(found[0], fields.pop(found[0]))
        if "during" in fields and self._depth < MAX_DEPTH:
            self._depth += 1  # its anchor may hold a condition, and that another 'during'
            condition = self._read_during(fields.pop("during"), condition)
            self._depth -= 1
        return condition, fields

    def _read_kind(self, kind: str, node: yaml.Node) -> Condition:
        self._conditions += 1
        if self._depth >= MAX_DEPTH or self._conditions > MAX_CONDITIONS:
            limit = f"{MAX_DEPTH} deep" if self._depth >= MAX_DEPTH else f"{MAX_CONDITIONS} in a file"
            self._document.note(node, f"too many conditions: expected at most {limit}")
            return _NOTHING
        self._depth += 1
        condition = _READERS[kind](self, node)
        self._depth -= 1
        return condition

    def read_said(self, node: yaml.Node) -> Condition:
        """Read ``said``."""
        document = self._document
        ways = ("any_of", "words", "all_of", "regex")
        fields = document.read_mapping(
            node, "'said'", required=("leg",), optional=(*ways, "not", "excluding", "language")
        )
        self._need_some(node, fields, "'said'", ways)
        if "excluding" in fields and "regex" not in fields:
            document.note(fields["excluding"], "'excluding' is about a regex: expected 'regex' as well")
        return SaidCondition(
            leg=self._read_speaker(fields),
            phrases=self._read_phrases(fields.get("any_of")) + self._read_phrases(fields.get("words")),
            all_of=self._read_phrases(fields.get("all_of")),
            none_of=self._read_phrases(fields.get("not")),
            regex=self._read_patterns(fields.get("regex")),
            excluding=self._read_patterns(fields.get("excluding")),
            languages=tuple(map(self._read_language, self._items(fields.get("language")))),
        )

    def read_near(self, node: yaml.Node) -> Condition:
        """Read ``near``."""
        document = self._document
        fields = document.read_mapping(
            node, "'near'", required=("leg", "a", "within"), optional=("b", "not", "order")
        )
        self._need_one(node, fields, "'near'", ("b", "not"))
        match = document.read_match(fields.get("within"), "'within' of the form: 5 words", _WITHIN_WORDS)
        words = 1 if match is None else int(match[1])
        if words > MAX_NEAR:
            document.note(fields["within"], f"'within' spans {words} words; expected at most {MAX_NEAR}")
        order = document.read_choice(fields.get("order"), "'order'", ("any", "given"), "any")
        return NearCondition(
            leg=self._read_speaker(fields),
            a=self._read_phrases(fields.get("a")),
            b=self._read_phrases(fields.get("b")),
            without=self._read_phrases(fields.get("not")),
            within_words=words,
            ordered=order == "given",
        )

    def read_emotion(self, node: yaml.Node) -> Condition:
        """Read ``emotion``: how the customer sounds, a shift of it, or a trend."""
        document = self._document
        fields = document.read_mapping(
            node,
            "'emotion'",
            required=("leg",),
            optional=(
                *("is", "in", "for", "min_confidence", "rank", "at_most", "if_missing"),
                *("from", "to", "trend", "over"),
            ),
        )
        document.read_choice(
            fields.get("leg"), "whose emotion (only a customer's is recognised)", _FELT, "customer"
        )
        if "trend" in fields or "over" in fields:
            return self._read_trend(node, fields)
        if "from" in fields or "to" in fields:
            return self._read_shift(node, fields)
        if isinstance(node, yaml.MappingNode):
            self._need_one(node, fields, "'emotion'", ("in", "for"))
        needed, window = self._read_window(fields.get("in"))
        emotions = self._read_emotions(fields.get("is"))
        self._check_what_is_asked(node, fields, emotions)
        return EmotionCondition(
            emotions=emotions,
            needed=needed,
            window=window,
            min_confidence=document.read_fraction(fields.get("min_confidence"), "'min_confidence'", 0.0),
            if_missing=document.read_choice(
                fields.get("if_missing"), "'if_missing'", IF_MISSING, "pass" if "is" in fields else "fail"
            ),
            top_share=self._read_top_share(fields.get("rank")),
            most_a_day=self._read_most_a_day(fields.get("at_most")),
            for_ms=document.read_duration(fields.get("for"), "'for'", 0, allow_zero=False),
        )

    def _read_shift(self, node: yaml.Node, fields: Fields) -> Condition:
        document = self._document
        self._allow(fields, "a shift of emotion", ("leg", "from", "to", "in", "min_confidence", "if_missing"))
        self._need_all(node, fields, "a shift of emotion", ("from", "to"))
        needed, window = self._read_window(fields.get("in"))
        before, after = self._read_emotions(fields.get("from")), self._read_emotions(fields.get("to"))
        if set(before) & set(after):
            document.note(fields["to"], "'from' and 'to' share a label: no shift could be told")
        return ShiftCondition(
            before=before,
            after=after,
            needed=needed,
            window=window,
            min_confidence=document.read_fraction(fields.get("min_confidence"), "'min_confidence'", 0.0),
            if_missing=document.read_choice(fields.get("if_missing"), "'if_missing'", IF_MISSING, "pass"),
        )

    def _read_trend(self, node: yaml.Node, fields: Fields) -> Condition:
        document = self._document
        self._allow(fields, "a trend of emotion", ("leg", "trend", "over"))
        self._need_all(node, fields, "a trend of emotion", ("trend", "over"))
        match = document.read_match(fields.get("over"), "'over' of the form: 6 utterances", _UTTERANCES)
        over = 4 if match is None else int(match[1])
        least = 4  # two against two
        if not least <= over <= MAX_WINDOW:
            document.note(fields["over"], f"expected 'over' from {least} to {MAX_WINDOW} utterances")
        return TrendCondition(
            direction=document.read_choice(fields.get("trend"), "a trend", DIRECTIONS, "rising"), over=over
        )

    def _check_what_is_asked(self, node: yaml.Node, fields: Fields, emotions: tuple[Emotion, ...]) -> None:
        """Note what contradicts itself: ranks are of anger, and without a label something must be asked."""
        document = self._document
        ranked = fields.get("rank") or fields.get("at_most")
        if "is" not in fields:
            if ranked is None and isinstance(node, yaml.MappingNode):
                document.note(node, "'emotion' lacks 'is', or 'rank' or 'at_most' in its place")
            for key in ("min_confidence", "if_missing"):
                if key in fields:
                    document.note(fields[key], f"{key!r} is about a label: expected 'is' as well")
        elif ranked is not None and emotions != ("angry",):
            document.note(
                fields["is"], "'rank' and 'at_most' are of anger alone: expected is: angry, or no 'is'"
            )

    def _read_top_share(self, node: yaml.Node | None) -> float | None:
        match = self._document.read_match(node, "'rank' of the form: top 3%", _TOP)
        if node is None or match is None:
            return None
        share = round(float(match[1]) / 100, 5)
        if not share:
            self._document.note(node, "'rank' must be more than the top 0%")
        return share

    def _read_most_a_day(self, node: yaml.Node | None) -> int | None:
        match = self._document.read_match(node, "'at_most' of the form: 20 a day", _A_DAY)
        return None if match is None else int(match[1])

    def _read_emotions(self, node: yaml.Node | None) -> tuple[Emotion, ...]:
        if node is None:
            return ()
        if isinstance(node, yaml.ScalarNode) and node.value == "calm":
            return CALM
        nodes = self._document.read_list(node, "emotions") if isinstance(node, yaml.SequenceNode) else [node]
        return tuple(self._document.read_choice(each, "an emotion", EMOTIONS, "neutral") for each in nodes)

    def _read_window(self, node: yaml.Node | None) -> tuple[int, int]:
        match = self._document.read_match(node, "'in' of the form: 2 of last 3 utterances", _WINDOW)
        if node is None or match is None:
            return 1, 1
        needed, window = int(match[1]), int(match[2])
        if needed > window:
            self._document.note(node, f"{needed} of the last {window} utterances can never be")
        if window > MAX_WINDOW:
            self._document.note(
                node, f"'in' looks back on {window} utterances; expected at most {MAX_WINDOW}"
            )
        return needed, window

    def read_speech_rate(self, node: yaml.Node) -> Condition:
        """Read ``speech_rate``."""
        fields = self._document.read_mapping(
            node, "'speech_rate'", required=("leg",), optional=("faster_than", "slower_than", "in")
        )
        self._need_some(node, fields, "'speech_rate'", ("faster_than", "slower_than"))
        faster, slower = (
            self._read_pace(fields.get("faster_than")),
            self._read_pace(fields.get("slower_than")),
        )
        needed, window = self._read_window(fields.get("in"))
        return SpeechRateCondition(
            leg=self._read_speaker(fields),
            faster_than_words=faster.get("words"),
            faster_than_characters=faster.get("characters"),
            slower_than_words=slower.get("words"),
            slower_than_characters=slower.get("characters"),
            needed=needed,
            window=window,
        )

    def _read_pace(self, node: yaml.Node | None) -> dict[str, int]:
        paces: dict[str, int] = {}
        for each in self._items(node):
            match = self._document.read_match(each, "a pace a minute: 200 words, or 350 characters", _PACE)
            if match is not None:
                paces[match[2]] = int(match[1])
        return paces

    def read_loudness(self, node: yaml.Node) -> Condition:
        """Read ``loudness``."""
        document, ways = self._document, ("above", "below", "louder_by")
        fields = document.read_mapping(
            node, "'loudness'", required=("leg",), optional=(*ways, "in", "if_missing")
        )
        self._need_some(node, fields, "'loudness'", ways)
        needed, window = self._read_window(fields.get("in"))
        level = "a level in dBFS"
        return LoudnessCondition(
            leg=self._read_speaker(fields),
            above=document.read_number(fields.get("above"), level, least=-MAX_DECIBELS, most=0),
            below=document.read_number(fields.get("below"), level, least=-MAX_DECIBELS, most=0),
            louder_by=document.read_number(fields.get("louder_by"), "decibels", least=1, most=MAX_DECIBELS),
            needed=needed,
            window=window,
            if_missing=document.read_choice(fields.get("if_missing"), "'if_missing'", IF_MISSING, "fail"),
        )

    def read_silence(self, node: yaml.Node) -> Condition:
        """Read ``silence``."""
        fields = self._document.read_mapping(node, "'silence'", required=("of", "longer_than"))
        return SilenceCondition(
            of=self._document.read_choice(fields.get("of"), "whose silence", SILENT, "call"),
            longer_than_ms=self._read_longer_than(fields),
        )

    def read_overtalk(self, node: yaml.Node) -> Condition:
        """Read ``overtalk``."""
        document = self._document
        fields = document.read_mapping(node, "'overtalk'", optional=("longer_than", "share", "after"))
        self._need_one(node, fields, "'overtalk'", ("longer_than", "share"))
        if "after" in fields and "share" not in fields:
            document.note(fields["after"], "'after' is about a share: expected 'share' as well")
        return OvertalkCondition(
            longer_than_ms=document.read_duration(
                fields.get("longer_than"), "'longer_than'", 0, allow_zero=False
            ),
            share=document.read_percent(fields.get("share"), "'share'"),
            after_ms=self._read_after(fields) if "share" in fields else 0,
        )

    def read_interruption(self, node: yaml.Node) -> Condition:
        """Read ``interruption``, several of which are a repetition."""
        document = self._document
        fields = document.read_mapping(node, "'interruption'", required=("by",), optional=("times", "within"))
        once = InterruptionCondition(
            by=document.read_choice(fields.get("by"), "who interrupts", SIDES, "agent")
        )
        times = self._read_times(fields["times"]) if "times" in fields else 1
        if times == 1:
            return once
        return RepeatedCondition(what=once, times=times, within=self._read_within(fields.get("within")))

    def read_response_delay(self, node: yaml.Node) -> Condition:
        """Read ``response_delay``."""
        fields = self._document.read_mapping(node, "'response_delay'", required=("of", "longer_than"))
        return ResponseDelayCondition(
            of=self._document.read_choice(fields.get("of"), "who answers", SIDES, "agent"),
            longer_than_ms=self._read_longer_than(fields),
        )

    def read_talk_share(self, node: yaml.Node) -> Condition:
        """Read ``talk_share``."""
        document = self._document
        fields = document.read_mapping(
            node, "'talk_share'", required=("of",), optional=("above", "below", "after")
        )
        self._need_some(node, fields, "'talk_share'", ("above", "below"))
        return TalkShareCondition(
            of=document.read_choice(fields.get("of"), "whose share", SIDES, "agent"),
            above=document.read_percent(fields.get("above"), "'above'"),
            below=document.read_percent(fields.get("below"), "'below'"),
            after_ms=self._read_after(fields),
        )

    def read_repeated(self, node: yaml.Node) -> Condition:
        """Read ``repeated``."""
        condition, fields = self._read_with(node, "'repeated'", required=("times", "within"))
        return RepeatedCondition(
            what=condition,
            times=self._read_times(fields.get("times")),
            within=self._read_within(fields.get("within")),
        )

    def read_all(self, node: yaml.Node) -> Condition:
        """Read ``all``: a list, or a list with a window."""
        within = None
        if isinstance(node, yaml.MappingNode):
            fields = self._document.read_mapping(node, "'all'", required=("of",), optional=("within",))
            node, within = fields.get("of", node), fields.get("within")
            if isinstance(node, yaml.MappingNode):
                return _NOTHING
        parts: list[Condition] = []
        unless: list[Condition] = []
        for each in self._document.read_list(node, "conditions"):
            condition, fields = self._read_with(each, "a part of 'all'", also=("not",))
            if "not" in fields:
                unless.append(self.read_condition(fields["not"], "'not'"))
            else:
                parts.append(condition)
        if unless and not parts:
            self._document.note(node, "'all' holds only what must not be: expected something that must")
        return AllCondition(parts=tuple(parts), unless=tuple(unless), within=self._read_within(within))

    def read_any(self, node: yaml.Node) -> Condition:
        """Read ``any``."""
        nodes = self._document.read_list(node, "conditions")
        return AnyCondition(parts=tuple(self.read_condition(each, "a part of 'any'") for each in nodes))

    def read_score(self, node: yaml.Node) -> Condition:
        """Read ``score``."""
        fields = self._document.read_mapping(node, "'score'", required=("at_least", "within", "of"))
        parts = tuple(map(self._read_weighted, self._document.read_list(fields.get("of"), "evidence")))
        at_least = self._document.read_number(fields.get("at_least"), "'at_least'", least=0.001, most=1000)
        if parts and at_least and sum(max(part.weight, 0) for part in parts) < at_least:
            self._document.note(fields["at_least"], f"all weights together never reach {at_least:g}")
        return ScoreCondition(
            parts=parts, at_least=at_least or 1.0, within=self._read_within(fields.get("within"))
        )

    def _read_weighted(self, node: yaml.Node) -> Weighted:
        condition, fields = self._read_with(node, "a piece of evidence", required=("weight",))
        weight = self._document.read_number(fields.get("weight"), "'weight'", least=-100, most=100)
        return Weighted(weight=weight or 0.0, what=condition)

    def read_sequence(self, node: yaml.Node) -> Condition:
        """Read ``sequence``: a list, or a list with a window."""
        document, within = self._document, None
        if isinstance(node, yaml.MappingNode):
            fields = document.read_mapping(node, "'sequence'", required=("steps",), optional=("within",))
            node, within = fields.get("steps", node), fields.get("within")
            if isinstance(node, yaml.MappingNode):
                return _NOTHING
        nodes = document.read_list(node, "steps")
        steps = tuple(self._read_step(each) for each in nodes)
        least = 2
        if nodes and not least <= len(nodes) <= MAX_STEPS:
            document.note(node, f"expected from {least} to {MAX_STEPS} steps")
        if steps and isinstance(steps[0], AbsentCondition) and steps[0].of.at == "step":
            document.note(nodes[0], "the first step cannot be 'absent': nothing comes before it")
        return SequenceCondition(
            steps=steps, within_ms=document.read_duration(within, "'within'", 0, allow_zero=False)
        )

    def _read_step(self, node: yaml.Node) -> Condition:
        if isinstance(node, yaml.MappingNode) and [key.value for key, _ in node.value] == ["absent"]:
            return self._read_absent(node.value[0][1], in_sequence=True)
        return self.read_condition(node, "a step")

    def read_absent(self, node: yaml.Node) -> Condition:
        """Read ``absent``, outside a sequence."""
        return self._read_absent(node, in_sequence=False)

    def _read_absent(self, node: yaml.Node, *, in_sequence: bool) -> Condition:
        optional = ("if_call_ends", *(("within",) if in_sequence else ("of",)))
        required = () if in_sequence else ("within",)
        condition, fields = self._read_with(node, "'absent'", required=required, optional=optional)
        anchor = Anchor(at="step") if in_sequence else self._read_anchor(fields.get("of"))
        within = self._read_within(fields.get("within"))
        if anchor.at == "call_end" and not within.ms and "within" in fields:
            self._document.note(fields["within"], "before the call's end: expected a duration such as 30s")
        return AbsentCondition(
            what=condition,
            within=within,
            of=anchor,
            if_call_ends=self._document.read_choice(
                fields.get("if_call_ends"), "'if_call_ends'", IF_CALL_ENDS, "raise"
            ),
        )

    def _read_during(self, node: yaml.Node, condition: Condition) -> Condition:
        document = self._document
        fields = document.read_mapping(node, "'during'", optional=("from", "until", "last", "of"))
        self._need_some(node, fields, "'during'", ("from", "until", "last"))
        if "last" in fields:
            self._allow(fields, "'during' with 'last'", ("last",))
        start = document.read_duration(fields.get("from"), "'from'", 0, allow_zero=True)
        until = document.read_duration(fields.get("until"), "'until'", 0, allow_zero=False)
        if until and until <= start:
            document.note(fields["until"], "'until' must come after 'from'")
        anchor = self._read_anchor(fields.get("of"))
        if anchor.at == "call_end":
            document.note(fields["of"], "before the call's end: expected 'last', without 'of'")
        return DuringCondition(
            what=condition,
            of=anchor,
            from_ms=start,
            until_ms=until,
            last_ms=document.read_duration(fields.get("last"), "'last'", 0, allow_zero=False),
        )

    # --- parts of conditions --------------------------------------------------------------------------

    def _read_anchor(self, node: yaml.Node | None) -> Anchor:
        if node is None:
            return Anchor(at="call_start")
        if isinstance(node, yaml.ScalarNode):
            at = self._document.read_choice(node, "an anchor", ("call_start", "call_end"), "call_start")
            return Anchor(at=at)  # type: ignore[arg-type] # one of the two
        condition, fields = self._read_with(node, "'of'", also=("leg_start", "first_utterance"))
        for key in ("leg_start", "first_utterance"):
            if key in fields:
                role: Speaker = self._document.read_choice(fields[key], "whose", SPEAKERS, default="any")
                return Anchor(at=key, role=role)
        return Anchor(at="condition", what=condition)

    def _read_within(self, node: yaml.Node | None) -> Window:
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == "call"):
            return Window()
        if isinstance(node, yaml.ScalarNode) and "utterance" in node.value:
            form = "'within' of the form: 3 utterances"
            match = self._document.read_match(node, form, _UTTERANCES)
            return Window(utterances=1 if match is None else int(match[1]))
        what = "'within' (or 3 utterances, or call)"
        return Window(ms=self._document.read_duration(node, what, 1, allow_zero=False))

    def _read_times(self, node: yaml.Node | None) -> int:
        times = self._document.read_integer(node, "'times'", least=2) if node is not None else 2
        if node is not None and times > MAX_WINDOW:
            self._document.note(node, f"'times' is {times}; expected at most {MAX_WINDOW}")
        return times

    def _read_longer_than(self, fields: Fields) -> int:
        return self._document.read_duration(fields.get("longer_than"), "'longer_than'", 1, allow_zero=False)

    def _read_after(self, fields: Fields) -> int:
        return self._document.read_duration(fields.get("after"), "'after'", ENOUGH_SPEECH_MS, allow_zero=True)

    def _read_speaker(self, fields: Fields) -> Speaker:
        return self._document.read_choice(fields.get("leg"), "who says it", SPEAKERS, "any")

    def _read_phrases(self, node: yaml.Node | None) -> tuple[str, ...]:
        if node is None:
            return ()
        if isinstance(node, yaml.MappingNode):
            return self._read_list_name(node)
        phrases: list[str] = []
        for each in self._document.read_list(node, "phrases"):
            is_named = isinstance(each, yaml.MappingNode)
            phrases += self._read_list_name(each) if is_named else (self._read_phrase(each),)
        return tuple(phrases)

    def _read_list_name(self, node: yaml.Node) -> tuple[str, ...]:
        fields = self._document.read_mapping(node, "phrases by name", required=("list",))
        if "list" not in fields:
            return ()
        known = tuple(self._lists) or ("one under 'lists'",)
        name = self._document.read_choice(fields["list"], "the name of a list", known, "")
        return self._lists.get(name, ())

    def _read_phrase(self, node: yaml.Node) -> str:
        phrase = " ".join(self._document.read_text(node, "a phrase").split())
        try:
            if phrase:
                compile_phrase(phrase)
        except PhraseError as error:
            self._document.note(node, f"expected a phrase such as 'cancel * contract': {error}")
        return phrase

    def _read_patterns(self, node: yaml.Node | None) -> tuple[str, ...]:
        patterns: list[str] = []
        for each in self._items(node):
            pattern = self._document.read_text(each, "a regular expression")
            wrong = explain_pattern(pattern) if pattern else None
            if wrong is not None:
                self._document.note(each, f"expected a regular expression of RE2: {wrong}")
            patterns.append(pattern)
        return tuple(patterns)

    def _items(self, node: yaml.Node | None) -> list[yaml.Node]:
        return [] if node is None else self._document.read_items(node)

    # --- what keys go together ------------------------------------------------------------------------

    def _need_some(self, node: yaml.Node, fields: Fields, what: str, keys: Sequence[str]) -> None:
        if isinstance(node, yaml.MappingNode) and not any(key in fields for key in keys):
            self._document.note(node, f"{what} lacks {_list(keys)}")

    def _need_one(self, node: yaml.Node, fields: Fields, what: str, keys: Sequence[str]) -> None:
        if isinstance(node, yaml.MappingNode) and sum(key in fields for key in keys) != 1:
            self._document.note(node, f"{what} needs exactly one of {_list(keys, 'and')}")

    def _need_all(self, node: yaml.Node, fields: Fields, what: str, keys: Sequence[str]) -> None:
        missing = [key for key in keys if key not in fields]
        if missing:
            self._document.note(node, f"{what} lacks {_list(missing, 'and')}")

    def _allow(self, fields: Fields, what: str, keys: Sequence[str]) -> None:
        for key, node in fields.items():
            if key not in keys:
                self._document.note(node, f"{key!r} does not go with {what}: expected {_list(keys)}")


def _list(words: Sequence[str], conjunction: str = "or") -> str:
    *first, last = map(repr, words)
    return f"{', '.join(first)} {conjunction} {last}" if first else last


_READERS: Final[dict[str, Reader]] = {
    "emotion": RuleReader.read_emotion,
    "said": RuleReader.read_said,
    "near": RuleReader.read_near,
    "silence": RuleReader.read_silence,
    "overtalk": RuleReader.read_overtalk,
    "interruption": RuleReader.read_interruption,
    "response_delay": RuleReader.read_response_delay,
    "speech_rate": RuleReader.read_speech_rate,
    "loudness": RuleReader.read_loudness,
    "talk_share": RuleReader.read_talk_share,
    "repeated": RuleReader.read_repeated,
    "score": RuleReader.read_score,
    "absent": RuleReader.read_absent,
    "sequence": RuleReader.read_sequence,
    "all": RuleReader.read_all,
    "any": RuleReader.read_any,
}
CONDITIONS: Final = tuple(_READERS)
"""Names of the conditions."""
