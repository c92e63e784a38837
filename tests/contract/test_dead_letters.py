from __future__ import annotations

import pytest

from qa_service.contract import ContractViolation, decode_record, describe_dead_letter, encode_dead_letter

HEADERS = (("v", b"1"), ("type", b"audio"), ("leg", b"\xff"), ("empty", None))


def refusal() -> ContractViolation:
    with pytest.raises(ContractViolation) as caught:
        decode_record(b"call-1", HEADERS, b"\x7f")
    return caught.value


def test_a_dead_letter_keeps_the_record_as_it_came():
    letter = encode_dead_letter(
        b"call-1", HEADERS, b"\x7f", violation=refusal(), topic="telephony.audio", partition=3, offset=99
    )

    assert (letter.key, letter.headers[: len(HEADERS)], letter.value) == (b"call-1", HEADERS, b"\x7f")


def test_a_dead_letter_says_why_and_where_from():
    letter = encode_dead_letter(
        None, HEADERS, None, violation=refusal(), topic="telephony.audio", partition=3, offset=99
    )

    cause = describe_dead_letter(letter.headers)

    assert (cause.reason, cause.topic, cause.partition, cause.offset) == (
        "bad_header",
        "telephony.audio",
        3,
        99,
    )
    assert cause.message.startswith("header 'leg' is b'\\xff'")
