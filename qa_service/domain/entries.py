"""The call log: everything that a rule, a report or an alert can be derived from.

A call's log is numbered by ``call_seq`` (1, 2, 3 ...) and only ever grows. Times are *call time*:
milliseconds on the one axis of the call, whose zero is the capture time of the call's first record.
The bodies of a leg that advance its coverage are :class:`Utterance`, :class:`Quiet` and :class:`Gap`;
each covers the leg up to the entry's ``end_ms``, and whatever lies between the previous coverage and
its ``start_ms`` was heard and held no speech.
"""

from __future__ import annotations

from typing import Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

from qa_service.contract.info import Role
from qa_service.domain.emotions import EmotionPolicy
from qa_service.protocol.events import Emotion

TimeSource: TypeAlias = Literal["server", "appends", "progress", "gate", "positions"]
"""Where the times of an entry come from.

``server``: the recogniser's own times. ``appends``: positions of what had been sent, conservatively,
since the recogniser's times were unusable. ``progress``: the recogniser said how far it has processed.
``gate``: our own voice gate heard nothing (an inference, not an acknowledgement). ``positions``: the
positions in the audio records themselves.
"""

GapReason: TypeAlias = Literal[
    "paused",
    "not_sent",
    "lost",
    "offset_lost",
    "buffer_overflow",
    "capacity",
    "recogniser_failed",
    "recogniser_mute",
]
"""Why a stretch of a leg has no transcript.

``paused``: between ``pause`` and ``resume``. ``not_sent``: positions jumped while frame numbers did
not (hold, mute, DTX). ``lost``: frames are missing. ``offset_lost``: retention dropped the records
before they were read. ``buffer_overflow``: more audio waited for a recogniser than may be kept.
``capacity``: given up under overload. ``recogniser_failed``: the recogniser failed repeatedly on it.
``recogniser_mute``: there was speech and the recogniser said nothing, repeatedly.
"""

RedactionKind: TypeAlias = Literal["card_number", "card_fragment", "cvv"]


class Redaction(Struct, frozen=True):
    """What was removed from a text and where; never the value itself.

    ``start`` and ``end`` are character offsets into the redacted text.
    """

    kind: RedactionKind
    start: int
    end: int


class CallStarted(Struct, frozen=True, tag_field="kind", tag="call_started"):
    """The call's first entry; pins its rule set for good."""

    rule_set_hash: str
    origin_ts: int
    """Unix ms of call time zero."""


class LegStarted(Struct, frozen=True, tag_field="kind", tag="leg_started", kw_only=True):
    """A leg was opened, or reopened after it had ended."""

    role: Role
    role_is_explicit: bool
    emotion_policy: EmotionPolicy
    codec: str
    rate: int
    tenant: str | None = None
    agent_id: str | None = None
    queue: str | None = None
    direction: str | None = None
    language: str | None = None
    subject: str | None = None
    attributes: dict[str, str | int | float | bool] = {}
    source_offset: int
    """Offset of the record that opened the leg, in the call's partition."""


class LegUpdated(Struct, frozen=True, tag_field="kind", tag="leg_updated", kw_only=True):
    """The leg's description changed during the call; the fields hold the state from now on."""

    role: Role
    role_is_explicit: bool
    emotion_policy: EmotionPolicy
    tenant: str | None = None
    agent_id: str | None = None
    queue: str | None = None
    direction: str | None = None
    language: str | None = None
    subject: str | None = None
    attributes: dict[str, str | int | float | bool] = {}
    source_offset: int


class LegEnded(Struct, frozen=True, tag_field="kind", tag="leg_ended"):
    """All audio of the leg is covered and no more is expected."""

    reason: Literal["stop", "call_end", "idle"]


class CallEnded(Struct, frozen=True, tag_field="kind", tag="call_ended"):
    """Every leg of the call has ended."""


class Utterance(Struct, frozen=True, tag_field="kind", tag="utterance", kw_only=True):
    """One finished turn of one speaker, redacted."""

    utterance_id: UUID
    ordinal: int
    """1, 2, 3 ... within the leg, in order of release."""
    text: str
    language: str | None
    emotion: Emotion | None
    """None: not allowed (see the leg's policy), not given, or abstained."""
    emotion_confidence: float | None
    """0..1; None when the recogniser gives none."""
    emotion_abstained: bool
    """The model looked and would not say: something else than *neutral*."""
    start_pos: int
    end_pos: int
    time_source: TimeSource
    engine: str | None
    model: str | None
    emotion_distribution: dict[str, float] | None = None
    """Probability of each label that can come, and of ``other``; None as `anger_rank`."""
    anger_score: float | None = None
    """Unbounded; comparable within one recogniser's service alone."""
    anger_rank: float | None = None
    """Share of the service's recent utterances at least as angry, 0..1, small is angry.

    None: not allowed, nothing judged, or a recogniser that does not rank.
    """
    anger_daily: float | None = None
    """How many utterances a day were at least as angry then; None as `anger_rank`, or not known yet."""
    loudness_dbfs: float | None = None
    """Active level of the stretch (:mod:`qa_service.audio.loudness`); None where there was no audio."""
    redactions: tuple[Redaction, ...] = ()
    final_at: int = 0
    """Unix ms at which the final result arrived; never used by a decision."""


class Quiet(Struct, frozen=True, tag_field="kind", tag="quiet", kw_only=True):
    """A coverage step: the leg was heard up to here and holds no further speech."""

    start_pos: int
    end_pos: int
    time_source: TimeSource


class Gap(Struct, frozen=True, tag_field="kind", tag="gap", kw_only=True):
    """A stretch that nobody transcribed, and why."""

    reason: GapReason
    start_pos: int
    end_pos: int


class EarlyWords(Struct, frozen=True, tag_field="kind", tag="early_words", kw_only=True):
    """Words of an utterance that is not finished, which have raised a rule; they cover nothing.

    The entry stands where the utterance begins. The leg's next utterance confirms what they raised or
    takes it back.
    """

    ordinal: int
    """That of the utterance, if no other comes before it."""
    text: str
    """What the recogniser holds for stable, redacted."""
    language: str | None


Body: TypeAlias = (
    CallStarted | LegStarted | LegUpdated | LegEnded | CallEnded | Utterance | Quiet | Gap | EarlyWords
)


class LogEntry(Struct, frozen=True, kw_only=True):
    """One numbered line of a call's log."""

    call_id: str
    call_seq: int
    leg_id: str | None
    """None for entries of the call as a whole."""
    start_ms: int
    end_ms: int
    body: Body
