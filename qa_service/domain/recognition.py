"""One recogniser session as its leg sees it: what was sent, which items are open, what is certain.

Everything that a session says is about session time; this module turns it into leg positions and keeps the
results in the order in which they were spoken. It decides nothing about releasing: that is the leg's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import dropwhile, islice
from typing import Final, TypeAlias

from qa_service.domain.entries import TimeSource
from qa_service.domain.timeline import SessionTimeline
from qa_service.protocol.events import (
    Committed,
    Completed,
    Failed,
    Partial,
    Progress,
    ServerEvent,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)

_SERVER: TimeSource = "server"
_APPENDS: TimeSource = "appends"

CUT_AFTER_MS: Final = 56_000
"""Turns from here on are taken to have been cut (our server does so at 60 s, at the best moment of the last
three): there is no silence at their ends."""

MOST_RELEASED: Final = 1000
"""Items that are remembered after their release: a recogniser that repeats a final does so soon."""

ItemEvent: TypeAlias = SpeechStarted | SpeechStopped | Committed | Partial | Completed | Failed


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
    begun_at: float = 0.0
    """Monotonic seconds at which it was first heard of."""
    ended_at: float | None = None
    """Monotonic seconds at which the recogniser closed it: a final is due."""
    settled_at: float | None = None
    """Monotonic seconds at which the result arrived: earlier items are due at once."""


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
    heard_at: float = 0.0
    """Monotonic seconds at which it last said anything."""
    unanswered: int = 0
    """Samples of audio sent since it last said anything."""
    unanswered_since: float = 0.0
    """Monotonic seconds at which the first of them was sent."""
    items: dict[str, Item] = field(default_factory=dict)
    """Items not yet released, in order of their beginning."""
    told_end_ms: int = 0
    """Session time at which the recogniser said that the newest item ended."""
    released: dict[str, None] = field(default_factory=dict)
    """Ids of the items released last: what else is said of them changes nothing."""
    certain_until: int | None = None
    """Position up to which all that was said is among the items, if the recogniser tells."""

    def note_sent(self, samples: int, *, now: float) -> None:
        """Count audio that was sent, for which some word is due."""
        if not self.unanswered:
            self.unanswered_since = now
        self.unanswered += samples

    def note(self, event: ServerEvent, *, now: float, at_ms: int) -> None:
        """Take what an event says about items and progress; ``at_ms`` is Unix time and only kept."""
        self.heard_at = now
        self.unanswered = 0
        match event:
            case SessionUpdated():
                self.honours_extensions = event.config.extensions.progress
            case Progress():
                self._note_progress(event.processed_ms)
            case SpeechStarted() | SpeechStopped() | Committed() | Partial() | Completed() | Failed():
                if event.item_id not in self.released:
                    self._note_item(event, now=now, at_ms=at_ms)
            case _:
                pass  # nothing a leg depends on (protocol section 8.2, 5)

    def _note_item(self, event: ItemEvent, *, now: float, at_ms: int) -> None:
        match event:
            case SpeechStarted():
                self._begin(event.item_id, event.audio_start_ms, now=now)
            case Partial():
                self._begin(event.item_id, None, now=now)
            case SpeechStopped():
                self._end(event.item_id, event.audio_end_ms, now=now)
            case Committed():
                self._end(event.item_id, None, now=now)
            case Completed() | Failed():
                self._settle(event, now=now, at_ms=at_ms)

    def _begin(self, item_id: str, start_ms: int | None, *, now: float) -> Item:
        """Note that an item has begun; a known one is returned as it is."""
        if item_id in self.items:
            return self.items[item_id]
        sent_ms = self.timeline.sent_ms
        start, source = self.floor, _APPENDS
        if start_ms is not None and 0 <= start_ms <= sent_ms:
            told = self.timeline.position_at(min(self._onset_ms(start_ms), sent_ms))
            if told >= self.floor:
                start, source = told, _SERVER
        start = min(start, max(self.floor, self.timeline.position_at(sent_ms)))
        self.floor = start
        item = self.items[item_id] = Item(item_id, start, time_source=source, begun_at=now)
        return item

    def _end(self, item_id: str, end_ms: int | None, *, now: float) -> Item:
        """Note that an item's audio is closed; its result is due from now on."""
        item = self._begin(item_id, None, now=now)
        if item.end is not None:
            return item
        end = -1
        if end_ms is not None and end_ms <= self.timeline.sent_ms:
            end = self._speech_end(item, end_ms)
        if end <= item.start:
            # Conservatively, all that was sent belongs to it, but for what follows.
            end, item.time_source = self.timeline.position_at(self.timeline.sent_ms), _APPENDS
        following = self._next_start(item)
        item.end = max(end if following is None else min(end, following), item.start)
        item.ended_at = now
        self.floor = max(self.floor, item.end)
        return item

    def _speech_end(self, item: Item, end_ms: int) -> int:
        """Position of the end that a recogniser tells, without the silence it waited for."""
        self.told_end_ms = max(self.told_end_ms, end_ms)
        told = self.timeline.position_at(end_ms)
        if told - item.start >= self.timeline.samples(CUT_AFTER_MS):
            return told
        spoken = self.timeline.position_at(max(end_ms - self._known_silence_ms, 0))
        return spoken if spoken > item.start else told

    def _next_start(self, item: Item) -> int | None:
        later = dropwhile(lambda other: other is not item, self.items.values())
        return next((other.start for other in islice(later, 1, None)), None)

    def _onset_ms(self, start_ms: int) -> int:
        """Session time at which speech begins: our own server includes the padding, others may not."""
        if not self.honours_extensions or start_ms <= self.told_end_ms:
            return start_ms  # right after an item, or at the beginning, there was no room for padding
        return start_ms + self.padding_ms

    @property
    def _known_silence_ms(self) -> int:
        """Silence inside the times told; none when the turn was ended by finishing instead."""
        return self.silence_ms if self.honours_extensions and self.finish_sent_at is None else 0

    def _settle(self, result: Completed | Failed, *, now: float, at_ms: int) -> None:
        """Keep an item's first final; an item that was never closed is closed where sending stands."""
        item = self._end(result.item_id, None, now=now)
        if item.result is None:
            item.result, item.result_at_ms, item.settled_at = result, at_ms, now

    def _note_progress(self, processed_ms: int) -> None:
        position = self.timeline.position_at(min(processed_ms, self.timeline.sent_ms))
        self.certain_until = max(position, self.certain_until or 0)

    @property
    def first(self) -> Item | None:
        """Item that began first among those not released."""
        return next(iter(self.items.values()), None)

    @property
    def end_of_first(self) -> int | None:
        """Position at which the first item ends, at the latest; None if it is open and the only one."""
        if self.first is None:
            return None
        if self.first.end is not None:
            return self.first.end
        return self._next_start(self.first)

    def take_first(self) -> Item | None:
        """Remove and return the first item if it has its result."""
        item = self.first
        if item is None or item.result is None:
            return None
        self.released[item.item_id] = None
        if len(self.released) > MOST_RELEASED:
            del self.released[next(iter(self.released))]
        return self.items.pop(item.item_id)

    @property
    def overtaken_at(self) -> float | None:
        """When a result arrived although the first item has none (monotonic seconds)."""
        return min((i.settled_at for i in self.items.values() if i.settled_at is not None), default=None)

    @property
    def awaits_result(self) -> bool:
        """Whether a final is due."""
        return any(item.end is not None and item.result is None for item in self.items.values())

    @property
    def has_open_item(self) -> bool:
        """Whether an item has begun and not ended."""
        return any(item.end is None for item in self.items.values())

    @property
    def is_finishing(self) -> bool:
        """Whether the session was told to finish: it takes no more audio."""
        return self.finish_sent_at is not None
