from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.asr_server.agreement import units
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


def test_a_chinese_prompt_that_is_read_out_is_an_echo() -> None:
    prompt = "以下是普通话的句子。"

    assert is_echo("以下是普通话的句子", prompt)
    assert is_echo("普通话的句子，", prompt)
    assert not is_echo("普通", prompt)
    assert not is_echo("我想说普通话", prompt)


@pytest.mark.parametrize("text", ["ご注文ありがとう", "주문 감사합니다", "Спасибо за заказ", "ขอบคุณครับ"])
def test_an_echo_is_found_in_every_script(text: str) -> None:
    assert is_echo(text, f"Background: {text}. More.")


spoken_words = st.lists(st.sampled_from(["yes", "no.", "please", "the", "order", "你", "好"]), max_size=10)


@given(before=spoken_words, phrase=spoken_words.filter(bool), repeats=st.integers(7, 12))
def test_a_phrase_said_over_and_over_is_said_once_at_most(
    before: list[str], phrase: list[str], repeats: int
) -> None:
    text = " ".join([*before, *phrase * repeats])
    kept = without_loop(text)

    assert text.startswith(kept)
    assert loop_start(kept) is None
    assert len(units(kept)) <= len(before) + len(phrase)


@given(words=st.lists(st.integers(0, 9).map(str), max_size=40))
def test_what_is_left_of_a_text_is_its_beginning_and_has_no_loop(words: list[str]) -> None:
    text = " ".join(words)
    kept = without_loop(text)

    assert text.startswith(kept)
    assert (kept == text) == (loop_start(text) is None)
    assert loop_start(kept) is None


@given(words=st.lists(st.integers(0, 999).map(lambda n: f"word{n}"), unique=True, max_size=60))
def test_what_never_repeats_itself_is_left_alone(words: list[str]) -> None:
    assert without_loop(" ".join(words)) == " ".join(words)


names = st.lists(st.sampled_from(["Qwen", "Okafor", "客服热线", "claim", "déjà-vu"]), min_size=1, max_size=8)


@given(corpus=names, data=st.data())
def test_any_part_of_the_background_is_an_echo_however_it_is_written(
    corpus: list[str], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(corpus) - 1))
    count = data.draw(st.integers(2, 8))
    part = corpus[first : first + count]
    text = ", ".join(part).upper() + "."

    assert is_echo(text, "; ".join(corpus)) or len(part) == 1
    assert not is_echo(f"{text} yes", "; ".join(corpus))
