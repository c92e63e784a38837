"""One utterance made into text and emotion: what a recognition thread runs.

Decided here: an utterance too long for the engine is cut into pieces. The cuts do not move as it grows, so
what was recognised of all pieces but the last is kept, and each new look at it costs one piece.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.agreement import continued, joined, units
from qa_service.asr_server.emotion_recogniser import EmotionRecogniser
from qa_service.asr_server.engines import (
    SAMPLE_RATE_HZ,
    BatchEngine,
    EncodingEngine,
    Engine,
    Hints,
    Segment,
    Transcript,
)
from qa_service.asr_server.engines.cutting import pieces
from qa_service.audio.resample import PCM_SAMPLE_BYTES, resample, samples_of_pcm

_EMOTION_RATE_HZ: Final = 8_000  # what emotion recognisers take
_LONG_S: Final = 6.0  # of sound in a look, from which on it is worth while to leave off its beginning
_TIMED_S: Final = 5.0  # of sound in a look, from which on the next one may want the times of its words
_OVERLAP_S: Final = 2.0  # of confirmed speech heard again: the first words after a cut come out wrong
_OVERLAP_WORDS: Final = 3  # the same, in words

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The sound of an utterance or its beginning; ``voiced_s`` None if nobody knows how much is voiced."""

    pcm: bytes
    rate_hz: int
    voiced_s: float | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.pcm) / PCM_SAMPLE_BYTES / self.rate_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was heard in an utterance."""

    transcript: Transcript
    cost_s: float
    """Seconds that it took."""
    voice: object | None = None
    """For the speaker's mood to judge; None where nobody listened for an emotion."""


