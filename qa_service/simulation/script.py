"""What is said in a simulated run: calls of two legs, as the records a telephony platform would publish.

Decided here: which record comes when, what is in it, and therefore what has to be found afterwards. Speech is
written so that how it is cut into utterances changes none of the expected incidents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from qa_service.contract.codecs import Codec
from qa_service.contract.info import LegChange, LegInfo
from qa_service.contract.records import (
    AudioFrame,
    CallEnd,
    CallRecord,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
    Record,
)
from qa_service.simulation.loop import unix_ms
from qa_service.simulation.words import ALARM_EVERY, RATE_HZ, hush, say

FRAME_MS: Final = 100
_FRAME: Final = RATE_HZ * FRAME_MS // 1000

_RULES: Final = """\
version: 1
rules:
  - id: alarm-said
    version: {version}
    severity: high
    description: Somebody said the word.
    when: {{said: {{leg: any, any_of: ["alarm"]}}}}
    incident: {{close_after: 3s, cooldown: 0s}}
  - id: angry
    version: 1
    severity: medium
    description: The customer sounds angry.
    when: {{emotion: {{leg: customer, is: angry, in: 1 of last 1 utterances, if_missing: pass}}}}
    incident: {{close_after: 3s, cooldown: 0s}}
  - id: dead-air
    version: 1
    severity: low
    description: Nobody has said anything for a while.
    when: {{silence: {{of: call, longer_than: 6s}}}}
  - id: customer-quiet
    version: 1
    severity: low
    description: The customer says nothing.
    when: {{silence: {{of: customer, longer_than: 4s}}}}
    incident: {{close_after: 2s, cooldown: 5s}}
"""
RULE_SOURCES: Final = (_RULES.format(version=1), _RULES.format(version=2))
"""Rule files of two releases, which may be at work side by side; the oracle does not care which is which."""


CALL_WORDS: Final = 4 * ALARM_EVERY
"""Words kept for one call, half of them for each leg."""

_TURNS_AT_MOST: Final = (2, 2, 3, 5)
"""Of a leg: most calls are short, since many small runs find more in the same time than few large ones."""
_RAISES_ALARM: Final = 0.6
_STOPS: Final = 0.7
"""Share of legs that are stopped before the call ends."""
_IDLES_AFTER_S: Final = 40.0
"""Well below the minute that the worker waits for."""
_SPEAKS_IN_PAUSE: Final = 0.5
_UNANNOUNCED: Final = 0.05
"""Share of legs without a ``start``."""


@dataclass(frozen=True, slots=True)
class Cue:
    """A record and the virtual second at which it is published."""

    at: float
    record: CallRecord


@dataclass(slots=True)
class LegScript:
    """One leg, and what is to be found of it."""

    words: list[int] = field(default_factory=list)
    """Said, published and not in a pause: each has to be transcribed once, in this order."""
    where: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Positions of each word, from and to."""
    secrets: set[int] = field(default_factory=set)
    """Said in a pause: none of them may be transcribed."""
    may_idle: bool = False
    """Whether the other leg goes on for so long that silence may end this one."""


@dataclass(slots=True)
class CallScript:
    """One call."""

    call_id: str
    cues: list[Cue] = field(default_factory=list)
    legs: dict[str, LegScript] = field(default_factory=dict)
    alarms: int = 0
    """How often an alarm word is said; never twice within one utterance or incident."""
    hears_anger: bool = True
    """Whether the customer's emotion may be known: only if their leg was announced."""

    @property
    def incidents(self) -> dict[str, int]:
        """How many incidents of some rules there are to be, however speech is cut."""
        return {"alarm-said": self.alarms, "angry": self.alarms if self.hears_anger else 0}


