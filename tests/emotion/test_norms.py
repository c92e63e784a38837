"""With whom a voice is compared: the service's usual voice, the speaker's calm one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from qa_service.asr_server.emotion.norms import MOST_OF_ONE_SPEAKER, ServiceNorm, SpeakerPast

WIDTH = 3
VOICES = hnp.arrays(np.float32, WIDTH, elements=st.floats(-4, 4, width=32))


def voice(level: float) -> np.ndarray:
    return np.full(WIDTH, level, np.float32)


@given(VOICES)
def test_an_empty_service_judges_by_the_training_data(values):
    assert np.allclose(ServiceNorm.empty(WIDTH).apply(values), values)


@given(VOICES)
def test_an_unknown_speaker_is_taken_as_is(values):
    assert SpeakerPast.empty(WIDTH).apply(values, voice(1)).tolist() == values.tolist()


@given(st.lists(VOICES, min_size=2, max_size=100))
def test_up_to_its_memory_a_service_knows_the_exact_mean_and_variance(heard):
    norm = ServiceNorm.empty(WIDTH)
    for values in heard:
        norm = norm.after(values)

    assert norm.count == len(heard)
    assert np.allclose(norm.mean, np.mean(heard, axis=0), atol=1e-3)


def test_the_variance_is_that_of_what_was_heard():
    draw = np.random.default_rng(4)
    heard = draw.normal(0.5, 2.0, (100, WIDTH)).astype(np.float32)
    norm = ServiceNorm.empty(WIDTH)
    for values in heard:
        norm = norm.after(values)

    # The first utterance has no variance of its own: the training data's stands in, and fades as 1/n.
    assert norm.variance == pytest.approx(heard.var(axis=0), rel=0.05)


def test_a_service_that_always_sounds_alike_becomes_the_norm_but_never_wholly():
    norm = ServiceNorm.empty(WIDTH)
    for _ in range(1000):
        norm = norm.after(voice(2))

    left_of_it = norm.mean * 100 / 120

    assert norm.count == 100
    assert left_of_it == pytest.approx(voice(2 * 100 / 120), rel=1e-3)
    assert (norm.apply(voice(2)) > 0).all()


def test_a_speakers_calm_voice_is_taken_off_in_the_measure_that_it_is_known():
    past = SpeakerPast.empty(WIDTH)
    for _ in range(3):
        past = past.after(voice(2), calm=True)

    # Three calm utterances count half: 3 / (3 + 3).
    assert past.apply(voice(2), voice(0)).tolist() == voice(1).tolist()


def test_aroused_utterances_say_nothing_about_the_calm_voice():
    past = SpeakerPast.empty(WIDTH).after(voice(4), calm=False)

    assert past.apply(voice(2), voice(0)).tolist() == voice(2).tolist()


def test_one_speaker_teaches_the_service_only_a_little():
    past = SpeakerPast.empty(WIDTH)
    taught = 0
    for _ in range(50):
        taught += past.informs_service
        past = past.after(voice(1), calm=False)

    assert taught == MOST_OF_ONE_SPEAKER


@given(st.lists(st.tuples(VOICES, st.booleans()), max_size=20))
def test_the_same_sequence_always_leads_to_the_same_norms(heard):
    def run() -> tuple[bytes, bytes]:
        norm, past = ServiceNorm.empty(WIDTH), SpeakerPast.empty(WIDTH)
        for values, calm in heard:
            norm, past = norm.after(values), past.after(values, calm=calm)
        return norm.mean.tobytes() + norm.variance.tobytes(), past.calm_total.tobytes()

    assert run() == run()


@given(st.lists(st.tuples(VOICES, st.booleans()), max_size=8))
def test_a_speaker_s_past_comes_back_from_bytes(utterances):
    past = SpeakerPast.empty(WIDTH)
    for values, calm in utterances:
        past = past.after(values, calm=calm)
    again = SpeakerPast.from_bytes(past.to_bytes(), WIDTH)

    assert (again.heard, again.calm) == (past.heard, past.calm)
    assert np.allclose(again.calm_total, past.calm_total, atol=0.001)


@pytest.mark.parametrize(
    "damaged",
    [b"", b"\x01", b"\x01\x00\x02\x00" + bytes(12), b"\x01\x00\x01\x00", b"\x01\x00\x01\x00" + b"\xff" * 12],
    ids=["empty", "short", "more calm than heard", "no voice", "not a number"],
)
def test_what_is_no_speaker_s_past_is_refused(damaged):
    with pytest.raises(ValueError, match="past of a speaker"):
        SpeakerPast.from_bytes(damaged, WIDTH)


def test_the_longer_a_call_the_fewer_of_its_utterances_are_ranked_against():
    ranked = [SpeakerPast(heard, 0, voice(0)).informs_ranks for heard in range(1000)]

    assert all(ranked[:16])
    assert [sum(ranked[:calls]) for calls in (32, 64, 128, 1000)] == [24, 32, 40, 64]
