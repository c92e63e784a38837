from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from qa_service.asr_server.engines import Hints, Segment
from qa_service.asr_server.engines.scripted import (
    CHORD_S,
    WORD_S,
    ScriptedEngine,
    markers,
    read_markers,
)
from qa_service.audio.line import through_line, to_float
from qa_service.audio.resample import resample


def heard(samples: np.ndarray, rate_hz: int) -> list[int]:
    return read_markers(resample(samples, rate_hz, 16_000))


@given(st.lists(st.integers(0, 255), max_size=12), st.sampled_from([8000, 16_000]), st.integers(0, 900))
@settings(max_examples=50, deadline=None)
def test_words_are_read_as_they_were_written(numbers: list[int], rate_hz: int, lead: int) -> None:
    sound = markers([f"w{n}" for n in numbers], rate_hz=rate_hz)
    padded = np.concatenate((np.zeros(lead, dtype=np.float32), sound, np.zeros(800, dtype=np.float32)))

    assert heard(padded, rate_hz) == numbers


@given(st.lists(st.integers(0, 255), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_words_survive_a_telephone_line(numbers: list[int]) -> None:
    line = through_line(markers([f"w{n}" for n in numbers], rate_hz=8000), 8000)

    assert heard(to_float(line), 8000) == numbers


def test_a_word_that_is_cut_is_lost_and_none_is_made_up() -> None:
    sound = markers(["w17", "w34", "w51"], rate_hz=8000)
    cut = round((WORD_S + CHORD_S) * 8000)

    assert (heard(sound[:cut], 8000), heard(sound[cut:], 8000)) == ([17], [51])


def test_a_repeated_word_is_heard_as_often_as_it_is_said() -> None:
    assert heard(markers(["w5"] * 4, rate_hz=8000), 8000) == [5] * 4


def test_an_engine_says_the_words_of_its_own_vocabulary() -> None:
    vocabulary = ("thank", "you", "goodbye")
    sound = markers(("thank", "you"), rate_hz=16_000, vocabulary=vocabulary)
    transcript = ScriptedEngine(vocabulary, language="de").transcribe(Segment(samples=sound), Hints())

    assert (transcript.text, transcript.language) == ("thank you", "de")


def test_a_word_outside_the_vocabulary_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="hello"):
        markers(["hello"], rate_hz=8000)
