from __future__ import annotations

import numpy as np
import pytest

from qa_service.asr_server.engines import Segment
from qa_service.asr_server.engines.doubt import comes_out_of_silence, is_echo, loop_start, without_loop


def segment(voiced_s: float | None) -> Segment:
    return Segment(samples=np.zeros(16_000, dtype=np.float32), voiced_s=voiced_s)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Thank you, thank you, thank you.",
        "No no no no, that is not what I said.",
        "zero zero zero one nine",
        "We can, we can do that, and we can do this.",
    ],
)
def test_what_people_say_is_no_loop(text: str) -> None:
    assert loop_start(text) is None


def test_a_loop_is_cut_after_its_phrase_was_said_once() -> None:
    assert without_loop("I am fine. And so on. And so on. And so on. And so on.") == "I am fine. And so on."


def test_a_single_word_loops_after_more_repeats() -> None:
    assert without_loop("Go" + " go" * 9) == "Go"


def test_loops_are_found_in_scripts_without_blanks() -> None:
    assert without_loop("谢谢大家" * 5) == "谢谢大家"


def test_a_text_out_of_the_background_is_an_echo_whatever_its_punctuation() -> None:
    assert is_echo("Qwen, Tongyi! Dr Okafor", "Model names: Qwen, Tongyi. Dr. Okafor.")


@pytest.mark.parametrize("text", ["Qwen", "Doctor Okafor called about Qwen", ""])
def test_a_name_or_a_sentence_with_names_is_no_echo(text: str) -> None:
    assert not is_echo(text, "Model names: Qwen, Tongyi. Dr. Okafor.")


def test_words_the_model_is_sure_of_are_believed_though_it_hears_no_speech() -> None:
    spoken = segment(voiced_s=3.0)

    assert not comes_out_of_silence("10001 90210", spoken, no_speech=0.96, mean_log_probability=-0.5)


def test_unsure_words_without_speech_are_not_believed() -> None:
    assert comes_out_of_silence(
        "Thank you.", segment(voiced_s=None), no_speech=0.7, mean_log_probability=-1.2
    )


def test_more_words_than_the_voiced_time_can_hold_are_not_believed() -> None:
    text = "Thanks for watching, see you in the next video."

    assert comes_out_of_silence(text, segment(voiced_s=0.1), no_speech=0.4, mean_log_probability=-0.3)
    assert not comes_out_of_silence(text, segment(voiced_s=2.0), no_speech=0.4, mean_log_probability=-0.3)
