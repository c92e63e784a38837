"""The outbox between those who write events and the relay that publishes them: what both rely on.

The store is PostgreSQL (:mod:`qa_service.storage.outbox`) or memory (:mod:`qa_service.testing.store`). Rows
of a call stand in the order in which they were written. The relay publishes them in that order, stops the
call at its first failure and deletes only what the broker has acknowledged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from qa_service.domain.writes import OutboxTopic


class OutboxRow(Struct, frozen=True, kw_only=True):
    """One event waiting to be published."""

    id: int
    """Grows in the order of writing, within a call at least."""
    event_id: UUID
    """The event's identity, the same in each repeat."""
    call_id: str
    call_seq: int
    """Position in the call's log."""
    topic: OutboxTopic
    type: str
    """CloudEvents type."""
    data: bytes
    """A JSON object."""
    created_at: datetime
    """When the row was written (aware, the database's clock): "row durable" in the event's stamps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBounds:
    """Which rows a take may hold."""

    rows: int
    """At most so many."""
    rows_per_call: int
    """At most so many of one call, so that a long backlog of one does not hold up the others."""
    without_calls: Collection[str] = ()
    """None of these."""


class OutboxTake(Protocol):
    """Rows taken for publishing, and the means to strike them off."""

    @property
    def rows(self) -> Sequence[OutboxRow]:
        """The oldest rows of the locked shards within the bounds, by ``id``."""
        ...

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards that were free and are locked until the block is left."""
        ...

    async def delete(self, ids: Collection[int]) -> None:
        """Strike off published rows; they are gone once the block is left without an exception."""
        ...


class Outbox(Protocol):
    """What the relay needs of a store; one relay loop per object."""

    def take(self, shards: Sequence[int], bounds: TakeBounds) -> AbstractAsyncContextManager[OutboxTake]:
        """Lock those of ``shards`` that nobody else holds and take their oldest rows.

        Leaving the block commits the deletions and frees the shards. An exception in the block, or a
        lost connection, puts everything back: what had been published is published again.
        """
        ...

    async def wait_for_rows(self, timeout: float) -> bool:  # noqa: ASYNC109 - a quiet end is a result here, not an error
        """Return True as soon as rows may have come since the last take began, False after ``timeout`` s.

        True at once on the first call. A False is no proof of emptiness (another relay may have let go of
        a shard): take again all the same.
        """
        ...

    async def close(self) -> None:
        """Stop listening."""
        ...
