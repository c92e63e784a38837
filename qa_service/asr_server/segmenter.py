"""Where utterances begin and end: endpointing over frames of a voice detector, in audio time alone.

Decided here (protocol section 5.3 and 4.4):

- Speech begins with the first frame over the threshold, once enough of them have come that it is no click;
  the padding before that onset belongs to the utterance. In speech, a lower threshold holds (hysteresis).
- It ends when the configured silence has passed since a voiced frame was last audible; the silence waited for
  belongs to the utterance's span. What is voiced and inaudible for longer than a detector's tail is speech.
- An utterance over 60 s is cut at its least voiced moment of the last seconds and goes on as a new one.
- ``processed_ms``: no utterance will begin before that time any more.

Invariants: ``0 <= start < end <= received``; utterances go upward and do not overlap; ``processed_ms`` never
falls. How fast the audio comes, and in which pieces, changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from qa_service.asr_server.audibility import FRAME_MS, Audibility, VoiceFrame

_HYSTERESIS: Final = 0.15  # how far below the threshold speech already begun may fall; Silero's own choice
_MIN_SPEECH_MS: Final = 96  # three frames: line clicks and key presses light up one or two
_CANDIDATE_GAP_MS: Final = 160  # unvoiced time after which frames over the threshold no longer add up
_TAIL_MS: Final = 320  # longest time that Silero hears speech after its end
_TAIL_SHARE: Final = (
    0.75  # of the silence waited for that may be such a tail: no voiced frame ends an utterance
)
CAP_MS: Final = 60_000  # protocol section 5.3
CUT_SEARCH_MS: Final = 3_000  # how far back from the cap a good moment for the cut is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpointing:
    """The configuration of one session's endpointing; times in milliseconds."""

    speech_probability: float
    silence_ms: int
    padding_ms: int
    min_speech_ms: int = _MIN_SPEECH_MS
    cap_ms: int = CAP_MS


