"""Which audio a record may carry, and how many samples that is."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from qa_service.audio.opus_packets import OPUS_RATE_HZ, InvalidPacket, packet_samples
from qa_service.contract.errors import ContractViolation, Reason, UnsupportedCodec, shorten

Codec: TypeAlias = Literal["pcmu", "pcma", "pcm_s16le", "opus"]
"""``pcmu``, ``pcma``: ITU-T G.711, a byte a sample. ``pcm_s16le``: two. ``opus``: a packet a record."""

CODECS: tuple[Codec, ...] = get_args(Codec)
RATES = (8000, 16000)
"""Sampling rates in Hz."""

DEFAULT_CODEC: Codec = "pcmu"
"""What a leg without a ``start`` record is taken to send."""
DEFAULT_RATE = 8000
"""Hz; see :data:`DEFAULT_CODEC`."""

_BYTES_PER_SAMPLE: dict[Codec, int] = {"pcmu": 1, "pcma": 1, "pcm_s16le": 2}


def bytes_per_sample(codec: Codec) -> int:
    """Return how many bytes a sample takes; raises UnsupportedCodec for Opus, whose packets do not tell."""
    width = _BYTES_PER_SAMPLE.get(codec)
    if width is None:
        raise UnsupportedCodec(codec)
    return width


def count_samples(codec: Codec, audio: bytes, rate: int = DEFAULT_RATE) -> int:
    """Return how many samples a payload holds; ``rate`` (Hz) counts for Opus alone, which has none itself.

    Raises ContractViolation: ``odd_bytes`` for half a 16-bit sample, ``bad_opus_packet`` for an Opus packet
    whose first bytes name no duration. Packets that are damaged further inside are taken.
    """
    if codec == "opus":
        return _count_opus_samples(audio) * rate // OPUS_RATE_HZ
    samples, rest = divmod(len(audio), bytes_per_sample(codec))
    if rest:
        raise ContractViolation(
            Reason.ODD_BYTES,
            f"audio of codec '{codec}' has {len(audio)} bytes, not a whole number of 16-bit samples: "
            "send complete samples, or name the codec that the bytes are in",
        )
    return samples


def _count_opus_samples(packet: bytes) -> int:
    try:
        return packet_samples(packet)
    except InvalidPacket as fault:
        raise ContractViolation(
            Reason.BAD_OPUS_PACKET,
            f"the value is no Opus packet: {fault}; send one raw packet a record, without Ogg around it",
        ) from None


def parse_codec(raw: bytes | None) -> Codec:
    """Return the codec that a ``codec`` header names, or raise ContractViolation (``unknown_codec``)."""
    codec = _CODEC_HEADERS.get(raw)
    if codec is None:
        raise ContractViolation(
            Reason.UNKNOWN_CODEC, f"header 'codec' is {shorten(raw)}: use one of {', '.join(CODECS)}"
        )
    return codec


def parse_rate(raw: bytes | None) -> int:
    """Return the rate in Hz that a ``rate`` header names, or raise ContractViolation (``unknown_rate``)."""
    rate = _RATE_HEADERS.get(raw)
    if rate is None:
        raise ContractViolation(
            Reason.UNKNOWN_RATE, f"header 'rate' is {shorten(raw)}: resample to 8000 or 16000 Hz"
        )
    return rate


_CODEC_HEADERS: dict[bytes | None, Codec] = {codec.encode(): codec for codec in CODECS}
_RATE_HEADERS: dict[bytes | None, int] = {b"%d" % rate: rate for rate in RATES}
