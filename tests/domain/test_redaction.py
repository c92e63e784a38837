"""Card numbers and security codes in speech, in every shape we could think of, and what must stay."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from qa_service.domain.entries import LogEntry, Redaction, Utterance
from qa_service.domain.identities import utterance_id
from qa_service.domain.redaction import REPLACEMENTS, Redactor, redact_partial, redact_partial_pair
from qa_service.domain.spoken_numbers import number_word

SPOKEN = {
    "en": "zero one two three four five six seven eight nine".split(),
    "de": "null eins zwei drei vier fünf sechs sieben acht neun".split(),
    "fr": "zéro un deux trois quatre cinq six sept huit neuf".split(),
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve".split(),
    "it": "zero uno due tre quattro cinque sei sette otto nove".split(),
    "zh": list("〇一二三四五六七八九"),
    "full-width": list("０１２３４５６７８９"),
    "arabic": list("٠١٢٣٤٥٦٧٨٩"),
    "circled": list("⓪①②③④⑤⑥⑦⑧⑨"),
}
SEPARATORS = (" ", "-", ".", ", ", " - ", "/", "\u00a0", "\n", " um ", ", okay, ", " dash ", " and ", "; ")
PLAIN = st.lists(
    st.sampled_from(("please", "the", "Rechnung", "over", "там", "谢谢", "bitte", "house", "!", "?", "é")),
    min_size=1,
    max_size=6,
).map(" ".join)


def redact(text: str) -> str:
    return Redactor().redact("customer", text, 0, 1_000)[0]


@st.composite
def spoken_cards(draw: st.DrawFn) -> str:
    """Draw a card number of 13 to 19 digits, spoken and written in any mixture."""
    digits = draw(st.text("0123456789", min_size=13, max_size=19))
    pieces: list[str] = []
    for digit in digits:
        style = draw(st.sampled_from(("as is", "as is", *SPOKEN)))
        pieces.append(digit if style == "as is" else SPOKEN[style][int(digit)])
    text = pieces[0]
    for before, piece in pairwise(pieces):
        glued = before[-1:].isalpha() or piece[:1].isalpha()
        text += draw(st.sampled_from(SEPARATORS if glued else ("", "", "", *SEPARATORS))) + piece
    return text


def count_digits(text: str) -> int:
    """Count all that is a digit, sign by sign and word by word, outside placeholders."""
    for placeholder in REPLACEMENTS.values():
        text = text.replace(placeholder, " ")
    signs = sum(unicodedata.digit(sign, None) is not None for sign in text)
    spoken = {word for words in SPOKEN.values() for word in words}
    words = re.findall(r"[^\W\d]+", text)
    return (
        signs + sum(word in spoken for word in words) + sum(sign in "〇一二三四五六七八九" for sign in text)
    )


@settings(max_examples=500)
@given(before=PLAIN, card=spoken_cards(), after=st.one_of(st.just(""), PLAIN))
def test_no_digit_of_a_card_number_survives(before: str, card: str, after: str) -> None:
    redacted = redact(f"{before} {card} {after}")

    assert count_digits(redacted) == 0
    assert "[card number]" in redacted


@settings(max_examples=300)
@given(text=st.one_of(st.text(), spoken_cards(), st.from_regex(r"([0-9]{1,5}[ a-z]{1,4}){1,8}")))
def test_redacting_again_changes_nothing(text: str) -> None:
    once = redact(text)

    assert once == redact(once)


@settings(max_examples=300)
@given(text=st.text())
def test_redactions_tell_where_the_placeholders_stand(text: str) -> None:
    redacted, redactions = Redactor().redact("customer", f"{text} 4111 1111 1111 1111 x {text}", 0, 1)

    assert redactions
    for redaction in redactions:
        assert REPLACEMENTS[redaction.kind] == redacted[redaction.start : redaction.end]


@given(text=st.text())
def test_text_without_digits_stays_as_it_is(text: str) -> None:
    has_number = any(unicodedata.digit(sign, None) is not None for sign in text) or any(
        number_word(sign) for sign in text
    )
    plain = "" if has_number else text

    assert plain == redact(plain)


@pytest.mark.parametrize(
    "text",
    [
        "in 1998 we paid 250 euros",
        "Flight 4711 leaves at 12:30 from gate 7, he said",
        "We have two cats, three dogs and one of them is five years old",
        "Im Jahr 2019 waren es 1250 Euro im Monat",
        "我有一个问题，二十三个人在等",
        "Oh, one moment please",
        "It costs two hundred and fifty euros",
        "Das macht einundzwanzig Euro",
    ],
)
def test_years_and_prices_inside_a_sentence_stay(text: str) -> None:
    assert text == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111111",
        "4111-1111-1111-1111",
        "four one double one, triple one one, oh one one one, four three two one",
        "four-one-one-one one-one-one-one one-one-one-one one-one-one-one",
        "forty-one eleven eleven eleven eleven eleven eleven eleven",
        "einundvierzig elf elf elf, elf elf elf elf",
        "quarante et un, onze, onze, onze, onze, onze, onze, onze",
        "cuarenta y uno once once once once once once once",
        "quarantuno undici undici undici undici undici undici undici",
        "四一一一 一一一一 一一一一 一一一一",
        "4111の1111の1111の1111",
        "4 1 1 1 1 1 1 1 1 1 1 1",  # recognition lost four
    ],
)
def test_a_card_number_goes_however_it_is_spoken(text: str) -> None:
    assert redact(f"well, it is {text} thank you") == "well, it is [card number] thank you"


@pytest.mark.parametrize(
    "text",
    [
        "my CVV is 123 I think",
        "the security code, one two three, is here",
        "123 is the c v c, see",
        "Die Prüfziffer lautet 123 bitte",
        "Der Kartensicherheitscode eins zwei drei, bitte",
        "le cryptogramme est 123 voilà",
        "el código de seguridad es uno dos tres gracias",
        "il codice di sicurezza uno due tre grazie",
        "安全码是一二三，谢谢",
        "セキュリティコードは１２３です",
        "the digits on the back are 1234 madam",
    ],
)
def test_a_security_code_goes_if_its_name_is_in_the_utterance(text: str) -> None:
    redacted = redact(text)

    assert "[security code]" in redacted
    assert count_digits(redacted) == 0


def test_a_security_code_goes_if_anyone_asked_for_it() -> None:
    redactor = Redactor()
    redactor.redact("agent", "And the security code, please?", 0, 2_000)

    assert (
        redactor.redact("customer", "It's 123 I guess", 17_000, 18_000)[0] == "It's [security code] I guess"
    )
    assert redactor.redact("customer", "It's 123 I guess", 17_001, 18_000)[0] == "It's 123 I guess"


def test_digits_alone_go_after_a_security_code_was_asked_for() -> None:
    redactor = Redactor()
    redactor.redact("agent", "CVV?", 0, 1_000)

    assert redactor.redact("customer", "Um, 1 2.", 2_000, 3_000)[0] == "Um, [security code]."
    assert redactor.redact("customer", "3.", 4_000, 5_000)[0] == "[security code]."


def test_a_run_at_the_end_goes_since_it_may_continue() -> None:
    assert redact("The number is 4111") == "The number is [number]"
    assert redact("It was in 1998.") == "It was in [number]."  # the price of it
    assert redact("I am 42") == "I am 42"


def test_what_continues_a_number_goes_within_ten_seconds() -> None:
    redactor = Redactor()
    redactor.redact("customer", "It's 4111 11", 0, 2_000)

    assert redactor.redact("agent", "12 yes?", 3_000, 4_000)[0] == "12 yes?"
    assert (
        redactor.redact("customer", "um, 12 and that's it", 12_000, 13_000)[0] == "um, [number] and that's it"
    )
    assert redactor.redact("customer", "12 of them", 23_001, 24_000)[0] == "12 of them"


def test_near_a_card_number_groups_go_on_every_leg() -> None:
    redactor = Redactor()
    redactor.redact("agent", "What is your card number?", 0, 2_000)

    assert redactor.redact("customer", "First 4111 you see", 5_000, 6_000)[0] == "First [number] you see"
    assert redactor.redact("agent", "So 4111 was it?", 32_000, 33_000)[0] == "So [number] was it?"
    assert redactor.redact("agent", "In 1998 it was", 33_000, 34_000)[0] == "In 1998 it was"


@settings(max_examples=300)
@given(
    digits=st.text("0123456789", min_size=13, max_size=19),
    cuts=st.lists(st.integers(1, 18), min_size=1, max_size=5, unique=True),
    tails=st.lists(st.sampled_from(("", ".", " hold on please", " moment bitte")), min_size=6, max_size=6),
    between=st.sampled_from(("", " ")),
)
def test_a_number_split_over_utterances_leaves_at_most_its_first_six_digits(
    digits: str, cuts: list[int], tails: list[str], between: str
) -> None:
    redactor = Redactor()
    edges = [0, *(cut for cut in sorted(cuts) if cut < len(digits)), len(digits)]
    left = ""
    for number, (start, end) in enumerate(pairwise(edges)):
        text = between.join(digits[start:end]) + tails[number]
        redacted = redactor.redact("customer", text, number * 5_000, number * 5_000 + 4_000)[0]
        left += "".join(re.findall(r"\d", redacted))

    assert len(left) <= 6
    assert digits.startswith(left)


def as_entry(
    number: int, text: str, redactions: tuple[Redaction, ...], start_ms: int, end_ms: int
) -> LogEntry:
    body: dict[str, Any] = {
        "utterance_id": utterance_id("call", "customer", number),
        "ordinal": number,
        "text": text,
        "language": None,
        "emotion": None,
        "emotion_confidence": None,
        "emotion_abstained": False,
        "start_pos": 0,
        "end_pos": 0,
        "time_source": "server",
        "engine": None,
        "model": None,
        "redactions": redactions,
    }
    return LogEntry(
        call_id="call",
        call_seq=number,
        leg_id=("customer", "agent")[number % 2],
        start_ms=start_ms,
        end_ms=end_ms,
        body=Utterance(**body),
    )


SAYINGS = (
    "It's 4111 11",
    "1 1",
    "12",
    "CVV?",
    "123 okay",
    "4111 1111 1111 1111",
    "your card number please",
    "hm",
    "in 1998 then",
    "412 hold on",
)


@settings(max_examples=200)
@given(
    sayings=st.lists(st.tuples(st.sampled_from(SAYINGS), st.integers(0, 12_000)), max_size=12),
    crash=st.integers(0, 11),
)
def test_a_successor_that_has_read_the_log_redacts_alike(sayings: list[tuple[str, int]], crash: int) -> None:
    reference, redactor = Redactor(), Redactor()
    log: list[LogEntry] = []
    now = 0
    for number, (text, pause) in enumerate(sayings):
        if number == crash:
            redactor = Redactor()
            for entry in log:
                redactor.observe(entry)
        now += pause
        leg = ("customer", "agent")[number % 2]
        expected = reference.redact(leg, text, now, now + 1_000)

        assert expected == redactor.redact(leg, text, now, now + 1_000)
        log.append(as_entry(number, *expected, now, now + 1_000))


def test_a_redactor_shows_nothing_of_what_it_removed() -> None:
    redactor = Redactor()
    redactor.redact("customer", "4111 1111 1111 1111", 0, 1_000)
    state = {name: getattr(redactor, name) for name in Redactor.__slots__}

    assert "4111" not in repr(redactor) + repr(state)


def test_partials_lose_every_run_of_three_digits() -> None:
    assert redact_partial("that is 41") == "that is 41"
    assert redact_partial("that is 411") == "that is [number]"
    assert redact_partial("in 1998 we") == "in [number] we"
    assert redact_partial("one two three") == "[number]"
    assert redact_partial("4111 1111 1111 1111") == "[card number]"


@given(text=st.text("0123456789 ab", max_size=12), stash=st.text("0123456789 ab", max_size=12))
def test_a_partial_in_two_parts_is_masked_as_one(text: str, stash: str) -> None:
    assert redact_partial(text + stash) == "".join(redact_partial_pair(text, stash))
