from __future__ import annotations

import pytest

from qa_service.contract import ContractViolation, Reason, UnsupportedCodec, count_samples


@pytest.mark.parametrize(("codec", "samples"), [("pcmu", 320), ("pcma", 320), ("pcm_s16le", 160)])
def test_a_payload_holds_a_codec_s_number_of_samples(codec, samples):
    assert samples == count_samples(codec, bytes(320))


def test_half_a_sample_is_refused():
    with pytest.raises(ContractViolation, match="321 bytes") as caught:
        count_samples("pcm_s16le", bytes(321))

    assert caught.value.reason == Reason.ODD_BYTES


def test_opus_is_known_but_not_decoded():
    with pytest.raises(UnsupportedCodec, match="send pcmu") as caught:
        count_samples("opus", b"\xfc")

    assert caught.value.reason == Reason.UNSUPPORTED_CODEC
    assert caught.value.codec == "opus"
