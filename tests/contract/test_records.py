from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from qa_service.contract import (
    AudioFrame,
    CallEnd,
    CallRecord,
    ContractError,
    ContractViolation,
    LegInfo,
    LegPause,
    LegStart,
    Reason,
    UnknownVersion,
    decode_record,
    encode_record,
)
from qa_service.contract.records import MAX_VALUE_BYTES
from tests.contract import strategies

KEY = b"call-1"
FRAME_HEADERS = {
    "v": b"1",
    "type": b"audio",
    "leg": b"customer",
    "pos": b"160",
    "seq": b"1",
    "ts": b"1767225600020",
}
START_HEADERS = {
    "v": b"1",
    "type": b"start",
    "leg": b"customer",
    "ts": b"1767225600000",
    "codec": b"pcmu",
    "rate": b"8000",
}
AUDIO = b"\x7f" * 160


def decode(headers: dict[str, bytes | None], value: bytes | None, key: bytes | None = KEY):
    return decode_record(key, tuple(headers.items()), value)


def refusal_of(headers: dict[str, bytes | None], value: bytes | None, key: bytes | None = KEY):
    with pytest.raises(ContractViolation) as caught:
        decode(headers, value, key)
    return caught.value


@given(strategies.call_ids, strategies.records)
def test_a_record_decodes_to_what_was_encoded(call_id, record):
    encoded = encode_record(call_id, record)

    assert CallRecord(call_id, record) == decode_record(*encoded)


header_values = (
    st.none() | st.sampled_from([b"1", b"8000", b"pcmu", b"opus", b"-1", b"1_0", b" 1"]) | st.binary()
)
any_headers = st.lists(
    st.tuples(
        st.sampled_from(["v", "type", "leg", "pos", "seq", "ts", "codec", "rate"]) | st.text(), header_values
    )
)
kinds = st.sampled_from([b"start", b"update", b"audio", b"pause", b"resume", b"stop", b"call_end"])


@given(st.none() | st.binary(), kinds, any_headers, st.none() | st.binary())
def test_any_bytes_yield_a_record_or_a_documented_error(key, kind, headers, value):
    try:
        outcome = decode_record(key, [("v", b"1"), ("type", kind), *headers], value)
    except ContractError as error:
        outcome = str(error)

    assert isinstance(outcome, CallRecord) or len(outcome.splitlines()) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["role", "attributes", "x"]) | st.text(), inner)
    ),
)


@given(kinds, json_values)
def test_any_json_yields_a_record_that_can_be_encoded_again_or_a_documented_error(kind, document):
    value = json.dumps(document).encode()
    try:
        decoded = decode(START_HEADERS | FRAME_HEADERS | {"type": kind}, value)
    except ContractError:
        return

    assert decoded == decode_record(*encode_record(decoded.call_id, decoded.record))


def test_a_frame_names_its_place_and_leaves_the_format_to_the_start():
    decoded = decode(FRAME_HEADERS, AUDIO)

    assert CallRecord("call-1", AudioFrame("customer", 160, 1, 1767225600020, AUDIO)) == decoded


@pytest.mark.parametrize(
    "wrong", [{}, {"pos": b"-1"}, {"seq": b""}, {"ts": b"1" * 19}, {"leg": b"a b"}, {"v": b"2"}]
)
def test_headers_in_any_order_come_to_the_same(wrong):
    def outcome(headers):
        try:
            return decode_record(KEY, headers, b"audio")
        except ContractError as error:
            return str(error)

    headers = list((FRAME_HEADERS | wrong).items())

    assert outcome(headers) == outcome(headers[::-1]) == outcome(headers[3:] + headers[:3])


def test_a_start_says_who_is_on_the_leg():
    decoded = decode(START_HEADERS, b'{"role":"agent","agent_id":"a-17","unheard_of":[1]}')

    info = LegInfo(role="agent", agent_id="a-17")
    assert LegStart("customer", 1767225600000, "pcmu", 8000, info) == decoded.record


def test_records_without_a_value_ignore_one():
    headers = {"v": b"1", "type": b"pause", "leg": b"customer", "ts": b"5"}

    assert LegPause("customer", 5) == decode(headers, b"whatever").record
    assert LegPause("customer", 5) == decode(headers, None).record


def test_a_call_end_needs_no_leg():
    assert CallEnd(7) == decode({"v": b"1", "type": b"call_end", "ts": b"7"}, b"").record


def test_unknown_headers_are_ignored_and_of_a_repeated_header_the_last_value_counts():
    headers = [*FRAME_HEADERS.items(), ("traceparent", b"00-1"), ("seq", b"2")]

    assert decode_record(KEY, headers, AUDIO).record.seq == 2


@pytest.mark.parametrize("version", [b"0", b"2", b"17"])
def test_another_version_is_not_poison_whatever_else_the_record_holds(version):
    with pytest.raises(UnknownVersion, match="deploy a version") as caught:
        decode_record(None, [("v", version)], None)

    assert int(version) == caught.value.version


@pytest.mark.parametrize("missing", ["type", "leg", "pos", "seq", "ts"])
def test_a_missing_header_is_named_with_the_remedy(missing):
    headers = {name: value for name, value in FRAME_HEADERS.items() if name != missing}

    error = refusal_of(headers, AUDIO)

    assert error.reason == Reason.MISSING_HEADER
    assert error.message.startswith(f"header '{missing}' is missing: ")