def write_call(call_id: str, random: Random, *, begins: float, first_word: int) -> CallScript:
    """Write a call of two legs that talk, are silent, pause, lose frames, change and end."""
    script = CallScript(call_id)
    ends = []
    longest = random.choice(_TURNS_AT_MOST)
    for number, leg in enumerate(("customer", "agent")):
        first = first_word + number * (CALL_WORDS // 2) + 1
        speaker = _Speaker(script, leg, random, begins=begins + random.random(), first_word=first)
        has_alarm = leg == "customer" and random.random() < _RAISES_ALARM
        turns = random.randint(1, longest)
        for turn in range(turns):
            [act] = random.choices(list(_ACTS), weights=list(_ACTS.values()))
            act(speaker)
            if has_alarm and turn == turns // 2:
                speaker.raise_alarm(first_word)
        if random.random() < _STOPS:
            speaker.stop()
        ends.append(speaker.now)
    for leg_script, end in zip(script.legs.values(), ends, strict=True):
        leg_script.may_idle = max(ends) - end > _IDLES_AFTER_S
    script.cues.append(Cue(max(ends) + 0.2, CallRecord(call_id, CallEnd(unix_ms(max(ends))))))
    script.cues.sort(key=lambda cue: cue.at)
    return script


class _Speaker:
    """Writes the records of one leg."""

    def __init__(
        self, script: CallScript, leg: str, random: Random, *, begins: float, first_word: int
    ) -> None:
        self.random = random
        self._call = script
        self._leg = leg
        self._script = script.legs[leg] = LegScript()
        self._begins = begins
        self._index = 0
        self._seq = 0
        self._next_word = first_word
        self._is_paused = False
        self._delay_s = 0.0
        self._clock_error_ms = 0
        self._is_announced = random.random() >= _UNANNOUNCED
        if self._is_announced:
            info = LegInfo(role="customer" if leg == "customer" else "agent", agent_id=None)
            self._put(LegStart(leg, unix_ms(begins), "pcm_s16le", RATE_HZ, info))
        elif leg == "customer":
            script.hears_anger = False

    @property
    def now(self) -> float:
        """The virtual second that this leg has come to."""
        return self._begins + self._index * FRAME_MS / 1000

    def say(self, words: int = 1) -> None:
        for _ in range(words):
            self._speak(self._next_word)
            self._next_word += 1 if (self._next_word + 1) % ALARM_EVERY else 2

    def wait(self, frames: int) -> None:
        for _ in range(frames):
            self._send(hush(_FRAME))

    def suppress(self, frames: int) -> None:
        """Discontinuous transmission: positions go on, frame numbers do not."""
        self._index += frames

    def lose(self, frames: int) -> None:
        self._index += frames
        self._seq += frames

    def overtake(self) -> None:
        """The next word is overtaken by what comes after it."""
        self._delay_s = 0.25
        self.say()
        self._delay_s = 0.0
        self.wait(4)

    def repeat(self) -> None:
        self.say()
        self._call.cues.append(Cue(self.now, self._call.cues[-1].record))

    def pause(self, frames: int) -> None:
        self._put(LegPause(self._leg, unix_ms(self.now)))
        self._is_paused = True
        for _ in range(frames):
            if self.random.random() < _SPEAKS_IN_PAUSE:
                self.say()
            else:
                self.wait(1)
        self._is_paused = False
        self._put(LegResume(self._leg, unix_ms(self.now)))

    def change(self) -> None:
        self._put(LegUpdate(self._leg, unix_ms(self.now), LegChange(queue=f"queue-{self._index}")))

    def jump_clock(self) -> None:
        """From here on the platform's clock is another, as after a correction."""
        self._clock_error_ms = self.random.choice((-3_600_000, -500, 700, 86_400_000))

    def restart(self) -> None:
        """A second ``start``."""
        if not self._is_announced:
            return
        info = LegInfo(role="customer" if self._leg == "customer" else "agent", queue="again")
        self._put(LegStart(self._leg, unix_ms(self._begins), "pcm_s16le", RATE_HZ, info))

    def stop(self) -> None:
        self._put(LegStop(self._leg, unix_ms(self.now)))

    def raise_alarm(self, number: int) -> None:
        """Say the alarm, far enough from all else that it is an utterance and an incident of its own."""
        self.wait(10)
        self._speak(number)
        self._call.alarms += not self._is_paused
        be_silent = self.random.choice((self.wait, self.suppress, self.suppress))
        be_silent(40)

    def _speak(self, number: int) -> None:
        start = self._index * _FRAME
        if self._is_paused:
            self._script.secrets.add(number)
        else:
            self._script.words.append(number)
            self._script.where[number] = (start, start + _FRAME)
        self._send(say(number, _FRAME))

    def _send(self, audio: bytes) -> None:
        codec: Codec | None = None if self._is_announced else "pcm_s16le"
        ts = unix_ms(self.now) + self._clock_error_ms
        frame = AudioFrame(self._leg, self._index * _FRAME, self._seq, ts, audio, codec)
        self._index += 1
        self._seq += 1
        self._put(frame)

    def _put(self, record: Record) -> None:
        # A frame is there when its last sample is.
        self._call.cues.append(Cue(self.now + self._delay_s, CallRecord(self._call.call_id, record)))


def _talk(speaker: _Speaker) -> None:
    for _ in range(speaker.random.randint(1, 4)):
        speaker.say(speaker.random.randint(1, 3))
        speaker.wait(speaker.random.choice((0, 2, 6, 10)))


def _keep_quiet(speaker: _Speaker) -> None:
    speaker.wait(speaker.random.choice((5, 8, 12, 20, 45)))


def _keep_quiet_for_long(speaker: _Speaker) -> None:
    """Longer than a recogniser may be mute while there is speech."""
    speaker.wait(120)


def _suppress(speaker: _Speaker) -> None:
    speaker.suppress(speaker.random.choice((1, 3, 15, 150)))
    speaker.say()


def _lose(speaker: _Speaker) -> None:
    speaker.lose(speaker.random.choice((1, 3, 15)))
    speaker.wait(1)


def _overtake(speaker: _Speaker) -> None:
    speaker.suppress(speaker.random.choice((0, 0, 20)))  # frames stop long enough to count as a stall, or not
    speaker.overtake()


def _repeat(speaker: _Speaker) -> None:
    speaker.repeat()


def _pause(speaker: _Speaker) -> None:
    speaker.pause(speaker.random.choice((0, 2, 12)))
    speaker.wait(2)


def _change(speaker: _Speaker) -> None:
    speaker.change()
    speaker.say()


def _restart(speaker: _Speaker) -> None:
    speaker.restart()
    speaker.say()


def _jump_clock(speaker: _Speaker) -> None:
    speaker.jump_clock()
    speaker.say()


def _go_on_and_on(speaker: _Speaker) -> None:
    """An utterance that does not end, as from a television nearby.

    It dips every two seconds, or our own voice gate would take it for the line's noise, as it is meant to.
    """
    for _ in range(speaker.random.choice((32, 50))):
        speaker.say(19)
        speaker.wait(1)


def _stop_and_come_back(speaker: _Speaker) -> None:
    speaker.stop()
    speaker.suppress(speaker.random.choice((1, 20, 100)))
    speaker.say()
    speaker.wait(3)


_ACTS: Final[dict[Callable[[_Speaker], None], float]] = {
    _talk: 8,
    _keep_quiet: 4,
    _keep_quiet_for_long: 0.25,
    _suppress: 2,
    _lose: 2,
    _overtake: 2,
    _repeat: 1,
    _pause: 1,
    _change: 1,
    _restart: 0.5,
    _stop_and_come_back: 0.5,
    _jump_clock: 0.5,
    _go_on_and_on: 0.03,
}
"""What may happen next, and how often."""
