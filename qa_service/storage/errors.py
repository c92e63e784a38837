"""What can go wrong with the database, who causes it, and what the caller can do.

Every message is one line that names the database (never its password) and the remedy.
"""

# ruff: noqa: N818 - these are named after what happened

from __future__ import annotations

from collections.abc import Collection


class StorageError(Exception):
    """Base of all failures of this package."""


class Fenced(StorageError):
    """Another worker has claimed the partition since; nothing of the batch was stored.

    The caller drops the partition, or claims it again and loads its state anew.
    """

    def __init__(self, topic: str, partition: int, epoch: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: claim {epoch} is no longer valid, another worker has taken over; "
            "claim the partition again before writing"
        )
        self.topic = topic
        self.partition = partition
        self.epoch = epoch


class StoreUnavailable(StorageError):
    """The database cannot be reached, or did not answer within the time allowed.

    Nothing is lost: the caller may try the very same call again, a batch included, since a batch that
    did get in is recognised by its ``write_seq``.
    """


class StoreRefused(StorageError):
    """The database answered and said no: missing rights, a full constraint, a value out of range.

    Trying again changes nothing; an operator or a developer has to act.
    """


class SchemaMissing(StoreRefused):
    """The tables are not there or older than this program: ``qa-service migrate`` has not been run."""


class WriteOutOfOrder(StorageError):
    """A batch does not follow the stored one: its ``write_seq`` is not the next; a caller's mistake."""

    def __init__(self, topic: str, partition: int, *, stored: int, given: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: batch {given} does not follow batch {stored}; "
            "number batches from the claim's write_seq on, one by one"
        )
        self.stored = stored
        self.given = given


class CallsElsewhere(StorageError):
    """Calls of a batch are stored as those of another partition; nothing of the batch was stored.

    Their records arrive on two partitions: two producers partition by different functions of the key. The
    caller leaves the calls to the partition that was first, and writes the batch without them.
    """

    def __init__(self, topic: str, partition: int, call_ids: Collection[str]) -> None:
        super().__init__(
            f"{topic}[{partition}]: another partition has stored {len(call_ids)} of its calls first, "
            f"{min(call_ids)} among them; let all producers of the topic partition by murmur2 of the key"
        )
        self.call_ids = frozenset(call_ids)


class NotStored(StorageError):
    """What somebody names is not in the database, or the name fits several; the message says which."""


class MigrationFailed(StorageError):
    """The schema could not be changed; nothing of the migration was kept."""
