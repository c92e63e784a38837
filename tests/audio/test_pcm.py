from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from qa_service.audio.g711 import encode_alaw, encode_ulaw
from qa_service.audio.pcm import silence, to_pcm


@given(st.binary(max_size=400).filter(lambda audio: len(audio) % 2 == 0))
def test_pcm_stays_as_it_is(audio: bytes) -> None:
    assert to_pcm("pcm_s16le", audio) == audio


@pytest.mark.parametrize(("codec", "encode"), [("pcmu", encode_ulaw), ("pcma", encode_alaw)])
def test_g711_becomes_little_endian_samples(codec: str, encode) -> None:
    samples = np.array([0, 1000, -1000, 20_000], dtype=np.int16)

    decoded = np.frombuffer(to_pcm(codec, encode(samples)), dtype="<i2")

    assert np.allclose(decoded, samples, rtol=0.05, atol=16)


def test_a_codec_with_state_is_refused() -> None:
    with pytest.raises(ValueError, match="codec 'opus' cannot be decoded packet by packet"):
        to_pcm("opus", b"\0")


def test_silence_is_two_bytes_a_sample() -> None:
    assert silence(3) == bytes(6)
