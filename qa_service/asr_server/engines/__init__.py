"""The seam between the server and what turns sound into text.

An `Engine` is loaded once, shared by all sessions and called from several threads at a time. It sees a whole
segment, never a stream: the server decides when to ask and with what.

Only `Engine` has to be offered. What an engine can do beyond it stands in its `Capabilities`: several
segments in one call (`BatchEngine`), encoder features that a later call takes up again (`EncodingEngine`),
and when each word was said (`Hints.word_times`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ: Final = 16_000
"""What all engines take."""

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine is and can do; the server asks for nothing else."""

    engine: str
    """Its kind, as results name it: ``whisper``."""
    model: str
    """What it has loaded, as results name it: ``whisper-base``."""
    max_segment_s: float
    """The longest segment it takes; the server cuts longer utterances at their pauses."""
    detects_language: bool
    """Whether ``Transcript.language`` is found out when the hints name none."""
    takes_corpus: bool
    """Whether background text makes a difference to it."""
    times_words: bool = False
    """Whether ``Transcript.words`` is found out where the hints ask for it."""
    max_batch: int = 1
    """How many segments one call should take for the least work per segment; over 1: a `BatchEngine`."""
    encodes: bool = False
    """Whether it is an `EncodingEngine`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Sound to recognise: mono float32 in ±1 at 16 kHz, and how much of it is voiced."""

    samples: Float32
    voiced_s: float | None = None
    """None where nobody listened (manual mode)."""
    encoding: object | None = None
    """What the same engine's `EncodingEngine.encode` made of these samples; None: not done yet."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What is known before listening."""

    language: str | None = None
    """The language to expect, in the protocol's codes; None to detect it."""
    language_prior: Mapping[str, float] = field(default_factory=dict)
    """How likely each language is by what was heard before; one that is not in it is not ruled out."""
    language_heard: Mapping[str, float] = field(default_factory=dict)
    """The probabilities found in most of this sound before, if they were clear: no need to detect again."""
    corpus: str | None = None
    """Background text with names and terms."""
    before: str = ""
    """What the same speaker said just before; the segment may be the rest of a sentence or of a number."""
    prefix: str = ""
    """How the text must begin, because the client has been shown that much as confirmed."""
    final: bool = False
    """Whether this is the last look at the segment, worth more work than one on the way."""
    word_times: bool = False
    """Whether ``Transcript.words`` is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """When a word of a transcript was said."""

    index: int
    """Where the word, with the blanks before it, begins in the text: characters."""
    start_s: float
    """Seconds from the beginning of the segment; right within a few tenths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What was said, or "" if nothing was understood."""

    text: str
    language: str
    """In the protocol's codes."""
    language_probabilities: Mapping[str, float] = field(default_factory=dict)
    """Over all languages the engine can tell apart, before any prior; empty if it was told the language."""
    no_speech: float = 0.0
    """Probability that there was no speech at all, 0 to 1."""
    mean_log_probability: float = 0.0
    """Mean log probability of the tokens: how sure the engine is of the words."""
    words: tuple[Word, ...] = ()
    """Words in order, the last one of the text included; those of a given prefix may be left out."""


class Engine(Protocol):
    """Turns segments of sound into text."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine is and can do."""
        ...

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        """Recognise one segment; may be called by several threads at once.

        Raises:
            EngineError: this segment cannot be recognised; the engine stays usable.
        """
        ...


@runtime_checkable
class BatchEngine(Engine, Protocol):
    """An engine to which several segments in one call are less work than one after another."""

    def transcribe_batch(self, segments: Sequence[Segment], hints: Sequence[Hints]) -> list[Transcript]:
        """Recognise segments, as many as there are hints; any number, of any lengths.

        Raises:
            EngineError: one of them cannot be recognised, and then none is.
        """
        ...


@runtime_checkable
class EncodingEngine(Engine, Protocol):
    """An engine whose work falls into two parts, of which the first depends on nothing but the sound."""

    def encode(self, segment: Segment) -> object:
        """Encoder features of a segment, for ``Segment.encoding``; kept only as long as the utterance lasts.

        Raises:
            EngineError: this segment cannot be recognised.
        """
        ...
