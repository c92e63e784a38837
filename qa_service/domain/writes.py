"""What the worker stores and loads: one batch is one transaction.

The rows here are the seam between the pure core and ``storage``. A :class:`CallRow` and a
:class:`LegRow` hold the newest state and replace the stored row; entries, incident changes and outbox
events only ever add.
"""

from __future__ import annotations

from typing import Literal, TypeAlias
from uuid import UUID

from msgspec import Struct

from qa_service.contract.info import Role
from qa_service.domain.emotions import EmotionPolicy
from qa_service.domain.entries import LogEntry
from qa_service.domain.incidents import IncidentChange
from qa_service.domain.scores import CallScore


class CallRow(Struct, frozen=True, kw_only=True):
    """The state of a call that outlives a worker."""

    call_id: str
    rule_set_hash: str
    origin_ts: int
    """Unix ms of call time zero: the capture time of the call's first record."""
    call_seq: int
    """Number of the newest log entry."""
    control_offset: int
    """Offset of the newest applied record that was not audio; a replayed one writes nothing again."""
    tenant: str | None
    ended: bool


class LegRow(Struct, frozen=True, kw_only=True):
    """The state of a leg that outlives a worker; positions are samples at ``rate``."""

    call_id: str
    leg_id: str
    role: Role
    role_is_explicit: bool
    emotion_policy: EmotionPolicy
    emotion_enforced_by: Literal["recogniser", "boundary", "none"]
    """Who kept the policy: the recogniser did not infer, or its label was dropped on arrival.
    ``none``: the policy is ``on``, or no session has been opened yet."""
    codec: str
    rate: int
    tenant: str | None
    agent_id: str | None
    queue: str | None
    direction: str | None
    language: str | None
    subject: str | None
    attributes: dict[str, str | int | float | bool]
    origin_ms: int
    """Call time of position zero."""
    covered_until: int
    """Position up to which everything is released."""
    ordinal: int
    """Number of utterances released."""
    paused: bool
    ended: bool
    covered_seq: int | None = None
    """Frame number of the newest frame that is covered, -1 for none yet, None where it is not known; tells
    loss from silence after a restart."""
    recogniser_state: str | None = None
    """What the recogniser had learnt of the leg when it was covered so far, for it alone to read."""


OutboxTopic: TypeAlias = Literal["alerts", "transcripts"]


class OutboxEvent(Struct, frozen=True, kw_only=True):
    """An event that the relay publishes once its transaction is durable."""

    event_id: UUID
    call_id: str
    call_seq: int
    topic: OutboxTopic
    type: str
    """CloudEvents type, e.g. ``qa.alert.opened``."""
    data: bytes
    """JSON; the relay adds the stamps that only it knows."""


class WriteBatch(Struct, frozen=True, kw_only=True):
    """Everything one transaction of one partition holds.

    ``write_seq`` grows by one with each batch of a partition: after a COMMIT with an unknown outcome
    it tells whether the batch is in.
    """

    topic: str
    partition: int
    epoch: int
    token: UUID
    """Of the claim under which it is written."""
    write_seq: int
    next_offset: int
    """First record not yet covered on some live leg: where a successor begins to read."""
    calls: tuple[CallRow, ...] = ()
    legs: tuple[LegRow, ...] = ()
    entries: tuple[LogEntry, ...] = ()
    incidents: tuple[IncidentChange, ...] = ()
    outbox: tuple[OutboxEvent, ...] = ()
    scores: tuple[CallScore, ...] = ()
    """Of calls that have ended."""


class Claim(Struct, frozen=True, kw_only=True):
    """A partition as its new owner finds it."""

    topic: str
    partition: int
    epoch: int
    token: UUID
    """Made for this claim alone. A database that was set back gives epochs and numbers out again."""
    former_token: UUID | None
    """Of the claim before; None: there was none, or it was made by a release without tokens."""
    write_seq: int
    next_offset: int | None
    """None: nothing was ever stored for it."""


class StoredCall(Struct, frozen=True, kw_only=True):
    """A call as it is found in the store, with its whole log in order."""

    topic: str
    partition: int
    """On which its records are read."""
    call: CallRow
    legs: tuple[LegRow, ...]
    entries: tuple[LogEntry, ...]