@dataclass(frozen=True, slots=True)
class View:
    """The end of an utterance that a look hears: from which sample at 16 kHz on, and the text before that."""

    begin: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What a look asks the engine; ``confirmed`` is how the text of the whole utterance must begin."""

    view: View
    segment: Segment
    hints: Hints
    confirmed: str


@dataclass(frozen=True, slots=True)
class Look:
    """A look that is to be made: at which utterance, what sound of it, and what is known."""

    recogniser: UtteranceRecogniser
    sound: Sound
    hints: Hints


def look_together(looks: Sequence[Look]) -> list[Finding]:
    """The findings of several looks, made in one call of their engine if it has such a call.

    With Whisper base, four looks take two thirds to three quarters of the time of four in turn, and hold
    their thread for all of it. As `UtteranceRecogniser.look` otherwise; all looks are at utterances of one
    engine.

    Raises:
        EngineError: one of them cannot be recognised, and then none is.
    """
    engine = looks[0].recogniser.engine
    if len(looks) == 1 or engine.capabilities.max_batch == 1 or not isinstance(engine, BatchEngine):
        return [look.recogniser.look(look.sound, look.hints) for look in looks]
    begun = time.monotonic()
    # What was said before would keep segments from being decoded together.
    asked = [look.recogniser.ask(look.sound, replace(look.hints, before="")) for look in looks]
    found = engine.transcribe_batch([one.segment for one in asked], [one.hints for one in asked])
    cost_s = (time.monotonic() - begun) / len(looks)
    return [
        Finding(transcript=look.recogniser.take(one, transcript), cost_s=cost_s)
        for look, one, transcript in zip(looks, asked, found, strict=True)
    ]


class UtteranceRecogniser:
    """Recognises one utterance as it grows. Several threads may be at it: each looks at sound of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        # The transcripts of pieces that are complete, by their span in samples.
        self._settled: dict[tuple[int, int], Transcript] = {}
        # What the last look heard. It moves on only: the text before it is confirmed.
        self._view = View()
        # The text of the last look and, of its last words, where each begins in it and in the sound.
        self._timed: tuple[str, list[tuple[int, int]]] = ("", [])
        # What the engine has made of the sound up to a sample, all of it, and that sample.
        self._encoded: tuple[int, object | None] = (0, None)

    def look(self, sound: Sound, hints: Hints) -> Finding:
        """The text of what has been said so far; no emotion.

        Costs what the engine needs for the end of the utterance: with Whisper base on one core 190 ms for 2
        s, 250 to 350 ms for anything over 4 s.
        """
        begun = time.monotonic()
        asked = self.ask(sound, hints)
        segment = asked.segment
        # A commit may follow with no sound in between; with voice activity a final hears more than a look.
        if sound.voiced_s is None and not asked.view.begin:
            segment = self._with_encoding(segment)
        transcript = self.take(asked, self.engine.transcribe(segment, asked.hints))
        return Finding(transcript=transcript, cost_s=time.monotonic() - begun)

    def ask(self, sound: Sound, hints: Hints) -> Question:
        """What a look at ``sound`` asks the engine; complete pieces are recognised on the way."""
        wide = _wide(sound)
        view = self._view = self._view_with(hints.prefix, len(wide))
        *complete, (last, _) = pieces(wide, self.engine.capabilities.max_segment_s)
        # Recognised now in any case, so that the final has no more to do than the last one.
        settled = [self._settle(span, wide, hints) for span in complete]
        if last > view.begin:
            view = View(last, _text_of(settled))
        segment = Segment(samples=wide[view.begin :], voiced_s=None if view.begin else sound.voiced_s)
        # What the client was shown beyond the beginning that is not heard again.
        shown = hints.prefix.removeprefix(view.said).lstrip() if hints.prefix.startswith(view.said) else ""
        times = self.engine.capabilities.times_words and segment.duration_s >= _TIMED_S
        asked = replace(
            hints,
            prefix=shown,
            # In its middle, an utterance needs no more than the confirmed words that are heard again.
            before=hints.before if not view.begin else view.said if view.begin == last else "",
            language=settled[0].language if settled else hints.language,
            word_times=times,
        )
        return Question(view, segment, asked, hints.prefix)

    def take(self, asked: Question, transcript: Transcript) -> Transcript:
        """The text of the whole utterance, given the engine's answer."""
        text = continued(asked.confirmed, joined(asked.view.said, transcript.text))
        marks = [
            (len(text) - len(rest), asked.view.begin + round(word.start_s * SAMPLE_RATE_HZ))
            for word in transcript.words
            if text.endswith(rest := transcript.text[word.index :])
        ]
        if marks:
            self._timed = (text, marks)
        return replace(transcript, text=text, words=())

    def conclude(self, sound: Sound, hints: Hints, emotions: EmotionRecogniser | None) -> Finding:
        """The text of the whole utterance, and what the voice is like if somebody listens for it."""
        begun = time.monotonic()
        hints = replace(hints, final=True)
        if emotions is None:
            transcript = self._transcribe(sound, hints)
            return Finding(transcript=transcript, cost_s=time.monotonic() - begun)
        # Side by side: the listener takes as long as four words, and there may be a core for it.
        with ThreadPoolExecutor(1, thread_name_prefix="emotion") as beside:
            at_line_rate = resample(samples_of_pcm(sound.pcm), sound.rate_hz, _EMOTION_RATE_HZ)
            hearing = beside.submit(emotions.hear, at_line_rate)
            transcript = self._transcribe(sound, hints)
            voice = hearing.result()
        return Finding(transcript=transcript, cost_s=time.monotonic() - begun, voice=voice)

    def _transcribe(self, sound: Sound, hints: Hints) -> Transcript:
        """The transcript of all the sound."""
        wide = _wide(sound)
        *complete, last = pieces(wide, self.engine.capabilities.max_segment_s)
        if not complete:
            end, encoding = self._encoded
            segment = Segment(
                samples=wide, voiced_s=sound.voiced_s, encoding=encoding if end == len(wide) else None
            )
            return self.engine.transcribe(segment, hints)
        settled = [self._settle(span, wide, hints) for span in complete]
        said, language = _text_of(settled), settled[0].language
        # What the client was shown beyond the complete pieces is the beginning of the last one.
        shown = hints.prefix.removeprefix(said).lstrip() if hints.prefix.startswith(said) else ""
        segment = Segment(samples=wide[slice(*last)])
        tail = self.engine.transcribe(segment, replace(hints, language=language, before=said, prefix=shown))
        return replace(
            tail,
            text=continued(hints.prefix, joined(said, tail.text)),
            language=language,
            language_probabilities=settled[0].language_probabilities,
        )

    def _settle(self, span: tuple[int, int], wide: Float32, hints: Hints) -> Transcript:
        """The transcript of a piece that will not grow any more; its language is that of the first."""
        if span not in self._settled:
            known = list(self._settled.values())
            language = known[0].language if known else hints.language
            before = _text_of(known) or hints.before
            segment = Segment(samples=wide[slice(*span)])
            asked = replace(hints, language=language, before=before, prefix="")
            self._settled[span] = self.engine.transcribe(segment, asked)
        return self._settled[span]

    def _view_with(self, confirmed: str, end: int) -> View:
        """What a look at the sound up to the sample ``end`` needs to hear, with what is confirmed by now."""
        text, marks = self._timed
        if (end - self._view.begin) / SAMPLE_RATE_HZ < _LONG_S or not text.startswith(confirmed):
            return self._view
        # Where the sound of what is not confirmed begins.
        open_at = min((sample for index, sample in marks if index >= len(confirmed)), default=0)
        known = [
            View(sample, confirmed[:index])
            for index, sample in marks
            if sample <= open_at - _OVERLAP_S * SAMPLE_RATE_HZ
            and len(units(confirmed[index:])) >= _OVERLAP_WORDS
        ]
        return max([self._view, *known], key=lambda view: view.begin)

    def _with_encoding(self, segment: Segment) -> Segment:
        if not self.engine.capabilities.encodes or not isinstance(self.engine, EncodingEngine):
            return segment
        self._encoded = (len(segment.samples), self.engine.encode(segment))
        return replace(segment, encoding=self._encoded[1])


def _wide(sound: Sound) -> Float32:
    """The samples at the rate of engines."""
    return resample(samples_of_pcm(sound.pcm), sound.rate_hz, SAMPLE_RATE_HZ)


def _text_of(transcripts: list[Transcript]) -> str:
    """The texts of successive pieces."""
    return reduce(joined, (transcript.text for transcript in transcripts), "")
