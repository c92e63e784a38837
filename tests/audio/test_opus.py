from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from qa_service.audio.opus import ENCODED_MS, OpusDecoder, OpusEncoder
from qa_service.audio.opus_packets import InvalidPacket, packet_samples
from tests.support.opus import encode_opus, likeness, tone_steps

LATEST_MS = 9  # 6.5 ms of the codec and 2 ms of the filter
LIKE = 0.9  # correlation of a sweep with itself after coding at 24 kbit/s


def decode(decoder: OpusDecoder, packets: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(map(decoder.decode, packets)), dtype="<i2")


@pytest.mark.parametrize("frame_ms", [20, 60, 120])
@pytest.mark.parametrize(("rate_hz", "source_hz"), [(8000, 8000), (8000, 48_000), (16_000, 16_000)])
def test_what_was_encoded_is_heard_in_its_place(rate_hz, source_hz, frame_ms):
    packets = encode_opus(tone_steps(2.0, source_hz), source_hz, frame_ms=frame_ms)
    heard = decode(OpusDecoder(rate_hz), packets)

    strength, late = likeness(tone_steps(2.0, rate_hz), heard)

    assert strength > LIKE
    assert 0 <= late <= LATEST_MS * rate_hz // 1000


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize("frame_ms", [20, 40, 60, 80, 100, 120])
def test_each_packet_gives_exactly_its_samples(rate_hz, frame_ms):
    decoder = OpusDecoder(rate_hz)
    packets = encode_opus(tone_steps(1.0, 16_000), 16_000, frame_ms=frame_ms)

    assert {len(decoder.decode(packet)) for packet in packets} == {2 * rate_hz * frame_ms // 1000}


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize("frame_ms", ENCODED_MS)
def test_our_encoder_gives_a_packet_a_frame_that_is_heard_in_its_place(rate_hz, frame_ms):
    sound = tone_steps(2.04, rate_hz)
    pcm = np.rint(sound * 32767).astype("<i2").tobytes()
    size = 2 * rate_hz * frame_ms // 1000
    encoder = OpusEncoder(rate_hz, frame_ms=frame_ms)
    packets = [encoder.encode(pcm[at : at + size]) for at in range(0, len(pcm) - size + 1, size)]
    heard = decode(OpusDecoder(rate_hz), packets)
    strength, late = likeness(sound[: len(heard)], heard)

    assert {packet_samples(packet) for packet in packets} == {48 * frame_ms}
    assert strength > LIKE
    assert 0 <= late <= LATEST_MS * rate_hz // 1000


def test_our_encoder_refuses_frames_that_make_no_packet():
    with pytest.raises(ValueError, match="no Opus packet holds 30 ms: use one of"):
        OpusEncoder(8000, frame_ms=30)
    with pytest.raises(ValueError, match="a frame is 160 samples here, not 80"):
        OpusEncoder(8000).encode(bytes(160))


def test_stereo_is_mixed_to_one_channel():
    packets = encode_opus(tone_steps(1.0, 48_000), 48_000, channels=2, bit_rate=64_000)
    heard = decode(OpusDecoder(8000), packets)

    assert likeness(tone_steps(1.0, 8000), heard)[0] > LIKE


def test_what_lies_above_the_new_band_does_not_fold_into_it():
    t = np.arange(48_000) / 48_000
    packets = encode_opus(0.3 * np.sin(2 * np.pi * 5000 * t), 48_000, bit_rate=64_000)
    full = decode(OpusDecoder(16_000), packets).astype(float)
    narrow = decode(OpusDecoder(8000), packets).astype(float)

    assert 20 * np.log10(np.std(narrow) / np.std(full)) < -40


def test_the_gain_of_a_stream_is_applied():
    packets = encode_opus(tone_steps(1.0, 16_000), 16_000)
    plain = decode(OpusDecoder(8000), packets).astype(float)
    halved = decode(OpusDecoder(8000, gain=0.5), packets).astype(float)

    assert np.std(halved) == pytest.approx(np.std(plain) / 2, rel=0.01)


def test_a_damaged_packet_is_refused_and_the_next_is_heard():
    packets = encode_opus(tone_steps(1.0, 16_000), 16_000)
    decoder = OpusDecoder(8000)
    decoder.decode(packets[0])
    with pytest.raises(InvalidPacket, match="damaged"):
        decoder.decode(b"\x4b\x83\xff\xff")  # padding that is longer than the packet

    assert len(decoder.decode(packets[1])) == 320


def test_a_missing_stretch_is_guessed_and_then_fades():
    t = np.arange(16_000) / 16_000
    packets = encode_opus(0.3 * np.sin(2 * np.pi * 440 * t), 16_000)
    decoder = OpusDecoder(8000)
    before = decode(decoder, packets[:25])[-160:].astype(float)
    guess = np.frombuffer(decoder.conceal(8000), dtype="<i2").astype(float)

    assert len(guess) == 8000
    assert np.std(guess[:160]) > np.std(before) / 3
    assert np.std(guess[-4000:]) < 1


@pytest.mark.parametrize("samples", [1, 7, 80, 160, 961])
def test_what_is_concealed_has_the_length_asked_for(samples):
    assert len(OpusDecoder(8000).conceal(samples)) == 2 * samples


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_decoded_in_full_or_refused(packets):
    decoder = OpusDecoder(8000)
    for packet in packets:
        try:
            pcm = decoder.decode(packet)
        except InvalidPacket:
            continue

        assert len(pcm) == 2 * packet_samples(packet) // 6


def test_pyav_is_not_loaded_before_opus_comes():
    """It takes 19 MB, and an image may leave it out (docs/dependencies.md)."""
    parts = (
        "qa_service.asr_server, qa_service.worker.consumer, qa_service.cli.root, qa_service.telephony.publish"
    )
    program = f"import sys, {parts}; sys.exit('av' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
