"""What a session can be configured to: allowed values, ranges, defaults (section 3.1), and our extensions.

The ranges are enforced where the values are made, so a client cannot build a configuration that a server
would have to refuse, and a server checks an update by building its configuration.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from qa_service.protocol.errors import InvalidValue

DEFAULT_MODEL: Final = "qwen3-asr-flash-realtime"
MODELS: Final = (DEFAULT_MODEL, "qwen3-asr-flash-realtime-2026-02-10", "qwen3-asr-flash-realtime-2025-10-27")
"""Model names that every server accepts (section 1.2)."""

LANGUAGES: Final = frozenset(
    "zh yue en ja de ko ru fr pt ar it es hi id th tr uk vi cs da fil fi is ms no pl sv".split()
)
"""The 27 language codes that a session can be told to expect (section 3.1)."""

SAMPLE_RATES: Final = (8000, 16000)  # Hz, section 3.1
THRESHOLD_RANGE: Final = (-1.0, 1.0)  # voice-activity scale of the protocol, section 3.1
SILENCE_MS_RANGE: Final = (200, 6000)  # section 3.1
PREFIX_MS_RANGE: Final = (0, 5000)  # the protocol gives none; this bounds what a server has to keep

AudioFormat = Literal["pcm", "opus"]


def _require_range(param: str, value: float, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not low <= value <= high:
        raise InvalidValue(param, f"must be between {low:g} and {high:g}")


class TurnDetection(msgspec.Struct, frozen=True, kw_only=True):
    """How the server's voice activity detection ends turns.

    ``threshold`` goes from -1 to 1, lower is more sensitive; ``silence_duration_ms`` of silence end a turn;
    ``prefix_padding_ms`` before the onset belong to it. Raises `InvalidValue` outside the ranges.
    """

    threshold: float = 0.2
    silence_duration_ms: int = 800
    prefix_padding_ms: int = 300

    def __post_init__(self) -> None:
        _require_range("session.turn_detection.threshold", self.threshold, THRESHOLD_RANGE)
        _require_range(
            "session.turn_detection.silence_duration_ms", self.silence_duration_ms, SILENCE_MS_RANGE
        )
        _require_range("session.turn_detection.prefix_padding_ms", self.prefix_padding_ms, PREFIX_MS_RANGE)

    @property
    def speech_probability(self) -> float:
        """The threshold as a probability of speech, 0 to 1 (section 5.3)."""
        return (self.threshold + 1) / 2


class Extensions(msgspec.Struct, frozen=True, kw_only=True):
    """Our opt-in additions to the protocol; the defaults describe a server that knows none of them.

    Sent as ``session.qa``; a server that honours them echoes the object in ``session.updated``, and only to
    a client that has sent it.

    ``progress``: send ``qa.progress`` events. ``emotion``: infer emotions from the voice at all.
    ``emotion_detail``: give confidence, distribution, rank, abstention and engine with each result.
    ``leg_state``: give with each final result what has been learnt of the speaker; a text is such a state,
    handed out by an earlier session of the same leg, for this one to go on with.
    """

    progress: bool = False
    emotion: bool = True
    emotion_detail: bool = False
    leg_state: bool | str = False


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of a session; no ``turn_detection`` is manual mode, no ``language`` automatic.

    Raises `InvalidValue` for a format, rate or language that the protocol does not have.
    """

    input_audio_format: AudioFormat = "pcm"
    sample_rate: int = 16000
    language: str | None = None
    corpus_text: str | None = None
    turn_detection: TurnDetection | None = TurnDetection()
    extensions: Extensions = Extensions()

    def __post_init__(self) -> None:
        if self.input_audio_format not in ("pcm", "opus"):
            raise InvalidValue("session.input_audio_format", "must be pcm or opus")
        if self.sample_rate not in SAMPLE_RATES:
            raise InvalidValue("session.sample_rate", "must be 8000 or 16000")
        if self.language is not None and self.language not in LANGUAGES:
            raise InvalidValue(
                "session.input_audio_transcription.language", f"must be one of {', '.join(sorted(LANGUAGES))}"
            )

    @property
    def manual(self) -> bool:
        """Whether turns end by the client's commit instead of the server's voice activity detection."""
        return self.turn_detection is None
