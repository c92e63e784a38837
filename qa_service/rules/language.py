"""What a rule may say: the rule language in the form that the engine runs; ``reading`` makes it from YAML.

Conditions of three kinds. About one utterance, or the newest of one leg: ``said``, ``near``, ``emotion``
with ``shift`` and ``trend``, ``speech_rate``, ``loudness``. About the call as a whole: ``silence``,
``overtalk``, ``interruption``, ``response_delay``, ``talk_share``. And those that combine others:
``repeated``, ``all``, ``any``, ``score``, ``sequence``, ``absent``, ``during``.

``schema.json`` next to this module says the same as JSON Schema, for editors. A field that the language
gained after its first release has a default that the canonical form leaves out (``omit_defaults``).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from msgspec import Struct

from qa_service.contract.info import AttributeValue
from qa_service.domain.incidents import Audience, Severity
from qa_service.protocol.events import Emotion

LANGUAGE_VERSION: Final = 1
MAX_WINDOW: Final = 10
"""Utterances that a window may look back on, or hits that it may ask for: the state of a call stays small."""
MAX_NEAR: Final = 50
"""Words that ``near`` may span."""
MAX_STEPS: Final = 8
"""Steps of a sequence."""
CLOSE_AFTER_MS: Final = 30_000
"""Default calm after which an incident about utterances closes."""
ENOUGH_SPEECH_MS: Final = 60_000
"""Default speech that must have been heard before a share of it is judged."""
MAX_ID_LENGTH: Final = 64

Speaker: TypeAlias = Literal["agent", "customer", "any"]
Side: TypeAlias = Literal["agent", "customer"]
Silent: TypeAlias = Literal["call", "customer", "agent"]
IfMissing: TypeAlias = Literal["pass", "fail"]
IfCallEnds: TypeAlias = Literal["raise", "pass"]
Direction: TypeAlias = Literal["rising", "falling"]
RuleOutcome: TypeAlias = Literal["raised", "passed", "undecidable", "not_applicable"]
"""What became of a rule in a call.

``raised``: it opened an incident that was not withdrawn. ``passed``: it could have and did not.
``undecidable``: what it asks for may lie in a gap. ``not_applicable``: nothing that it asks about took place.
"""

SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
AUDIENCES: Final[tuple[Audience, ...]] = get_args(Audience)
SPEAKERS: Final[tuple[Speaker, ...]] = get_args(Speaker)
SIDES: Final[tuple[Side, ...]] = get_args(Side)
SILENT: Final[tuple[Silent, ...]] = get_args(Silent)
IF_MISSING: Final[tuple[IfMissing, ...]] = get_args(IfMissing)
IF_CALL_ENDS: Final[tuple[IfCallEnds, ...]] = get_args(IfCallEnds)
DIRECTIONS: Final[tuple[Direction, ...]] = get_args(Direction)
CALM: Final[tuple[Emotion, ...]] = ("neutral", "happy")
"""What ``calm`` stands for in a shift."""


class EmotionCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="emotion"
):
    """The customer sounds so in ``needed`` of the last ``window`` utterances, the newest among them.

    An utterance counts if everything that the condition asks holds of it: its label is one of ``emotions``
    (none given: whatever its label), its rank and how many a day are as angry stay within their bounds. One
    that does not count takes up its place in the window all the same. Without a label, be it that the model
    abstained or that emotion may not be inferred, it never counts as one that has it. Only customers: nobody
    else's emotion is ever recognised (``qa_service.domain.emotions``).

    With ``for_ms`` in place of a window: in all utterances of a stretch at least so long, from the start of
    its first to the end of its newest; those without a label are passed over.
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
    for_ms: int = 0


class ShiftCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="shift"
):
    """The customer's label changes; only utterances that have one take part.

    It is one of ``after`` in ``needed`` of the last ``window``, the newest among them, and one of ``before``
    in as many of the ``window`` before those.
    """

    before: tuple[Emotion, ...]
    after: tuple[Emotion, ...]
    needed: int
    window: int
    min_confidence: float
    if_missing: IfMissing


class TrendCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="trend"
):
    """The customer grows angrier or calmer: over the last ``over`` utterances with a rank.

    ``rising``: the mean anger rank of the newer half is at most half that of the older (ranks are small where
    anger is rare); ``falling``: at least twice.
    """

    direction: Direction
    over: int


class SaidCondition(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="said"):
    """Someone says it within one utterance; phrases as in ``qa_service.rules.phrases``.

    One of ``phrases``, if there are any, and all of ``all_of``, and one of the ``regex``, if there are any;
    none of ``none_of`` and nothing that ``excluding`` finds.
    """

    leg: Speaker
    phrases: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    excluding: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    """Primary subtags of the language recognised; none: whatever it is."""


class NearCondition(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="near"):
    """One speaker says one of ``a`` and near it one of ``b``, or none of ``without``.

    Near is at most ``within_words`` words from it, counted on from one utterance of a leg to its next.
    """

    leg: Speaker
    a: tuple[str, ...]
    b: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    within_words: int
    ordered: bool = False
    """Whether only what is said after ``a`` counts."""


class SpeechRateCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="speech_rate"
):
    """Someone speaks faster or slower, in words or characters a minute."""

    leg: Speaker
    faster_than_words: int | None = None
    faster_than_characters: int | None = None
    slower_than_words: int | None = None
    slower_than_characters: int | None = None
    needed: int = 1
    window: int = 1


class LoudnessCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="loudness"
):
    """Someone speaks at a level (dBFS), or louder than so far, in ``needed`` of the last ``window``."""

    leg: Speaker
    above: float | None = None
    below: float | None = None
    louder_by: float | None = None
    """Decibels above the mean of the leg's earlier utterances."""
    needed: int = 1
    window: int = 1
    if_missing: IfMissing = "fail"


class SilenceCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="silence"
):
    """Nobody (``call``), or a leg of that role, says anything for longer than a time."""

    of: Silent
    longer_than_ms: int


class OvertalkCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="overtalk"
):
    """Two roles speak at once for longer than a time, or for more than a share of all speech so far."""

    longer_than_ms: int = 0
    share: float | None = None
    after_ms: int = 0
    """Speech that must have been heard before the share is judged."""


class InterruptionCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="interruption"
):
    """One side cuts the other short."""

    by: Side


class ResponseDelayCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="response_delay"
):
    """A side begins to answer only after longer than a time."""

    of: Side
    longer_than_ms: int


class TalkShareCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="talk_share"
):
    """A side has more, or less, than a share of all speech so far."""

    of: Side
    above: float | None = None
    below: float | None = None
    after_ms: int


class Window(Struct, frozen=True, omit_defaults=True):
    """How far things may lie apart; neither bound: anywhere in the call."""

    ms: int = 0
    utterances: int = 0
    """Of those whom the condition is about."""


class RepeatedCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="repeated"
):
    """Another condition holds ``times`` times within a window."""

    what: Condition
    times: int
    within: Window


class AllCondition(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="all"):
    """All ``parts`` hold within a window, and none of ``unless`` in the same window."""

    parts: tuple[Condition, ...]
    unless: tuple[Condition, ...] = ()
    within: Window = Window()


class AnyCondition(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="any"):
    """One of the parts holds."""

    parts: tuple[Condition, ...]


class Weighted(Struct, frozen=True, kw_only=True):
    """A piece of evidence and what it is worth; negative: it speaks against."""

    weight: float
    what: Condition


class ScoreCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="score"
):
    """The weights of those parts that hold within a window add up to a threshold; each counts once."""

    parts: tuple[Weighted, ...]
    at_least: float
    within: Window


class Anchor(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a time is counted from."""

    at: Literal["call_start", "call_end", "leg_start", "first_utterance", "condition", "step"]
    """``step``: the step before, in a sequence."""
    role: Speaker = "any"
    what: Condition | None = None


class AbsentCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="absent"
):
    """A condition does not hold within a window of an anchor; of the call's end: before it.

    Without a window, in a sequence: not before the next step; elsewhere: not in the whole call.
    """

    what: Condition
    within: Window = Window()
    of: Anchor
    if_call_ends: IfCallEnds = "raise"
    """What to make of a call that ends before the window does."""


class SequenceCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="sequence"
):
    """One condition holds after the other; ``within_ms`` (0: any time) from the first to the last."""

    steps: tuple[Condition, ...]
    within_ms: int = 0


class DuringCondition(
    Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="condition", tag="during"
):
    """A condition holds from ``from_ms`` to ``until_ms`` (0: no end) after an anchor.

    With ``last_ms``: in the last part of the call, which is known when it has ended.
    """

    what: Condition
    of: Anchor
    from_ms: int = 0
    until_ms: int = 0
    last_ms: int = 0


LegCondition: TypeAlias = (
    SaidCondition
    | NearCondition
    | EmotionCondition
    | ShiftCondition
    | TrendCondition
    | SpeechRateCondition
    | LoudnessCondition
)
"""About utterances of one leg."""
TalkCondition: TypeAlias = (
    OvertalkCondition | InterruptionCondition | ResponseDelayCondition | TalkShareCondition
)
"""About how the two sides speak with each other."""
Condition: TypeAlias = (
    LegCondition
    | TalkCondition
    | SilenceCondition
    | RepeatedCondition
    | AllCondition
    | AnyCondition
    | ScoreCondition
    | AbsentCondition
    | SequenceCondition
    | DuringCondition
)


class Where(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which calls a rule is for: each that is given has to hold of some leg of the call.

    Languages are compared by their primary subtag: ``en`` is also ``en-GB``.
    """

    role: tuple[str, ...] = ()
    tenant: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()
    direction: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    attributes: tuple[tuple[str, tuple[AttributeValue, ...]], ...] = ()


class Escalation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When an open incident becomes more severe: after a time, or with so many updates."""

    severity: Severity
    after_ms: int = 0
    updates: int = 0


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
    """How long after an incident's end no other of this rule, in this place, is opened."""
    where: Where | None = None
    early: bool = False
    """Whether words of an utterance that is not finished may raise it."""
    escalate: tuple[Escalation, ...] = ()
