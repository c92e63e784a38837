"""The order of a server's items: what may be said of each, when, and what has to wait (section 5).

Everything of item A up to its final comes before the final of B, and every item that is started gets all
its events, unless the client clears it. Misuse by the caller is refused with `OutOfOrder`.
"""

from __future__ import annotations

from dataclasses import dataclass

from qa_service.protocol.errors import OutOfOrder
from qa_service.protocol.events import (
    Committed,
    Completed,
    Event,
    Failed,
    ItemCreated,
    Partial,
    SpeechStarted,
    SpeechStopped,
)


@dataclass(slots=True)
class _Turn:
    """One item without a final result on the wire."""

    # False while speech goes on, or while a manual turn still takes audio.
    committed: bool = False
    # Where its speech began; None in manual mode.
    start_ms: int | None = None
    # What was last told of it, to leave out repeats and keep the confirmed text growing.
    last_partial: Partial | None = None
    # Its final result, while an older item still owes its own.
    held_final: Completed | Failed | None = None


class Turns:
    """The items of one session, in order of their beginning."""

    def __init__(self) -> None:
        # Items whose final has not been released, oldest first.
        self._unfinished: dict[str, _Turn] = {}
        # The one item that is still taking audio.
        self._open_id: str | None = None
        # Items the client has cleared: the recogniser may still speak of them, nobody wants to hear it.
        self._cleared_ids: set[str] = set()
        self._last_committed_id: str | None = None
        # No item may start before this: the end of the last one, or what the client was told is done.
        self._earliest_start_ms = 0

    @property
    def open_item(self) -> str | None:
        """Id of the item that is still taking audio."""
        return self._open_id

    @property
    def unfinished_items(self) -> tuple[str, ...]:
        """Ids of the items whose final has not been released, oldest first."""
        return tuple(self._unfinished)

    @property
    def earliest_start_ms(self) -> int:
        """Milliseconds before which no further item may start."""
        return self._earliest_start_ms

    def rule_out_before(self, processed_ms: int) -> None:
        """No item will start before ``processed_ms``."""
        self._earliest_start_ms = max(self._earliest_start_ms, processed_ms)

    def open(self, item_id: str, start_ms: int | None = None) -> None:
        """A new item begins to take audio, at ``start_ms`` where speech is detected by the server."""
        if self._open_id is not None:
            raise OutOfOrder(f"{self._open_id} is still open; stop it before another item starts.")
        if start_ms is not None and start_ms < self._earliest_start_ms:
            raise OutOfOrder(
                f"{item_id} cannot start at {start_ms} ms, nothing may before {self._earliest_start_ms} ms."
            )
        self._unfinished[item_id] = _Turn(start_ms=start_ms)
        self._open_id = item_id

    def started(self, item_id: str, audio_start_ms: int) -> SpeechStarted:
        """Speech of a new item begins."""
        self.open(item_id, audio_start_ms)
        return SpeechStarted(item_id, audio_start_ms)

    def stopped(self, item_id: str, audio_end_ms: int, received_ms: int | None) -> tuple[Event, ...]:
        """Speech of the open item ends; ``received_ms`` of audio have come (None if unknown)."""
        if item_id in self._cleared_ids:
            return ()
        turn = self._open_turn(item_id)
        if turn.start_ms is None or audio_end_ms <= turn.start_ms:
            raise OutOfOrder(f"{item_id} cannot end at {audio_end_ms} ms: it started at {turn.start_ms} ms.")
        if received_ms is not None and audio_end_ms > received_ms:
            raise OutOfOrder(
                f"{item_id} cannot end at {audio_end_ms} ms: {received_ms} ms of audio have come."
            )
        self._earliest_start_ms = max(self._earliest_start_ms, audio_end_ms)
        return (SpeechStopped(item_id, audio_end_ms), *self.committed(item_id))

    def committed(self, item_id: str) -> tuple[Event, ...]:
        """The audio of the open item is closed."""
        turn = self._open_turn(item_id)
        turn.committed = True
        previous, self._last_committed_id, self._open_id = self._last_committed_id, item_id, None
        return Committed(item_id, previous), ItemCreated(item_id, previous)

    def clear(self) -> None:
        """The open item is dropped; whatever comes of it later is swallowed."""
        if self._open_id is not None:
            del self._unfinished[self._open_id]
            self._cleared_ids.add(self._open_id)
            self._open_id = None

    def partial(self, event: Partial) -> tuple[Event, ...]:
        """What is to be sent of an intermediate result: nothing if it repeats the last."""
        if event.item_id in self._cleared_ids:
            return ()
        turn = self._unfinished_turn(event.item_id)
        event = _growing(event, turn.last_partial)
        if event == turn.last_partial:
            return ()
        turn.last_partial = event
        return (event,)

    def final(self, event: Completed | Failed) -> tuple[Event, ...]:
        """What is to be sent now that an item has its final: it, and those it held up, or nothing yet."""
        if event.item_id in self._cleared_ids:
            return ()
        turn = self._unfinished_turn(event.item_id)
        if not turn.committed:
            raise OutOfOrder(f"{event.item_id} is still open; stop or commit it before its final result.")
        turn.held_final = event
        released: list[Event] = []
        for item_id, candidate in list(self._unfinished.items()):
            if candidate.held_final is None:
                break
            released.append(candidate.held_final)
            del self._unfinished[item_id]
        return tuple(released)

    def _unfinished_turn(self, item_id: str) -> _Turn:
        turn = self._unfinished.get(item_id)
        if turn is None or turn.held_final is not None:
            raise OutOfOrder(f"{item_id} has its final result already, or was never started.")
        return turn

    def _open_turn(self, item_id: str) -> _Turn:
        if item_id != self._open_id:
            raise OutOfOrder(f"{item_id} is not open.")
        return self._unfinished[item_id]


def _growing(event: Partial, last: Partial | None) -> Partial:
    """``event`` with at least the confirmed text of ``last``; refused if it contradicts it (section 4.8)."""
    if last is None or event.text.startswith(last.text):
        return event
    whole = event.text + event.stash
    if not whole.startswith(last.text):
        raise OutOfOrder(f"{event.item_id} has confirmed {last.text!r}; {whole!r} takes that back.")
    return Partial(
        event.item_id, last.text, whole[len(last.text) :], event.language, event.emotion, event.detail
    )
