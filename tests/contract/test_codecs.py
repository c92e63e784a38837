from __future__ import annotations

import pytest

from qa_service.contract import ContractViolation, Reason, UnsupportedCodec, bytes_per_sample, count_samples


@pytest.mark.parametrize(("codec", "samples"), [("pcmu", 320), ("pcma", 320), ("pcm_s16le", 160)])
def test_a_payload_holds_a_codec_s_number_of_samples(codec, samples):
    assert samples == count_samples(codec, bytes(320))


def test_half_a_sample_is_refused():
    with pytest.raises(ContractViolation, match="321 bytes") as caught:
        count_samples("pcm_s16le", bytes(321))

    assert caught.value.reason == Reason.ODD_BYTES


@pytest.mark.parametrize(("rate", "samples"), [(8000, 160), (16000, 320)])
def test_an_opus_packet_is_counted_at_the_rate_of_its_leg(rate, samples):
    assert samples == count_samples("opus", b"\xfc and whatever follows", rate)


@pytest.mark.parametrize("value", [b"\x83", b"\x83\0", b"OggS\0"])
def test_what_is_no_opus_packet_is_refused(value):
    with pytest.raises(ContractViolation, match="one raw packet a record") as caught:
        count_samples("opus", value)

    assert caught.value.reason == Reason.BAD_OPUS_PACKET


def test_opus_has_no_width_of_a_sample():
    with pytest.raises(UnsupportedCodec, match="use pcmu") as caught:
        bytes_per_sample("opus")

    assert caught.value.reason == Reason.UNSUPPORTED_CODEC
    assert caught.value.codec == "opus"
