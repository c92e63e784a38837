"""The seam between the server and what turns sound into text.

An `Engine` is loaded once, shared by all sessions and called from several threads at a time. It sees a whole
segment, never a stream: the server decides when to ask and with what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Sound to recognise: mono float32 in ±1 at 16 kHz, and how much of it is voiced."""

    samples: Float32
    voiced_s: float | None = None
    """None where nobody listened (manual mode)."""

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
