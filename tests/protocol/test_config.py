from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, strategies as st

from qa_service.protocol.config import LANGUAGES, MODELS, Extensions, SessionConfig, TurnDetection
from qa_service.protocol.errors import InvalidValue


def test_the_defaults_are_those_of_the_protocol():
    """Section 3.1: the table's defaults."""
    config = SessionConfig()

    assert (
        config.input_audio_format,
        config.sample_rate,
        config.language,
        config.corpus_text,
    ) == ("pcm", 16000, None, None)
    assert (
        TurnDetection(threshold=0.2, silence_duration_ms=800, prefix_padding_ms=300) == config.turn_detection
    )


def test_a_server_without_our_extensions_is_described_by_their_defaults():
    """Extension: no progress, emotions inferred, no detail."""
    assert Extensions(progress=False, emotion=True, emotion_detail=False) == SessionConfig().extensions


def test_there_are_27_languages_and_three_models():
    """Sections 1.2 and 3.1."""
    assert (len(LANGUAGES), len(MODELS)) == (27, 3)


@pytest.mark.parametrize(
    ("make", "param"),
    [
        (lambda: SessionConfig(input_audio_format="pcm16"), "session.input_audio_format"),
        (lambda: SessionConfig(sample_rate=44100), "session.sample_rate"),
        (lambda: SessionConfig(language="xx"), "session.input_audio_transcription.language"),
        (lambda: TurnDetection(threshold=1.01), "session.turn_detection.threshold"),
        (lambda: TurnDetection(threshold=-1.01), "session.turn_detection.threshold"),
        (lambda: TurnDetection(silence_duration_ms=199), "session.turn_detection.silence_duration_ms"),
        (lambda: TurnDetection(silence_duration_ms=6001), "session.turn_detection.silence_duration_ms"),
        (lambda: TurnDetection(prefix_padding_ms=-1), "session.turn_detection.prefix_padding_ms"),
    ],
)
def test_a_value_outside_its_range_is_refused_with_its_path(make, param):
    """Section 3.1: ranges."""
    with pytest.raises(InvalidValue) as caught:
        make()

    assert param == caught.value.param
    assert str(caught.value).startswith(param)


def test_a_changed_copy_is_checked_too():
    """Section 3.1: an update must not slip past the ranges."""
    with pytest.raises(InvalidValue):
        msgspec.structs.replace(SessionConfig(), sample_rate=11025)


@given(threshold=st.floats(-1, 1), silence=st.integers(200, 6000), padding=st.integers(0, 5000))
def test_every_value_within_the_ranges_is_taken(threshold, silence, padding):
    """Section 3.1: the ranges include their ends."""
    turn = TurnDetection(threshold=threshold, silence_duration_ms=silence, prefix_padding_ms=padding)

    assert (threshold, silence, padding) == (turn.threshold, turn.silence_duration_ms, turn.prefix_padding_ms)


@pytest.mark.parametrize(("threshold", "probability"), [(-1.0, 0.0), (0.0, 0.5), (0.2, 0.6), (1.0, 1.0)])
def test_a_threshold_maps_to_a_speech_probability(threshold, probability):
    """Section 5.3: p = (threshold + 1) / 2."""
    assert probability == TurnDetection(threshold=threshold).speech_probability


def test_no_turn_detection_is_manual_mode():
    """Section 3.1: null selects manual."""
    assert [SessionConfig().manual, SessionConfig(turn_detection=None).manual] == [False, True]
