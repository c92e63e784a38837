from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.audio.opus_packets import (
    MAX_PACKET_SAMPLES,
    InvalidPacket,
    absent_frame,
    packet_samples,
)
from tests.support.opus import encode_opus


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
@pytest.mark.parametrize("frame_ms", [20, 40, 60, 80, 100, 120])
def test_the_duration_is_what_the_encoder_was_told(rate_hz, frame_ms):
    packets = encode_opus(np.zeros(rate_hz // 2), rate_hz, frame_ms=frame_ms)

    assert {packet_samples(packet) for packet in packets} == {frame_ms * 48}


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"\x00", 480),  # RFC 6716, table 2: configuration 0 is SILK with 10 ms
        (b"\x18", 2880),  # 3: 60 ms
        (b"\x68", 960),  # 13: hybrid, 20 ms
        (b"\x80", 120),  # 16: CELT, 2.5 ms
        (b"\x81\0", 240),  # code 1: two frames
        (b"\x82\0", 240),  # code 2: two frames
        (b"\x83\x30", 5760),  # code 3: as many as the second byte says, here 48
    ],
)
def test_the_table_of_the_rfc_is_followed(packet, samples):
    assert packet_samples(packet) == samples


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"", "at least one byte"),
        (b"\x83", "before the number of its frames"),
        (b"\x83\x00", "0 ms"),
        (b"\x83\x31", "122 ms"),
        (b"OggS", "780 ms"),
    ],
)
def test_impossible_durations_are_refused_with_the_reason(packet, why):
    with pytest.raises(InvalidPacket, match=why):
        packet_samples(packet)


@given(st.binary(max_size=4))
def test_any_bytes_are_a_packet_of_at_most_120_ms_or_none(packet):
    try:
        samples = packet_samples(packet)
    except InvalidPacket:
        return

    assert 0 < samples <= MAX_PACKET_SAMPLES


@given(st.binary(min_size=1, max_size=4))
def test_an_absent_frame_is_one_frame_of_the_same_kind(packet):
    absent = absent_frame(packet)

    assert (len(absent), absent[0] >> 2, absent[0] & 3) == (1, packet[0] >> 2, 0)
