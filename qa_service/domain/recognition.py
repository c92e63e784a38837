"""One recogniser session as its leg sees it: what was sent, which items are open, what is certain.

Everything that a session says is about session time; this module turns it into leg positions and keeps the
results in the order in which they were spoken. It decides nothing about releasing: that is the leg's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from qa_service.domain.entries import TimeSource
from qa_service.domain.timeline import SessionTimeline
from qa_service.protocol.events import (
    Committed,
    Completed,
    Failed,
    Progress,
    ServerEvent,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)

_SERVER: TimeSource = "server"
_APPENDS: TimeSource = "appends"


@dataclass(slots=True)
class Item:
    """One turn as the recogniser cuts it."""

    item_id: str
    start: int
    """Leg position of its first sample, never before the previous item's end."""
    end: int | None = None
    """Leg position after its last sample; None while it is open."""
    time_source: TimeSource = "server"
    result: Completed | Failed | None = None
    result_at_ms: int = 0
    """Unix ms at which the result arrived."""
    ended_at: float | None = None
    """Monotonic seconds at which the recogniser closed it: a final is due."""


@dataclass(slots=True)
class Recognition:
    """A live session of a leg."""

    number: int
    """1, 2, 3 ... over the sessions of this leg in this process; results of an older one are void."""
    timeline: SessionTimeline
    silence_ms: int
    """Silence that was asked to end a turn."""
    padding_ms: int
    """Audio before the onset that was asked to belong to a turn."""
    floor: int
    """Leg position before which no further item can begin."""
    honours_extensions: bool | None = None
    """Whether the recogniser reports progress and keeps emotion off when told; None until it has said."""
    finish_sent_at: float | None = None
    items: dict[str, Item] = field(default_factory=dict)
    """Items not yet released, in order of their beginning."""
    certain_until: int | None = None
    """Position up to which all that was said is among the items, if the recogniser tells."""

    def note(self, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take what an event says about items and progress; ``at_ms`` is Unix time and only kept."""
        match event:
            case SessionUpdated():
                self.honours_extensions = event.config.extensions.progress
            case SpeechStarted():
                self.begin_item(event.item_id, event.audio_start_ms)
            case SpeechStopped():
                self.end_item(event.item_id, event.audio_end_ms, now=now)
            case Committed():
                self.end_item(event.item_id, None, now=now)
            case Completed() | Failed():
                self.note_result(event, now=now, at_ms=at_ms)
            case Progress():
                self._note_progress(event.processed_ms)
            case _:
                pass  # nothing a leg depends on (protocol section 8.2, 5)

    def begin_item(self, item_id: str, start_ms: int | None) -> Item:
        """Note that an item has begun; a known one is returned as it is."""
        if item_id in self.items:
            return self.items[item_id]
        sent_ms = self.timeline.sent_ms
        sent = self.timeline.position_at(sent_ms)
        start, source = self.floor, _APPENDS
        if start_ms is not None and 0 <= start_ms <= sent_ms:
            told = self.timeline.position_at(min(start_ms + self._known_padding_ms, sent_ms))
            if told >= self.floor:
                start, source = told, _SERVER
        item = self.items[item_id] = Item(item_id, min(start, sent), time_source=source)
        return item

    def end_item(self, item_id: str, end_ms: int | None, *, now: float) -> Item:
        """Note that an item's audio is closed; its result is due from now on."""
        item = self.begin_item(item_id, None)
        if item.end is not None:
            return item
        end = -1
        if end_ms is not None and end_ms <= self.timeline.sent_ms:
            end = self.timeline.position_at(max(end_ms - self._known_silence_ms, 0))
            if end <= item.start:
                end = self.timeline.position_at(end_ms)
        if end <= item.start:
            end, item.time_source = self.timeline.position_at(self.timeline.sent_ms), _APPENDS
        item.end = max(end, item.start)
        item.ended_at = now
        self.floor = max(self.floor, item.end)
        return item

    @property
    def _known_padding_ms(self) -> int:
        """Padding inside the times told: our own server includes what it was asked for, others may not."""
        return self.padding_ms if self.honours_extensions else 0

    @property
    def _known_silence_ms(self) -> int:
        """Silence inside the times told; none when the turn was ended by finishing instead."""
        return self.silence_ms if self.honours_extensions and self.finish_sent_at is None else 0

    def note_result(self, result: Completed | Failed, *, now: float, at_ms: int) -> None:
        """Keep an item's first final; an item that was never closed is closed where sending stands."""
        item = self.end_item(result.item_id, None, now=now)
        if item.result is None:
            item.result, item.result_at_ms = result, at_ms

    def _note_progress(self, processed_ms: int) -> None:
        position = self.timeline.position_at(min(processed_ms, self.timeline.sent_ms))
        self.certain_until = max(position, self.certain_until or 0)

    def first(self) -> Item | None:
        """Item that began first among those not released."""
        return next(iter(self.items.values()), None)

    def later_result_since(self) -> bool:
        """Whether an item after the first has its final: the first one's is overdue."""
        items = iter(self.items.values())
        next(items, None)
        return any(item.result is not None for item in items)
