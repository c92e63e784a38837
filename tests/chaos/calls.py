"""Live calls of two legs, played in real time until told to hang up; what was said on them is kept.

Turns alternate. A customer's turn may end with the alarm that a rule listens for, and now and then nobody
speaks for so long that another rule notices. Both are far enough apart that each is an incident of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from qa_service.contract import LegInfo
from qa_service.telephony.producer import CallPublisher, LegPublisher, Publisher
from tests.chaos.words import FRAME_MS, FRAME_SAMPLES, VOCABULARY, frame_of

RULES = """
version: 1
rules:
  - id: alarm
    version: 1
    severity: high
    description: The alarm was given.
    when: {said: {leg: customer, any_of: ["alarm"]}}
    incident: {close_after: 5s}
  - id: dead-air
    version: 1
    severity: low
    description: Nobody speaks.
    when: {silence: {of: call, longer_than: 4s}}
    incident: {close_after: 5s}
"""

LEGS = ("customer", "agent")
_ALARM, *_WORDS = VOCABULARY
_PAUSE = range(4, 9)
"""Frames between two turns: 0.8 to 1.6 s, over the 0.4 s that end an utterance."""
_HUSH = 30
"""Frames of dead air, 6 s."""
_APART = 75
"""Frames between two alarms, or two hushes: 15 s."""

Tick: TypeAlias = tuple[str | None, str | None]
"""What customer and agent say in the time of one frame."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and where it was said on its leg (ms)."""

    text: str
    start_ms: int

    @property
    def end_ms(self) -> int:
        return self.start_ms + FRAME_MS


@dataclass
class LiveCall:
    """A call in progress, or over."""

    call_id: str
    seed: int
    ticks: int = 0
    said: dict[str, list[Word]] = field(default_factory=lambda: {leg: [] for leg in LEGS})
    incidents: Counter[str] = field(default_factory=Counter)
    """How many of each rule there ought to be."""
    is_over: bool = False
    hangs_up: bool = False

    @property
    def sent_ms(self) -> int:
        return self.ticks * FRAME_MS

    @property
    def sent_samples(self) -> int:
        return self.ticks * FRAME_SAMPLES

    def turns(self) -> Iterator[Tick]:
        """What is said; it ends with the turn in which the call is told to hang up."""
        random = Random(f"{self.seed}-{self.call_id}")
        alarm_at = hush_at = random.randrange(_APART)
        turn = 0
        while not self.hangs_up:
            turn += 1
            is_customer = turn % 2 == 1
            words = random.sample(_WORDS, random.randint(1, 4))
            if is_customer and self.ticks >= alarm_at:
                words.append(_ALARM)
                alarm_at = self.ticks + _APART
                self.incidents["alarm"] += 1
            yield from ((word, None) if is_customer else (None, word) for word in words)
            pause = random.choice(_PAUSE)
            if self.ticks >= hush_at:
                pause = _HUSH
                hush_at = self.ticks + _APART
                self.incidents["dead-air"] += 1
            yield from [(None, None)] * pause


class Switchboard:
    """Plays calls side by side."""

    def __init__(self, publisher: Publisher) -> None:
        self.calls: list[LiveCall] = []
        self._publisher = publisher
        self._playing: list[asyncio.Task[None]] = []

    @property
    def live(self) -> list[LiveCall]:
        return [call for call in self.calls if not call.is_over]

    def begin(self, calls: Sequence[LiveCall]) -> None:
        """Let calls begin, all within one frame's time."""
        self.calls += calls
        for number, call in enumerate(calls):
            playing = self._play(call, number * FRAME_MS / len(calls) / 1000)
            self._playing.append(asyncio.create_task(playing, name=call.call_id))

    async def hang_up(self, calls: Sequence[LiveCall] | None = None) -> None:
        """Let some calls, or all, end with their turns; returns when they have."""
        chosen = self.calls if calls is None else calls
        for call in chosen:
            call.hangs_up = True
        names = {call.call_id for call in chosen}
        await asyncio.gather(*(task for task in self._playing if task.get_name() in names))
        await self._publisher.flush()

    async def close(self) -> None:
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    async def _play(self, call: LiveCall, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        publisher = self._publisher.call(call.call_id)
        legs = [publisher.leg(leg) for leg in LEGS]
        began, began_ts = time.monotonic(), time.time_ns() // 1_000_000
        for leg, name in zip(legs, LEGS, strict=True):
            await leg.start(LegInfo(role=name), ts=began_ts)  # type: ignore[arg-type]
        for tick in call.turns():
            # Spoken first, then sent; a call that is late catches up.
            await asyncio.sleep(began + (call.sent_ms + FRAME_MS) / 1000 - time.monotonic())
            for leg, name, word in zip(legs, LEGS, tick, strict=True):
                if word is not None:
                    call.said[name].append(Word(word, call.sent_ms))
                await leg.frame(frame_of(word), ts=began_ts + call.sent_ms)
            call.ticks += 1
        await _end(publisher, legs, ts=began_ts + call.sent_ms)
        call.is_over = True


async def _end(call: CallPublisher, legs: Sequence[LegPublisher], ts: int) -> None:
    for leg in legs:
        await leg.stop(ts=ts)
    await call.end(ts=ts)
