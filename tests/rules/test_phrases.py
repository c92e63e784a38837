"""How phrases match: words, wildcards, numbers, and scripts without blanks."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from qa_service.domain.entries import Redaction
from qa_service.rules.errors import PhraseError
from qa_service.rules.phrases import REMOVED, PhraseIndex, compile_phrase, read_words


def is_said(phrase: str, text: str) -> bool:
    return bool(PhraseIndex([phrase]).find(read_words(text)))


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("cancel my contract", "Please, CANCEL my... contract!"),
        ("kündigen", "KÜNDIGEN"),
        ("kundigen", "ku\u0308ndigen"),
        ("schließen", "SCHLIESSEN"),
        ("don't", "I don’t know"),
        ("café", "the cafe there"),
        ("ｆｕｌｌ", "full"),
        ("cancel * contract", "cancel contract"),
        ("cancel * contract", "cancel one two three four five six contract"),
        ("cancel my *", "cancel my"),
        ("kündig*", "die Kündigung"),
        ("pay [num] euros", "pay 12.50 euros"),
        ("pay [num] euros", "pay two hundred and fifty euros".replace(" and", "")),
        ("[num] euro", "zweiundzwanzig Euro"),
        ("取消合同", "我想取消合同。"),
        ("取消*合同", "我要取消我上个月签的那份合同"),
        ("取消 * 合同", "取消合同"),
        ("等[num]分钟", "我等了二十三分钟还是等二十分钟"),
        ("解約したい", "もう解約したいんです"),
        ("ｷｬﾝｾﾙ", "キャンセルして"),
        ("ยกเลิกสัญญา", "ฉันต้องการยกเลิกสัญญาครับ"),
        ("취소", "계약을 취소하고 싶어요"),
        ("отменить договор", "Хочу ОТМЕНИТЬ договор"),
        ("रद्द करना", "मुझे रद्द करना है"),
    ],
)
def test_the_phrase_is_said(phrase: str, text: str) -> None:
    assert is_said(phrase, text)


@pytest.mark.parametrize(
    ("phrase", "text"),
    [
        ("cancel", "cancellation"),
        ("can", "cancel"),
        ("cancel my contract", "cancel the contract"),
        ("cancel * contract", "cancel one two three four five six seven contract"),
        ("cancel * contract", "contract cancel"),
        ("kündig*", "sachkundig"),
        ("pay [num] euros", "pay many euros"),
        ("取消合同", "取消了合同"),
        ("ガス", "カス"),
        ("cancel", ""),
    ],
)
def test_the_phrase_is_not_said(phrase: str, text: str) -> None:
    assert not is_said(phrase, text)


@pytest.mark.parametrize("phrase", ["*", "[num]", "* [num]", "...", "[number] x", "a ] b", "*word"])
def test_a_phrase_that_means_nothing_is_refused(phrase: str) -> None:
    with pytest.raises(PhraseError, match=re.escape(repr(phrase))):
        compile_phrase(phrase)


def test_a_redacted_span_is_one_word_of_its_own() -> None:
    words = read_words("my [card number] ok", (Redaction("card_number", 3, 16),))

    assert words == ("my", REMOVED, "ok")


WORDS = st.sampled_from(("a", "b", "c", "7", "ü"))


@settings(max_examples=500)
@given(
    phrase=st.lists(st.one_of(WORDS, st.sampled_from(("*", "[num]"))), min_size=1, max_size=5),
    text=st.lists(WORDS, max_size=14),
)
def test_phrases_match_as_the_regular_expression_they_abbreviate(phrase: list[str], text: list[str]) -> None:
    if not set(phrase) - {"*", "[num]"}:
        phrase = [*phrase, "a"]
    parts = {"*": r"(?:\S+ ){0,6}", "[num]": r"(?:7 )+"}
    squeezed = [
        part for place, part in enumerate(phrase) if part != "*" or phrase[place - 1 : place] != ["*"]
    ]
    pattern = "".join(parts.get(part, f"{part} ") for part in squeezed)
    expected = re.search(rf"(?<!\S){pattern}", " ".join([*text, ""])) is not None

    assert expected == is_said(" ".join(phrase), " ".join(text))


@given(text=st.text())
def test_any_text_can_be_read(text: str) -> None:
    assert all(read_words(text))


def test_matching_a_long_text_against_many_wildcards_takes_linear_time() -> None:
    assert not is_said(" * ".join(["a"] * 12 + ["b"]), "a " * 20_000)