@pytest.mark.parametrize("missing", ["codec", "rate"])
def test_a_start_without_a_format_is_refused(missing):
    headers = {name: value for name, value in START_HEADERS.items() if name != missing}

    assert refusal_of(headers, b'{"role":"agent"}').reason == Reason.MISSING_HEADER


def test_a_record_without_a_version_is_poison():
    assert (
        refusal_of({"type": b"audio"}, AUDIO).message
        == "header 'v' is missing: send the contract's version, 1"
    )


@pytest.mark.parametrize("name", ["pos", "seq", "ts"])
@pytest.mark.parametrize("raw", [b"-1", b"1_000", b" 12", b"+3", b"0x1f", b"1.5", b"", b"9" * 19, None])
def test_numbers_are_plain_decimal_digits(name, raw):
    error = refusal_of({**FRAME_HEADERS, name: raw}, AUDIO)

    assert error.reason == Reason.BAD_HEADER
    assert f"header '{name}'" in error.message


@pytest.mark.parametrize("raw", [b"", b"two words", "ä".encode(), b"a\0b", b"x" * 65, None])
def test_a_leg_id_is_short_printable_ascii(raw):
    assert refusal_of({**FRAME_HEADERS, "leg": raw}, AUDIO).reason == Reason.BAD_HEADER


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, Reason.MISSING_KEY),
        (b"", Reason.BAD_KEY),
        (b"\xff\xfe", Reason.BAD_KEY),
        (b"a\0b", Reason.BAD_KEY),
        (b"x" * 256, Reason.BAD_KEY),
    ],
)
def test_a_record_without_a_usable_call_id_is_refused(key, reason):
    assert refusal_of(FRAME_HEADERS, AUDIO, key).reason == reason


@pytest.mark.parametrize(
    ("change", "value", "reason", "words"),
    [
        ({"type": b"hello"}, AUDIO, Reason.UNKNOWN_TYPE, "b'hello'"),
        ({"codec": b"g729"}, AUDIO, Reason.UNKNOWN_CODEC, "b'g729': use one of pcmu, pcma"),
        ({"rate": b"44100"}, AUDIO, Reason.UNKNOWN_RATE, "resample to 8000"),
        ({}, b"", Reason.EMPTY_AUDIO, "leave such records out"),
        ({}, None, Reason.EMPTY_AUDIO, "leave such records out"),
        ({"codec": b"pcm_s16le"}, b"\0" * 321, Reason.ODD_BYTES, "321 bytes"),
        ({"codec": b"opus"}, b"OggS", Reason.BAD_OPUS_PACKET, "without Ogg around it"),
        ({}, b"\0" * (MAX_VALUE_BYTES + 1), Reason.OVERSIZE, "frames of 10 to 200 ms"),
    ],
)
def test_a_bad_frame_is_refused_in_one_line_that_says_what_to_do(change, value, reason, words):
    error = refusal_of(FRAME_HEADERS | change, value)

    assert reason == error.reason
    assert words in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("size", [1, 40, 16_000, MAX_VALUE_BYTES])
def test_frames_outside_the_usual_length_are_taken(size):
    assert size == len(decode(FRAME_HEADERS, b"\x7f" * size).record.audio)


def test_opus_is_part_of_the_contract():
    assert decode({**FRAME_HEADERS, "codec": b"opus"}, b"\xfc\xff").record.codec == "opus"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "has no value"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `role`"),
        (b'{"role":"boss"}', "$.role"),
        (b'{"role":"agent","call_start":"noon"}', "$.call_start"),
        (b'{"role":"agent","consent":{"emotion":"no"}}', "$.consent.emotion"),
        (b'{"role":"agent","attributes":{"a":[1]}}', "$.attributes"),
        (b'{"role":"agent","attributes":{"a":"\\u0000"}}', "$.attributes.a"),
        (b'{"role":"agent","attributes":{"a":9223372036854775808}}', "$.attributes.a"),
        (b'{"role":"agent","queue":"\\u0000"}', "$.queue"),
        (b"[" * 100_000, "JSON"),
    ],
)
def test_a_bad_start_value_is_refused_naming_the_member(value, words):
    error = refusal_of(START_HEADERS, value)

    assert error.reason == Reason.BAD_JSON
    assert words in error.message
    assert len(error.message) < 400


@pytest.mark.parametrize(
    "record",
    [
        AudioFrame("cust omer", 0, 0, 0, AUDIO),
        AudioFrame("customer", -1, 0, 0, AUDIO),
        AudioFrame("customer", 0, 0, 0, b""),
        AudioFrame("customer", 0, 0, 0, AUDIO, codec="g729"),
        AudioFrame("customer", 0, 0, 0, AUDIO, rate=44_100),
        LegStart("customer", 0, "pcmu", 8000, LegInfo(role="agent", tenant="")),
    ],
)
def test_what_could_not_be_decoded_is_not_encoded(record):
    with pytest.raises(ContractViolation):
        encode_record("call-1", record)


@pytest.mark.parametrize("call_id", ["", "a\0b", "\ud800", "x" * 256])
def test_an_unusable_call_id_is_not_encoded(call_id):
    with pytest.raises(ContractViolation):
        encode_record(call_id, CallEnd(0))
