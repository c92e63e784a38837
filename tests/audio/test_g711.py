"""G.711 against the recommendation: decoder values, decision levels, both laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.audio.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32_768, 32_768).astype(np.int16)
LAWS = pytest.mark.parametrize(
    ("encode", "decode"), [(encode_ulaw, decode_ulaw), (encode_alaw, decode_alaw)], ids=["ulaw", "alaw"]
)


def test_ulaw_codes_have_the_values_of_table_2a_and_2b():
    # Character signals and decoder output values of the recommendation, scaled from 14 to 16 bits.
    codes = bytes([0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xEF, 0xFE, 0xFF, 0x7F, 0x7E, 0x00])

    assert decode_ulaw(codes).tolist() == [32124, 16764, 15996, 8316, 7932, 132, 8, 0, 0, -8, -32124]


def test_alaw_codes_have_the_values_of_table_1a_and_1b():
    # 13-bit decoder output values 4032, 2112, 2016, 1, -1, -4032, times 8; even bits are inverted.
    codes = bytes([0xAA, 0xA5, 0xBA, 0xD5, 0x55, 0x2A])

    assert decode_alaw(codes).tolist() == [32256, 16896, 16128, 8, -8, -32256]


@LAWS
def test_a_code_decodes_to_the_middle_of_the_samples_that_it_stands_for(encode, decode):
    codes = np.frombuffer(encode(ALL_SAMPLES), dtype=np.uint8)
    values = decode(ALL_CODES).astype(np.int64)
    # The outermost codes also take what is clipped; zero has two codes in one interval.
    inner = [code for code in np.unique(codes) if 0 < abs(values[code]) < abs(values).max()]

    middles = np.array([(ALL_SAMPLES[codes == code].astype(np.int64)).mean() for code in inner])

    assert len(inner) >= 252
    assert np.abs(middles - values[inner]).max() <= 0.5


@LAWS
def test_a_decoded_code_encodes_to_itself(encode, decode):
    again = encode(decode(ALL_CODES))

    different = [code for code, back in zip(ALL_CODES, again, strict=True) if code != back]
    minus_zero_only = [0x7F] if decode is decode_ulaw else []
    assert minus_zero_only == different


@LAWS
def test_louder_never_decodes_quieter(encode, decode):
    steps = np.diff(decode(encode(ALL_SAMPLES)).astype(np.int64))

    assert steps.min() >= 0


@LAWS
@given(samples=st.lists(st.integers(-32_768, 32_767), max_size=50))
def test_one_byte_stands_for_one_sample(encode, decode, samples):
    codes = encode(np.array(samples, dtype=np.int16))

    assert len(samples) == len(codes) == len(decode(codes))


def test_a_strided_view_is_encoded_by_value():
    stereo = np.arange(-1000, 1000, dtype=np.int16)

    assert encode_ulaw(stereo[::2].copy()) == encode_ulaw(stereo[::2])
