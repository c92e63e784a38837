"""A recogniser without models: it reads words out of the samples, and speaks the protocol's events.

One instance is one session. It is exact, so that a test can tell which words were said, sent and heard;
what is unreliable about real ones (delays, losses) is up to whoever delivers its events.
"""

from __future__ import annotations

from qa_service.protocol.events import (
    Committed,
    Completed,
    Partial,
    Progress,
    ResultDetail,
    ServerEvent,
    SessionFinished,
    SpeechStarted,
    SpeechStopped,
)
from qa_service.simulation.words import name_of, runs_of
from tests.domain.builders import RATE, session_updated

PADDING_MS = 300


class ModelRecogniser:
    """Cuts turns where ``silence_ms`` of zeros pass; give it PCM, take events."""

    def __init__(
        self,
        *,
        extensions: bool,
        tells_times: bool = True,
        silence_ms: int = 800,
        leg_state: bool | str = False,
    ) -> None:
        self._extensions = extensions
        self._tells_times = tells_times
        self._silence = silence_ms * RATE // 1000
        self._received = 0
        self._words: list[int] = []
        self._speech_end = 0
        self._floor_ms = 0
        self._items = 0
        self.heard: list[int] = []
        """Every word of which audio came, in order."""
        self.learnt = leg_state.split() if isinstance(leg_state, str) else []
        """Every word that was told by now, in earlier sessions of the leg too: its leg state."""

    def open(self) -> list[ServerEvent]:
        return [session_updated(extensions=self._extensions)]

    def append(self, pcm: bytes) -> list[ServerEvent]:
        assert pcm, "an append without audio"
        events: list[ServerEvent] = []
        for number, samples in runs_of(pcm):
            events += self._hush(samples) if number is None else self._speak(number, samples)
        if self._extensions and not self._words:
            events.append(Progress(max(self._floor_ms, self._ms(self._received) - PADDING_MS)))
        return events

    def finish(self) -> list[ServerEvent]:
        return [*(self._end(self._received) if self._words else ()), SessionFinished()]

    def _speak(self, number: int, samples: int) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        if not self._words:
            self._items += 1
            begin_ms = self._ms(self._received)
            if self._extensions:
                begin_ms = max(begin_ms - PADDING_MS, self._floor_ms)
            events.append(SpeechStarted(self._item_id, begin_ms if self._tells_times else None))
        if not (self._words and self._words[-1] == number):
            self._words.append(number)
            self.heard.append(number)
        self._received += samples
        self._speech_end = self._received
        return [*events, Partial(self._item_id, self._text, "", "en", "angry")]

    def _hush(self, samples: int) -> list[ServerEvent]:
        self._received += samples
        if self._words and self._received - self._speech_end >= self._silence:
            return self._end(self._speech_end + self._silence)
        return []

    def _end(self, end: int) -> list[ServerEvent]:
        end_ms = self._ms(end if self._extensions else self._speech_end)
        self.learnt += self._text.split()
        state = " ".join(self.learnt)
        told = ResultDetail(emotion_confidence=0.9, engine="model", leg_state=state)
        detail = told if self._extensions else None
        events: list[ServerEvent] = [
            SpeechStopped(self._item_id, end_ms if self._tells_times else None),
            Committed(self._item_id),
            Completed(self._item_id, self._text, "en", "angry", detail),
        ]
        self._words = []
        self._floor_ms = self._ms(end)
        return events

    @property
    def _item_id(self) -> str:
        return f"item_{self._items}"

    @property
    def _text(self) -> str:
        return " ".join(name_of(number) for number in self._words)

    @staticmethod
    def _ms(samples: int) -> int:
        return samples * 1000 // RATE
