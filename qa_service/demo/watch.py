"""What goes out, shown as it comes: transcripts and alerts are two topics, and a reader wants one story."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

from qa_service.alerts.following import follow
from qa_service.demo.screen import Screen
from qa_service.domain.announcements import UTTERANCE_TYPE
from qa_service.kafka import KafkaConfig

Event: TypeAlias = dict[str, Any]

HOLD_S = 1.0
"""Longest an alert waits for the utterances it rests on. They leave the service together, so that the second
topic is behind by a poll at most; one that never comes must not keep an alert from the screen."""
_TICK_S = 0.1


class Sequence:
    """Lets utterances pass, and alerts once what they rest on has passed. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._passed: set[str] = set()
        self._held: list[tuple[float, Event]] = []

    def arrive(self, event: Event, now: float) -> list[Event]:
        """Take the next event of either topic; gives those whose turn it is."""
        if event["type"] == UTTERANCE_TYPE:
            self._passed.add(event["data"]["utterance_id"])
            return [event, *self.release(now)]
        self._held.append((now + HOLD_S, event))
        return self.release(now)

    def release(self, now: float) -> list[Event]:
        """Give the alerts whose turn it is, those of an incident in their order."""
        free: list[Event] = []
        held: list[tuple[float, Event]] = []
        incidents: set[str] = set()
        for due, event in self._held:
            incident = event["data"]["incident_id"]
            if due > now and (incident in incidents or not self._has_passed(event)):
                incidents.add(incident)
                held.append((due, event))
            else:
                free.append(event)
        self._held = held
        return free

    def _has_passed(self, alert: Event) -> bool:
        spoken = {piece["utterance_id"] for piece in alert["data"]["evidence"]} - {None}  # None: a silence
        return spoken <= self._passed


class Watch:
    """Shows the events of some topics until its task is cancelled; the task's error is the topics' error."""

    def __init__(self, kafka: KafkaConfig, topics: tuple[str, ...], screen: Screen) -> None:
        self._screen = screen
        self._sequence = Sequence()
        self._shown = 0
        self.task = asyncio.create_task(self._run(kafka, topics))

    def check(self) -> None:
        """Raise what ended it, if it has ended."""
        if self.task.done():
            self.task.result()

    async def wait_until_shown(self, events: int, *, within_s: float) -> None:
        """Wait until so many events have been shown, or as long as that may take."""
        deadline = time.monotonic() + within_s
        while self._shown < events and time.monotonic() < deadline:
            self.check()
            await asyncio.sleep(_TICK_S)

    async def _run(self, kafka: KafkaConfig, topics: tuple[str, ...]) -> None:
        ticking = asyncio.create_task(self._tick())
        try:
            async for event in follow(kafka, *topics):
                self._show(self._sequence.arrive(event, time.monotonic()))
        finally:
            ticking.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._show(self._sequence.release(time.monotonic()))

    def _show(self, events: list[Event]) -> None:
        for event in events:
            show = self._screen.utterance if event["type"] == UTTERANCE_TYPE else self._screen.alert
            show(event["data"])
        self._shown += len(events)


@contextlib.asynccontextmanager
async def watching(kafka: KafkaConfig, *topics: str, screen: Screen) -> AsyncIterator[Watch]:
    """Show the events of these topics for the length of an ``async with``."""
    watch = Watch(kafka, topics, screen)
    try:
        yield watch
    finally:
        watch.task.cancel()
        await asyncio.wait([watch.task])
