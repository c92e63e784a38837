"""As of when a partition is known to be read to its end.

That no record comes proves nothing: the broker may be away, the partition held, this process frozen. What
proves it is an answer of the broker, that the log ends where we have read to. It tells of the log as it was
when the broker answered, which may be long before the answer is read, but is not before it was asked. Of
both, aiokafka keeps only the stamp of the newest answer; but it asks for a partition again only once it has
the answer before. So that answer's arrival is what may be believed, and as we look a few times a second, the
look before it was first seen.
"""

from __future__ import annotations

from math import inf


class LogEnd:
    """Follows what the broker says of the end of one partition."""

    def __init__(self) -> None:
        self.read_until = -inf
        """Everything published before this moment has been read (monotonic seconds). It only grows: that more
        came since, or that nobody asks any more, changes nothing about what was true then."""
        self._told_at: int | None = None
        self._asked_after = -inf
        """The newest answer was asked for after this."""
        self._answered_after = -inf
        """The newest answer came after this."""
        self._looked_at = -inf

    def look(self, *, told_at: int | None, highwater: int | None, position: int, now: float) -> None:
        """Note the newest answer: its stamp, which is only compared, and the offset at which the log ended.

        ``position`` is the offset of the next record to be read.
        """
        if told_at != self._told_at:
            self._told_at = told_at
            self._asked_after, self._answered_after = self._answered_after, self._looked_at
        self._looked_at = now
        if highwater is not None and position >= highwater:
            self.read_until = max(self.read_until, self._asked_after)