@dataclass(frozen=True, slots=True)
class Onset:
    """An utterance has begun at ``start_ms``, padding included."""

    start_ms: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The open utterance has ended at ``end_ms``; its ``voiced_ms`` ended at ``speech_end_ms``."""

    end_ms: int
    speech_end_ms: int
    voiced_ms: int


Boundary: TypeAlias = Onset | Endpoint


@dataclass(frozen=True, slots=True)
class OpenSpeech:
    """The utterance that is going on: where it began, where voice was last audible, how much is voiced."""

    start_ms: int
    speech_end_ms: int
    voiced_ms: int
    detected_ms: int
    """Where the detector last heard voice: not before ``speech_end_ms``."""


class Segmenter:
    """The endpointing of one stream of frames that begins at ``base_ms`` of the session's audio."""

    def __init__(self, endpointing: Endpointing, base_ms: int = 0) -> None:
        self._endpointing = endpointing
        # The end of the last frame taken.
        self._now_ms = base_ms
        # No utterance may begin before: the end of the last one, or what was already reported as processed.
        self._floor_ms = base_ms
        self._audibility = Audibility()
        # The utterance going on, if there is one.
        self._open: OpenSpeech | None = None
        # First frame, last frame's end and sum of the voiced frames that may become an onset.
        self._candidate: OpenSpeech | None = None
        # End and probability of the frames among which an overlong utterance is cut.
        self._recent: deque[tuple[int, float]] = deque(maxlen=CUT_SEARCH_MS // FRAME_MS)

    @property
    def open(self) -> OpenSpeech | None:
        """The utterance that has begun and not ended."""
        return self._open

    @property
    def silence_ms(self) -> int:
        """Time since voice was last audible in the open utterance; 0 if there is none."""
        return self._now_ms - self._open.speech_end_ms if self._open else 0

    @property
    def silence_left_ms(self) -> int:
        """Time until the open utterance ends if it stays silent."""
        return self._endpointing.silence_ms - self.silence_ms

    @property
    def processed_ms(self) -> int:
        """The time before which no utterance will begin any more; the open one's start while there is one."""
        if self._open:
            return self._open.start_ms
        earliest_onset = self._candidate.start_ms if self._candidate else self._now_ms
        return max(self._floor_ms, earliest_onset - self._endpointing.padding_ms)

    def reconfigure(self, endpointing: Endpointing) -> None:
        """Use other settings from here on; what was reported as processed stays so."""
        self._floor_ms = self.processed_ms
        self._endpointing = endpointing

    def push(self, frames: Sequence[VoiceFrame]) -> list[Boundary]:
        """Take the next frames; give the boundaries they brought, in order."""
        return [boundary for frame in frames for boundary in self._take(frame)]

    def flush(self, received_ms: int) -> list[Boundary]:
        """The audio ends at ``received_ms``: end the open utterance as if silence had been reached."""
        if self._open is None:
            return []
        return [self._close(received_ms)]

    def drop(self) -> None:
        """Forget the open utterance and everything heard so far (``input_audio_buffer.clear``)."""
        self._open = self._candidate = None
        self._floor_ms = self._now_ms

    def _take(self, frame: VoiceFrame) -> Iterable[Boundary]:
        self._now_ms += FRAME_MS
        self._recent.append((self._now_ms, frame.probability))
        if self._open is None:
            return self._await_speech(frame)
        return self._follow_speech(self._open, frame)

    def _await_speech(self, frame: VoiceFrame) -> Iterable[Boundary]:
        candidate = self._candidate
        self._audibility.learn_noise(frame)
        if frame.probability >= self._endpointing.speech_probability:
            self._candidate = self._extend(candidate or self._new_candidate(), frame)
            if self._candidate.voiced_ms >= self._endpointing.min_speech_ms:
                return [self._begin(self._candidate)]
        elif candidate and self._now_ms - candidate.detected_ms >= _CANDIDATE_GAP_MS:
            self._candidate = None
        return ()

    def _new_candidate(self) -> OpenSpeech:
        self._audibility.begin()
        begin_ms = self._now_ms - FRAME_MS
        return OpenSpeech(begin_ms, begin_ms, 0, begin_ms)

    def _begin(self, candidate: OpenSpeech) -> Onset:
        start_ms = max(self._floor_ms, candidate.start_ms - self._endpointing.padding_ms)
        self._open = replace(candidate, start_ms=start_ms)
        self._candidate = None
        return Onset(start_ms)

    def _follow_speech(self, speech: OpenSpeech, frame: VoiceFrame) -> Iterable[Boundary]:
        threshold = self._endpointing.speech_probability
        pausing = speech.detected_ms < self._now_ms - FRAME_MS
        if frame.probability >= (threshold if pausing else threshold - _HYSTERESIS):
            speech = self._open = self._extend(speech, frame)
        if self._now_ms - speech.speech_end_ms >= self._endpointing.silence_ms:
            return [self._close(speech.speech_end_ms + self._endpointing.silence_ms)]
        if self._now_ms - speech.start_ms >= self._endpointing.cap_ms:
            return self._cut(speech)
        return ()

    def _extend(self, speech: OpenSpeech, frame: VoiceFrame) -> OpenSpeech:
        """``speech`` with one more voiced frame, that ends now."""
        audible_ms = self._audibility.audible_ms(frame)
        longest_tail_ms = min(_TAIL_MS, round(_TAIL_SHARE * self._endpointing.silence_ms))
        return OpenSpeech(
            speech.start_ms,
            max(
                self._now_ms - FRAME_MS + audible_ms if audible_ms else speech.speech_end_ms,
                self._now_ms - longest_tail_ms,
                speech.speech_end_ms,
            ),
            speech.voiced_ms + FRAME_MS,
            self._now_ms,
        )

    def _cut(self, speech: OpenSpeech) -> Iterable[Boundary]:
        """End an overlong utterance at its least voiced moment; what was said after that begins the next."""
        moments = [(probability, end_ms) for end_ms, probability in self._recent if end_ms > speech.start_ms]
        _, cut_ms = min(moments)
        endpoint = self._close(cut_ms)
        if speech.speech_end_ms <= cut_ms:
            return [endpoint]
        voiced_ms = speech.speech_end_ms - cut_ms
        self._open = OpenSpeech(cut_ms, speech.speech_end_ms, voiced_ms, speech.detected_ms)
        return [endpoint, Onset(cut_ms)]

    def _close(self, end_ms: int) -> Endpoint:
        assert self._open is not None  # noqa: S101 - only called while an utterance is open
        endpoint = Endpoint(end_ms, min(end_ms, self._open.speech_end_ms), self._open.voiced_ms)
        self._open = None
        self._floor_ms = end_ms
        return endpoint
