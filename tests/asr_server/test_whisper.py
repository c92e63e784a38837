"""Whisper on sounds that need no recordings; how well it recognises speech is in test_accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import qa_service.samples
from qa_service.asr_server.engines import Hints, Segment
from qa_service.asr_server.engines.whisper import WhisperEngine
from qa_service.asr_server.errors import EngineError
from qa_service.audio.resample import resample
from qa_service.models import ensure
from qa_service.protocol import LANGUAGES

SAMPLES = Path(qa_service.samples.__file__).parent


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest) -> WhisperEngine:
    folder = ensure("whisper-base", request.getfixturevalue("cache_dir"))
    return WhisperEngine(folder, model="whisper-base", threads=1)


def noise(seconds: float, level: float) -> Segment:
    samples = np.random.default_rng(11).normal(0, level, round(seconds * 16_000)).astype(np.float32)
    return Segment(samples=samples, voiced_s=0.1)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=str(tmp_path)):
        WhisperEngine(tmp_path, model="none", threads=1)


@pytest.mark.models
def test_silence_has_no_text(engine: WhisperEngine) -> None:
    silence = Segment(samples=np.zeros(32_000, dtype=np.float32))
    empty = Segment(samples=np.zeros(0, dtype=np.float32))

    assert engine.transcribe(silence, Hints()).text == ""
    assert engine.transcribe(empty, Hints()).text == ""


@pytest.mark.models
@pytest.mark.parametrize("level", [0.001, 0.02, 0.2])
def test_noise_makes_no_sentences(engine: WhisperEngine, level: float) -> None:
    transcript = engine.transcribe(noise(3.0, level), Hints(language="en"))

    assert len(transcript.text) <= 12


@pytest.mark.models
def test_what_was_confirmed_stays_the_beginning(engine: WhisperEngine) -> None:
    transcript = engine.transcribe(noise(2.0, 0.05), Hints(language="en", prefix="The train to Leeds"))

    assert transcript.text.startswith("The train to Leeds")
    assert transcript.text.count("The train to Leeds") == 1


@pytest.mark.models
def test_every_language_of_the_protocol_can_be_asked_for(engine: WhisperEngine) -> None:
    sound = noise(0.5, 0.05)

    assert {
        engine.transcribe(sound, Hints(language=language)).language for language in ("fil", "yue", "no")
    } == {"fil", "yue", "no"}
    for language in LANGUAGES:
        engine._language_token(language)


@pytest.mark.models
def test_languages_are_detected_in_the_codes_of_the_protocol(engine: WhisperEngine) -> None:
    transcript = engine.transcribe(noise(2.0, 0.05), Hints())

    assert transcript.language in LANGUAGES
    assert transcript.language_probabilities.keys() <= LANGUAGES
    assert sum(transcript.language_probabilities.values()) == pytest.approx(1.0)


@pytest.mark.models
def test_background_text_is_not_read_out(engine: WhisperEngine) -> None:
    corpus = "Model names: Qwen, Tongyi, Okafor, reimbursement, deductible."
    transcript = engine.transcribe(noise(2.0, 0.02), Hints(language="en", corpus=corpus))

    assert "Tongyi" not in transcript.text


@pytest.mark.models
def test_the_longest_segment_that_it_promises_is_taken(engine: WhisperEngine) -> None:
    longest = noise(engine.capabilities.max_segment_s, 0.01)

    assert len(engine.transcribe(longest, Hints(language="en")).text) < 200


@pytest.mark.models
def test_confirmed_words_that_were_said_change_nothing(engine: WhisperEngine) -> None:
    legs, rate_hz = soundfile.read(SAMPLES / "en-cancellation.flac", dtype="float32", frames=64_000)
    spoken = Segment(samples=resample(np.ascontiguousarray(legs[:, 1]), rate_hz, 16_000))
    whole = engine.transcribe(spoken, Hints()).text
    confirmed = " ".join(whole.split()[:5])

    assert confirmed == "Thank you for calling Northwind"
    assert engine.transcribe(spoken, Hints(prefix=confirmed)).text == whole


@pytest.mark.models
@pytest.mark.parametrize("count", [1, 2, 4, 7, 12])
@pytest.mark.parametrize("final", [False, True])
def test_confirmed_words_are_never_said_twice_however_they_are_written(
    engine: WhisperEngine, count: int, *, final: bool
) -> None:
    legs, rate_hz = soundfile.read(SAMPLES / "en-cancellation.flac", dtype="float32", frames=64_000)
    spoken = Segment(samples=resample(np.ascontiguousarray(legs[:, 1]), rate_hz, 16_000))
    whole = engine.transcribe(spoken, Hints(final=final)).text.split()
    confirmed = " ".join(whole[:count]).lower().replace(" ", ", ")
    words = engine.transcribe(spoken, Hints(prefix=confirmed, final=final)).text.split()

    assert " ".join(words).startswith(confirmed)
    assert words[count:] == whole[count:]


@pytest.mark.models
def test_what_was_said_before_is_not_said_again(engine: WhisperEngine) -> None:
    legs, rate_hz = soundfile.read(SAMPLES / "en-cancellation.flac", dtype="float32", frames=64_000)
    spoken = Segment(samples=resample(np.ascontiguousarray(legs[:, 1]), rate_hz, 16_000))
    alone = engine.transcribe(spoken, Hints()).text

    for before in (alone, "Please hold the line.", f"{alone} {alone} {alone}"):
        assert engine.transcribe(spoken, Hints(before=before)).text == alone
