"""A party to a call: one leg, who speaks on it, and where it stands on the call's clock.

Decided here: whose emotion may be known, and from which moment on; what call time a position is; and what of
a leg outlives a worker (:class:`~qa_service.domain.writes.LegRow`), with what its successor finds in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from qa_service.contract.info import Consent, LegInfo
from qa_service.domain.emotions import EmotionPolicy, decide_emotion_policy
from qa_service.domain.entries import LegStarted, LegUpdated, LogEntry
from qa_service.domain.leg import Leg, LegLimits
from qa_service.domain.writes import LegRow

UNANNOUNCED: Final = LegInfo(role="other")
"""What is known of a leg that nobody announced."""


@dataclass(slots=True)
class Party:
    """A leg, who is on it, and where it stands on the call's clock."""

    leg_id: str
    leg: Leg
    info: LegInfo
    role_is_explicit: bool
    origin_ms: int
    """Call time of position zero."""
    ordinal: int = 0
    """Number of utterances released."""
    enforced_by: Literal["recogniser", "boundary", "none"] = "none"
    last_record_ms: int = 0
    """Newest record time of the partition (Unix ms) when its newest record was read."""
    last_record_at: float | None = None
    """Monotonic seconds at which that one was read; None: none was, since the leg was taken over."""
    has_audio: bool = False
    is_anchored: bool = True
    """Whether it is known where position zero lies; without a ``start`` the first audio tells."""
    opened_offset: int = -1
    """Record that opened or reopened the leg: an end from before it is an old one."""
    end_offset: int | None = None
    """Record that announced the end, while results are still awaited."""
    pause_offset: int | None = None
    """Record that began a pause, while its gap is not released."""
    emotion_from: int = 0
    """Position from which on the policy has been on: what was said before stays nobody's business."""

    @classmethod
    def restore(cls, row: LegRow, limits: LegLimits) -> Party:
        """Take up a leg where another worker left it; :func:`recall` adds what no row tells."""
        leg = Leg(
            codec=row.codec,  # type: ignore[arg-type]
            rate=row.rate,
            covered_until=row.covered_until,
            covered_seq=row.covered_seq,
            paused=row.paused,
            ended=row.ended,
            recogniser_state=row.recogniser_state,
            limits=limits,
        )
        info = LegInfo(
            role=row.role,
            tenant=row.tenant,
            agent_id=row.agent_id,
            queue=row.queue,
            direction=row.direction,  # type: ignore[arg-type]
            language=row.language,
            consent=Consent(emotion=False if row.emotion_policy == "off_opt_out" else None),
            subject=row.subject,
            attributes=row.attributes,
        )
        return cls(
            row.leg_id,
            leg,
            info,
            role_is_explicit=row.role_is_explicit,
            origin_ms=row.origin_ms,
            ordinal=row.ordinal,
            enforced_by=row.emotion_enforced_by,
            has_audio=row.covered_until > 0,
            is_anchored=row.covered_until > 0 or row.role_is_explicit,
        )

    def anchor(self, captured_ms: int, position: int, *, begins_at: int = 0) -> None:
        """Place a leg without audio on the call's clock: ``position`` was captured at that call time."""
        self.is_anchored = True
        self.origin_ms = captured_ms - position * 1000 // self.leg.rate
        if begins_at:
            # Nobody told us of a beginning, so nothing is claimed about what was before.
            self.leg.begin_at(begins_at)

    def call_ms(self, position: int) -> int:
        """Call time of a position."""
        return self.origin_ms + position * 1000 // self.leg.rate

    @property
    def policy(self) -> EmotionPolicy:
        """Whether this speaker's emotion may be inferred, and if not, why."""
        return decide_emotion_policy(
            role=self.info.role,
            role_is_explicit=self.role_is_explicit,
            emotion_consent=self.info.consent.emotion,
        )

    def allows_emotion(self, position: int) -> bool:
        """Whether the emotion of what was said at a position may be known."""
        return self.policy == "on" and position >= self.emotion_from

    @property
    def is_over(self) -> bool:
        """Whether the leg has ended, or its end was announced."""
        return self.leg.ended or self.leg.is_ending

    @property
    def first_uncovered_offset(self) -> int | None:
        """First record that a successor would have to read again."""
        pause_offset = None if self.leg.pause_is_released else self.pause_offset
        offsets = (self.leg.first_uncovered_offset, self.end_offset, pause_offset)
        return min((offset for offset in offsets if offset is not None), default=None)

    def waited_ms(self, *, now: float, record_ms: int, read_until: float) -> float:
        """How long no record has come: by the record times of others, or since none come at all.

        Zero while it is not known that what was published since the newest one has been read.
        """
        if self.last_record_at is None:  # just taken over: its time begins now
            self.last_record_at = now
        if not self.last_record_ms:
            self.last_record_ms = record_ms
        if read_until < self.last_record_at:
            return 0
        return max(record_ms - self.last_record_ms, (read_until - self.last_record_at) * 1000)

    def describe(self) -> dict[str, Any]:
        """Give the members that :class:`LegStarted` and :class:`LegUpdated` share."""
        info = self.info
        return {
            "role": info.role,
            "role_is_explicit": self.role_is_explicit,
            "emotion_policy": self.policy,
            "tenant": info.tenant,
            "agent_id": info.agent_id,
            "queue": info.queue,
            "direction": info.direction,
            "language": info.language,
            "subject": info.subject,
            "attributes": info.attributes,
        }

    def row(self, call_id: str) -> LegRow:
        """The state to store."""
        leg = self.leg
        return LegRow(
            call_id=call_id,
            leg_id=self.leg_id,
            emotion_enforced_by=self.enforced_by,
            codec=leg.codec,
            rate=leg.rate,
            origin_ms=self.origin_ms,
            covered_until=leg.covered_until,
            ordinal=self.ordinal,
            # As of the first record that would be read again: a pause that comes after it is met again.
            paused=leg.paused and not leg.has_uncovered_audio,
            ended=leg.ended,
            covered_seq=leg.covered_seq,
            recogniser_state=None if leg.ended else leg.recogniser_state,
            **self.describe(),
        )


def recall(parties: Mapping[str, Party], entries: Iterable[LogEntry]) -> None:
    """Find in the log what no row tells: what opened the legs last, and since when emotions are allowed."""
    policies: dict[str, EmotionPolicy] = {}
    for entry in entries:
        body, party = entry.body, parties.get(entry.leg_id or "")
        if party is None or not isinstance(body, LegStarted | LegUpdated):
            continue
        if isinstance(body, LegStarted):
            party.opened_offset = body.source_offset
        if body.emotion_policy == "on" and policies.get(party.leg_id, "on") != "on":
            # Call time is rounded down to milliseconds: this is the position, or up to one of them later.
            party.emotion_from = (entry.start_ms + 1 - party.origin_ms) * party.leg.rate // 1000
        policies[party.leg_id] = body.emotion_policy
