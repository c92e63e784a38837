"""One utterance made into text and emotion: what a recognition thread runs.

Decided here: an utterance too long for the engine is cut into pieces. The cuts do not move as it grows, so
what was recognised of all pieces but the last is kept, and each new look at it costs one piece.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from qa_service.asr_server.agreement import continued
from qa_service.asr_server.emotion_recogniser import EmotionRecogniser
from qa_service.asr_server.engines import SAMPLE_RATE_HZ, Engine, Hints, Segment, Transcript
from qa_service.asr_server.engines.cutting import pieces
from qa_service.audio.resample import PCM_SAMPLE_BYTES, resample, samples_of_pcm

_EMOTION_RATE_HZ: Final = 8_000  # what emotion recognisers take

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


class UtteranceRecogniser:
    """Recognises one utterance as it grows. Several threads may be at it: each looks at sound of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # The transcripts of pieces that are complete, by their span in samples.
        self._settled: dict[tuple[int, int], Transcript] = {}

    def look(self, sound: Sound, hints: Hints) -> Finding:
        """The text of what has been said so far; no emotion."""
        begun = time.monotonic()
        transcript = self._transcribe(samples_of_pcm(sound.pcm), sound, hints)
        return Finding(transcript=transcript, cost_s=time.monotonic() - begun)

    def conclude(self, sound: Sound, hints: Hints, emotions: EmotionRecogniser | None) -> Finding:
        """The text of the whole utterance, and what the voice is like if somebody listens for it."""
        begun = time.monotonic()
        samples = samples_of_pcm(sound.pcm)
        hints = replace(hints, final=True)
        if emotions is None:
            transcript = self._transcribe(samples, sound, hints)
            return Finding(transcript=transcript, cost_s=time.monotonic() - begun)
        # Side by side: the listener takes as long as four words, and there may be a core for it.
        with ThreadPoolExecutor(1, thread_name_prefix="emotion") as beside:
            at_line_rate = resample(samples, sound.rate_hz, _EMOTION_RATE_HZ)
            hearing = beside.submit(emotions.hear, at_line_rate)
            transcript = self._transcribe(samples, sound, hints)
            voice = hearing.result()
        return Finding(transcript=transcript, cost_s=time.monotonic() - begun, voice=voice)

    def _transcribe(self, samples: Float32, sound: Sound, hints: Hints) -> Transcript:
        wide = resample(samples, sound.rate_hz, SAMPLE_RATE_HZ)
        *complete, last = pieces(wide, self._engine.capabilities.max_segment_s)
        if not complete:
            return self._engine.transcribe(Segment(samples=wide, voiced_s=sound.voiced_s), hints)
        settled = [self._settle(span, wide, hints) for span in complete]
        said, language = _joined(settled), settled[0].language
        # What the client was shown beyond the complete pieces is the beginning of the last one.
        shown = hints.prefix.removeprefix(said).lstrip() if hints.prefix.startswith(said) else ""
        segment = Segment(samples=wide[slice(*last)])
        tail = self._engine.transcribe(segment, replace(hints, language=language, before=said, prefix=shown))
        return replace(
            tail,
            text=continued(hints.prefix, _joined([*settled, tail])),
            language=language,
            language_probabilities=settled[0].language_probabilities,
        )

    def _settle(self, span: tuple[int, int], wide: Float32, hints: Hints) -> Transcript:
        """The transcript of a piece that will not grow any more; its language is that of the first."""
        if span not in self._settled:
            known = list(self._settled.values())
            language = known[0].language if known else hints.language
            before = _joined(known) or hints.before
            segment = Segment(samples=wide[slice(*span)])
            asked = replace(hints, language=language, before=before, prefix="")
            self._settled[span] = self._engine.transcribe(segment, asked)
        return self._settled[span]


def _joined(transcripts: list[Transcript]) -> str:
    """The texts of successive pieces, with a blank between them where the script has blanks."""
    whole = ""
    for transcript in transcripts:
        gap = " " if whole and transcript.text[:1].isascii() else ""
        whole += gap + transcript.text
    return whole
