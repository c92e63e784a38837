"""A small world around a partition: a log of records, recognisers, a store, and everything that goes wrong.

Calls are written out as records with known words in them; the world then reads, answers, loses, waits and
crashes as a random source tells it, and finally lets everything come to an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from random import Random

import msgspec

from qa_service.contract.records import (
    AudioFrame,
    CallEnd,
    CallRecord,
    LegPause,
    LegResume,
    LegStop,
    Record,
)
from qa_service.domain.actions import AbandonSession, Append, FinishSession, OpenSession
from qa_service.domain.entries import CallEnded, Gap, LegStarted, LegUpdated, LogEntry, Quiet, Utterance
from qa_service.domain.partition import LegKey
from qa_service.domain.writes import CallRow, LegRow, StoredCall, WriteBatch
from qa_service.protocol.events import Completed, ServerEvent
from qa_service.simulation.words import LOUDNESS, read_words
from tests.domain.builders import FRAME, ORIGIN_TS, a_claim, a_partition, hush, in_call, start, word
from tests.domain.model_recogniser import ModelRecogniser


@dataclass
class Script:
    """The records of calls, and what was said in them."""

    records: list[CallRecord] = field(default_factory=list)
    words: dict[str, list[int]] = field(default_factory=dict)
    """What is to be transcribed, by leg."""
    word_offsets: dict[int, int] = field(default_factory=dict)
    """The first record that brings a word."""
    secrets: set[int] = field(default_factory=set)
    """Words said during pauses."""

    def add(self, record: Record) -> None:
        self.records.append(in_call(record))


class Speaker:
    """Writes the records of one leg."""

    def __init__(self, script: Script, leg: str, random: Random, first_word: int) -> None:
        self._script = script
        self._leg = leg
        self._random = random
        self._index = 0
        self._seq = 0
        self._next_word = first_word
        self._late: list[tuple[int, AudioFrame]] = []
        self._is_paused = False
        script.words[leg] = []
        script.add(start(leg, role="customer" if leg == "customer" else "agent"))

    def say(self) -> None:
        self._send(spoken=True)

    def wait(self, frames: int) -> None:
        for _ in range(frames):
            self._send(spoken=False)

    def suppress(self, frames: int) -> None:
        """Discontinuous transmission: positions go on, frame numbers do not."""
        self._flush()
        self._index += frames

    def lose(self, frames: int) -> None:
        self._index += frames
        self._seq += frames

    def delay(self) -> None:
        """The next frame is overtaken by up to five."""
        self._late.append((self._random.randint(1, 5), self._frame(spoken=True)))

    def repeat(self) -> None:
        newest = next((r.record for r in reversed(self._script.records) if self._is_own(r.record)), None)
        if newest is not None:
            self._script.add(newest)

    def pause(self, frames: int) -> None:
        self._flush()
        self._script.add(LegPause(self._leg, self._ts))
        self._is_paused = True
        for _ in range(frames):
            self._send(spoken=self._random.random() < 0.5)
        if self._random.random() < 0.3:
            self.lose(3)
            self._send(spoken=True)
        self._is_paused = False
        self._script.add(LegResume(self._leg, self._ts))

    def stop(self) -> None:
        self._flush()
        self._script.add(LegStop(self._leg, self._ts))

    @property
    def _ts(self) -> int:
        return ORIGIN_TS + self._index * 20

    def _is_own(self, record: Record) -> bool:
        return isinstance(record, AudioFrame) and record.leg == self._leg and not self._late

    def _frame(self, *, spoken: bool) -> AudioFrame:
        audio = hush()
        if spoken:
            audio = word(self._next_word)
            if self._is_paused:
                self._script.secrets.add(self._next_word)
            else:
                self._script.words[self._leg].append(self._next_word)
            self._next_word += 1
        frame = AudioFrame(self._leg, self._index * FRAME, self._seq, self._ts, audio)
        self._index += 1
        self._seq += 1
        return frame

    def _send(self, *, spoken: bool) -> None:
        self._put(self._frame(spoken=spoken))
        self._late = [(frames - 1, late) for frames, late in self._late]
        for _, late in [each for each in self._late if each[0] <= 0]:
            self._put(late)
        self._late = [each for each in self._late if each[0] > 0]

    def _flush(self) -> None:
        for _, late in self._late:
            self._put(late)
        self._late = []

    def _put(self, frame: AudioFrame) -> None:
        number = int.from_bytes(frame.audio[:2], "little") - LOUDNESS
        if number >= 0:
            self._script.word_offsets.setdefault(number, len(self._script.records))
        self._script.add(frame)


def write_script(random: Random, *, turns: int = 12) -> Script:
    """Write two legs of a call that talk, are silent, pause, lose frames, stop and come back."""
    script = Script()
    speakers = [Speaker(script, "customer", random, 0), Speaker(script, "agent", random, 10_000)]
    for _ in range(turns):
        [turn] = random.choices(list(_TURNS), weights=list(_TURNS.values()))
        turn(random.choice(speakers), random)
    for speaker in speakers:
        speaker.wait(1)
    script.add(CallEnd(ORIGIN_TS))
    return script


def _talk(speaker: Speaker, random: Random) -> None:
    for _ in range(random.randint(1, 4)):
        speaker.say()
        speaker.wait(random.randint(0, 3))


def _wait(speaker: Speaker, random: Random) -> None:
    speaker.wait(random.choice([3, 20, 60]))


def _suppress(speaker: Speaker, random: Random) -> None:
    speaker.suppress(random.choice([5, 15, 60, 400]))
    speaker.say()


def _lose(speaker: Speaker, random: Random) -> None:
    speaker.lose(random.choice([1, 5, 15, 80]))
    speaker.wait(1)


def _delay(speaker: Speaker, _random: Random) -> None:
    speaker.delay()
    speaker.wait(5)


def _repeat(speaker: Speaker, _random: Random) -> None:
    speaker.repeat()


def _pause(speaker: Speaker, random: Random) -> None:
    speaker.pause(random.choice([0, 2, 30, 100]))
    speaker.wait(2)


def _stop(speaker: Speaker, _random: Random) -> None:
    speaker.stop()


_TURNS: dict[Callable[[Speaker, Random], None], float] = {
    _talk: 8,
    _wait: 6,
    _suppress: 3,
    _lose: 2,
    _delay: 3,
    _repeat: 2,
    _pause: 1.5,
    _stop: 0.7,
}
"""What may happen next, and how often."""


@dataclass
class Session:
    """A recogniser session and what it has said but nobody heard yet."""

    recogniser: ModelRecogniser
    number: int
    due: deque[tuple[float, ServerEvent]] = field(default_factory=deque)


@dataclass
class Trouble:
    """How much goes wrong; with nothing of it a run is undisturbed."""

    losses: int = 0
    crashes: int = 0
    missing_finals: int = 0


class World:
    """Runs a script through a partition."""

    def __init__(
        self, script: Script, random: Random, trouble: Trouble, *, extensions: bool, tells_times: bool = True
    ) -> None:
        self.script = script
        self.entries: list[LogEntry] = []
        """The stored log."""
        self.batches: list[WriteBatch] = []
        self.heard: set[int] = set()
        """Every word that any recogniser got to hear."""
        self._random = random
        self._trouble = trouble
        self._extensions = extensions
        self._tells_times = tells_times
        self._now = 100.0
        self._claim = a_claim()
        self._calls: dict[str, CallRow] = {}
        self._legs: dict[tuple[str, str], LegRow] = {}
        self._sessions: dict[LegKey, Session] = {}
        self._forgotten: dict[str, int] = {}
        self.core = a_partition(self._claim)

    def run(self) -> None:
        steps = [self._read, self._read, self._read, self._wait, self._write, self._lose, self._crash]
        while self.core.position < len(self.script.records):
            self._random.choice(steps)()
        self._trouble = Trouble(0, self._trouble.crashes, 0)
        for _ in range(400):
            if self._is_settled:
                return
            self._random.choice([self._wait, self._wait, self._wait, self._write, self._crash])()
            while self.core.position < len(self.script.records):
                self._read()
        raise AssertionError(f"the call did not come to its end: {self.describe()}")

    def describe(self) -> list[tuple[str | None, object]]:
        return [(entry.leg_id, entry.body) for entry in self.entries]

    @property
    def _is_settled(self) -> bool:
        if self.core.next_offset < len(self.script.records):
            return False
        self._write()
        return bool(self.entries) and isinstance(self.entries[-1].body, CallEnded)

    def _read(self) -> None:
        for _ in range(self._random.choice([1, 7, 40])):
            offset = self.core.position
            if offset == len(self.script.records):
                break
            record = self.script.records[offset]
            self._now += 0.002
            self.core.handle(record, offset, record_ms=ORIGIN_TS + 20 * offset, now=self._now)
            self._act()

    def _wait(self) -> None:
        """Let time pass: answers come, and time-outs act."""
        for _ in range(self._random.choice([1, 5, 20])):
            self._now += 0.2
            for key, session in list(self._sessions.items()):
                while session.due and session.due[0][0] <= self._now:
                    _, event = session.due.popleft()
                    if isinstance(event, Completed) and self._trouble.missing_finals and self._toss(0.3):
                        self._trouble.missing_finals -= 1
                        continue
                    self.core.receive(key, session.number, event, now=self._now, at_ms=int(self._now * 1000))
                    if isinstance(event, Completed) and self._toss(0.1):
                        self.core.receive(key, session.number, event, now=self._now, at_ms=0)
            caught_up = self.core.position >= len(self.script.records)
            self.core.tick(now=self._now, read_until=self._now if caught_up else -inf)
            self._act()

    def _act(self) -> None:
        for key, action in self.core.take_actions():
            session = self._sessions.get(key)
            match action:
                case OpenSession(number=number):
                    recogniser = ModelRecogniser(
                        extensions=self._extensions,
                        tells_times=self._tells_times,
                        leg_state=self.core.session_config(key).extensions.leg_state,
                    )
                    session = self._sessions[key] = Session(recogniser, number)
                    self._promise(session, recogniser.open())
                case Append(number=number, pcm=pcm) if session is not None and session.number == number:
                    self._promise(session, session.recogniser.append(pcm))
                    self.heard.update(session.recogniser.heard)
                case FinishSession(number=number) if session is not None and session.number == number:
                    self._promise(session, session.recogniser.finish())
                case AbandonSession(number=number) if session is not None and session.number == number:
                    del self._sessions[key]
        self.core.take_partials()

    def _promise(self, session: Session, events: list[ServerEvent]) -> None:
        at = max(self._now + self._random.choice([0.0, 0.1, 0.7]), session.due[-1][0] if session.due else 0.0)
        session.due.extend((at, event) for event in events)

    def _write(self) -> None:
        batch = self.core.take_batch()
        if batch is None:
            return
        assert not self.batches or batch.next_offset >= self.batches[-1].next_offset
        self.batches.append(batch)
        self.entries += batch.entries
        self._calls |= {call.call_id: call for call in batch.calls}
        self._legs |= {(leg.call_id, leg.leg_id): leg for leg in batch.legs}
        self._claim = msgspec.structs.replace(
            self._claim, write_seq=batch.write_seq, next_offset=batch.next_offset
        )
        self.check_promise(batch)
        self.check_learnt(batch)

    def check_learnt(self, batch: WriteBatch) -> None:
        """What is stored of a recogniser's learning is as of the newest stored utterance, each told once.

        It is forgotten with the leg's end; a successor that reopens the leg begins without.
        """
        if not self._extensions:
            return
        told = self.transcript()
        for leg in batch.legs:
            if leg.ended:
                self._forgotten[leg.leg_id] = len(told[leg.leg_id])
                continue
            learnt, since_end = read_words(leg.recogniser_state or ""), self._forgotten.get(leg.leg_id, 0)
            assert learnt in (told[leg.leg_id], told[leg.leg_id][since_end:])

    def check_promise(self, batch: WriteBatch) -> None:
        """What a successor will not read again is stored; without times that can only be guessed."""
        if not self._tells_times:
            return
        passed = {n for n, offset in self.script.word_offsets.items() if offset < batch.next_offset}
        stored = set().union(*self.transcript().values())

        assert not passed - self.script.secrets - stored

    def _lose(self) -> None:
        if self._trouble.losses and self._sessions:
            self._trouble.losses -= 1
            key = self._random.choice(list(self._sessions))
            session = self._sessions.pop(key)
            self.core.session_lost(key, session.number, now=self._now)
            self._act()

    def _crash(self) -> None:
        """Begin anew with what is stored."""
        if not self._trouble.crashes:
            return
        self._trouble.crashes -= 1
        self._sessions.clear()
        self._claim = msgspec.structs.replace(self._claim, epoch=self._claim.epoch + 1)
        self.core = a_partition(self._claim, self._stored())

    def _stored(self) -> tuple[StoredCall, ...]:
        return tuple(
            StoredCall(
                topic="telephony.audio",
                partition=0,
                call=call,
                legs=tuple(leg for key, leg in sorted(self._legs.items()) if key[0] == call.call_id),
                entries=tuple(entry for entry in self.entries if entry.call_id == call.call_id),
            )
            for call in self._calls.values()
        )

    def _toss(self, probability: float) -> bool:
        return self._random.random() < probability

    # --- what came of it ------------------------------------------------------------------------

    def transcript(self) -> dict[str, list[int]]:
        """The words of the stored utterances, by leg."""
        words: dict[str, list[int]] = {leg: [] for leg in self.script.words}
        for entry in self.entries:
            if isinstance(entry.body, Utterance) and entry.leg_id is not None:
                words[entry.leg_id] += read_words(entry.body.text)
        return words

    def releases(self, leg_id: str) -> list[Utterance | Quiet | Gap]:
        return [
            entry.body
            for entry in self.entries
            if entry.leg_id == leg_id and isinstance(entry.body, Utterance | Quiet | Gap)
        ]

    def milestones(self) -> list[tuple[str, str]]:
        """How often each leg was opened or described anew."""
        return sorted(
            (entry.leg_id or "", type(entry.body).__name__)
            for entry in self.entries
            if isinstance(entry.body, LegStarted | LegUpdated)
        )
