"""How Whisper is called, with a tiny model whose words mean nothing: batches, encodings, languages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from qa_service.asr_server.engines import BatchEngine, EncodingEngine, Hints, Segment
from qa_service.asr_server.engines.whisper import WhisperEngine
from qa_service.asr_server.errors import EngineError
from tests.asr_server.tiny_whisper import SPECIAL, make_model


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    folder = make_model(tmp_path_factory.mktemp("models") / "tiny")
    return WhisperEngine(folder, model="tiny", threads=1)


@pytest.fixture
def encoded(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many segments each pass of the encoder was given."""
    sizes: list[int] = []
    encode = engine._encode

    def count(segments):
        sizes.append(len(segments))
        return encode(segments)

    monkeypatch.setattr(engine, "_encode", count)
    return sizes


def sound(seconds: float, seed: int = 5) -> Segment:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16_000)).astype(np.float32)
    return Segment(samples=samples)


SILENCE = Segment(samples=np.zeros(16_000, dtype=np.float32))
GERMAN = Hints(language="de")


def test_it_is_what_its_capabilities_say(engine: WhisperEngine) -> None:
    assert isinstance(engine, BatchEngine)
    assert isinstance(engine, EncodingEngine)
    assert engine.capabilities.max_batch > 1
    assert engine.capabilities.encodes
    assert engine.capabilities.times_words


def test_segments_of_one_window_are_encoded_together(engine: WhisperEngine, encoded: list[int]) -> None:
    segments = [sound(1.0), sound(8.0), SILENCE, sound(3.0)]
    hints = [GERMAN, Hints(language="en", prefix="shown"), Hints(prefix="so far"), GERMAN]
    transcripts = engine.transcribe_batch(segments, hints)

    assert encoded == [3]
    assert [one.language for one in transcripts] == ["de", "en", "en", "de"]
    assert transcripts[2].text == "so far"


@pytest.mark.parametrize(
    "hints", [Hints(language="de", before="said before"), Hints(language="de", final=True)]
)
def test_what_cannot_be_decoded_together_is_not(
    engine: WhisperEngine, encoded: list[int], hints: Hints
) -> None:
    engine.transcribe_batch([sound(1.0), sound(2.0)], [GERMAN, hints])
    engine.transcribe_batch([sound(1.0), sound(12.0)], [GERMAN, GERMAN])

    assert encoded == [1, 1, 1, 1]


def test_a_segment_in_a_batch_comes_out_as_alone(engine: WhisperEngine) -> None:
    segments = [sound(2.0, seed) for seed in range(3)]
    hints = [Hints(language="de", prefix=f"number {n}") for n in range(3)]
    together = engine.transcribe_batch(segments, hints)
    alone = [engine.transcribe(*asked) for asked in zip(segments, hints, strict=True)]

    assert [one.text for one in together] == [one.text for one in alone]


def test_languages_are_detected_for_each_segment_that_none_is_named_for(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tiny model detects languages that it has no words for.
    monkeypatch.setattr(engine, "_language_token", lambda _: SPECIAL["<|de|>"])
    heard = {"fr": 1.0}
    hints = [GERMAN, Hints(), Hints(language_heard=heard)]
    told, detected, known = engine.transcribe_batch([sound(2.0)] * 3, hints)

    assert (told.language, told.language_probabilities) == ("de", {})
    assert sum(detected.language_probabilities.values()) == pytest.approx(1.0)
    assert (known.language, known.language_probabilities) == ("fr", heard)


def test_an_encoding_is_taken_up(engine: WhisperEngine, encoded: list[int]) -> None:
    segment = sound(2.0)
    encoding = engine.encode(segment)
    taken_up = engine.transcribe(Segment(samples=segment.samples, encoding=encoding), GERMAN)

    assert encoded == [1]
    assert taken_up == engine.transcribe(segment, GERMAN)


def test_a_language_without_a_token_goes_by_another_name_or_by_its_script(engine: WhisperEngine) -> None:
    tokens = {"<|tl|>": 1, "<|zh|>": 2, "<|de|>": 3}
    with_cantonese = tokens | {"<|yue|>": 4}

    def token(language: str, vocabulary: dict[str, int]) -> int:
        lookup = type("Vocabulary", (), {"token_to_id": staticmethod(vocabulary.get)})
        real, engine._tokenizer = engine._tokenizer, lookup
        try:
            return engine._language_token(language)
        finally:
            engine._tokenizer = real

    assert [token(language, tokens) for language in ("fil", "yue", "de")] == [1, 2, 3]
    assert token("yue", with_cantonese) == 4
    with pytest.raises(EngineError, match=r"vocabulary lacks <\|sw\|>"):
        token("sw", tokens)
