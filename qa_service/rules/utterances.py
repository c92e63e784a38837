"""When a condition on utterances holds: *said* and *emotion*, leg by leg, in the order of release.

A condition matches at an utterance that has the quality asked for, if enough of the leg's newest
utterances have it. All those not yet used are its evidence; what an earlier incident rested on opens no
other. Time passes up to an utterance's start before the utterance is looked at, so an incident closes
before speech that begins after its time, and goes on by speech that began before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from qa_service.contract.info import Role
from qa_service.domain.entries import LogEntry, Utterance
from qa_service.domain.incidents import Evidence, IncidentChange
from qa_service.rules.language import EmotionCondition, SaidCondition, Speaker
from qa_service.rules.lifecycle import IncidentTrack
from qa_service.rules.phrases import Words, compile_book, read_words


@dataclass(slots=True)
class Speech:
    """An utterance as conditions see it, with whoever spoke it in the role held then."""

    leg_id: str
    role: Role
    call_seq: int
    start_ms: int
    end_ms: int
    body: Utterance
    _words: Words | None = field(default=None, init=False)

    @classmethod
    def from_entry(cls, entry: LogEntry, body: Utterance, leg_id: str, role: Role) -> Speech:
        """Take up a log entry whose body is an utterance."""
        return cls(leg_id, role, entry.call_seq, entry.start_ms, entry.end_ms, body)

    @property
    def words(self) -> Words:
        """The words said, read once for all rules."""
        if self._words is None:
            self._words = read_words(self.body.text, self.body.redactions)
        return self._words

    def as_evidence(self) -> Evidence:
        """Return what an incident keeps of it."""
        return Evidence(
            utterance_id=self.body.utterance_id,
            leg=self.leg_id,
            role=self.role,
            text=self.body.text,
            start_ms=self.start_ms,
            end_ms=self.end_ms,
            emotion=self.body.emotion,
            emotion_confidence=self.body.emotion_confidence,
            anger_rank=self.body.anger_rank,
            anger_daily=self.body.anger_daily,
            engine=self.body.engine,
            model=self.body.model,
        )


Test: TypeAlias = Callable[[Speech], bool]


@dataclass(frozen=True, slots=True)
class UtteranceTest:
    """A compiled condition: whose utterances it concerns, which count, how many of the newest must."""

    speaker: Speaker
    counts: Test
    needed: int = 1
    window: int = 1

    def concerns(self, role: Role) -> bool:
        """Tell whether it concerns what someone in this role says."""
        return self.speaker in {"any", role}


def compile_utterance_test(condition: EmotionCondition | SaidCondition) -> UtteranceTest:
    """Compile a condition on utterances."""
    if isinstance(condition, EmotionCondition):
        return UtteranceTest("customer", _test_emotion(condition), condition.needed, condition.window)
    book = compile_book(condition.phrases)
    return UtteranceTest(condition.leg, lambda speech: book.is_said_in(speech.words))


def _test_emotion(condition: EmotionCondition) -> Test:
    missing_passes = condition.if_missing == "pass"

    def has_label(body: Utterance) -> bool:
        if body.emotion_abstained or body.emotion not in condition.emotions:
            return False
        if body.emotion_confidence is None:
            return missing_passes
        return body.emotion_confidence >= condition.min_confidence

    def is_within(value: float | None, most: float | None) -> bool:
        if most is None:
            return True
        return missing_passes if value is None else value <= most

    def counts(speech: Speech) -> bool:
        body = speech.body
        return (
            (not condition.emotions or has_label(body))
            and is_within(body.anger_rank, condition.top_share)
            and is_within(body.anger_daily, condition.most_a_day)
        )

    return counts


class _Heard(NamedTuple):
    """An utterance in the window; without evidence if it does not count."""

    ordinal: int
    evidence: Evidence | None


class UtteranceWatch:
    """One rule on one leg; holds the window of its newest utterances and the open incident."""

    __slots__ = ("_heard", "_test", "_track", "_used_up_to")

    def __init__(self, test: UtteranceTest, track: IncidentTrack) -> None:
        self._test = test
        self._track = track
        self._heard: deque[_Heard] = deque(maxlen=test.window)
        self._used_up_to = 0
        """Ordinal of the newest utterance that any incident rests on."""

    def pass_time(self, until_ms: int, call_seq: int) -> Iterator[IncidentChange]:
        """Close the incident if its time is over."""
        if self._track.is_open and self._track.deadline <= until_ms:
            yield self._track.close(at_ms=self._track.deadline, call_seq=call_seq)

    def hear(self, speech: Speech) -> Iterator[IncidentChange]:
        """Look at the leg's next utterance."""
        if not self._test.concerns(speech.role):
            return
        counts = self._test.counts(speech)
        self._heard.append(_Heard(speech.body.ordinal, speech.as_evidence() if counts else None))
        if counts:
            yield from self._match(speech)

    def end(self, at_ms: int, call_seq: int) -> Iterator[IncidentChange]:
        """Close the incident with the leg."""
        if self._track.is_open:
            yield self._track.close(at_ms=min(at_ms, self._track.deadline), call_seq=call_seq)

    def _match(self, speech: Speech) -> Iterator[IncidentChange]:
        unused = [heard for heard in self._heard if heard.evidence and heard.ordinal > self._used_up_to]
        evidence = [heard.evidence for heard in unused if heard.evidence]
        if self._track.is_open:
            if sum(heard.evidence is not None for heard in self._heard) < self._test.needed:
                return
            yield self._track.update(at_ms=speech.end_ms, evidence=evidence, call_seq=speech.call_seq)
        else:
            if len(evidence) < self._test.needed or speech.end_ms < self._track.cooldown_until:
                return
            anchor = f"{speech.leg_id}:{unused[0].ordinal}"
            yield self._track.open(
                anchor=anchor, at_ms=speech.end_ms, evidence=evidence, call_seq=speech.call_seq
            )
        self._used_up_to = speech.body.ordinal
