"""What an Opus packet tells of itself without being decoded (RFC 6716, section 3).

Decided here: only the duration is read, from the first one or two bytes. Whether the rest makes sense is
for the decoder to find out.
"""

from __future__ import annotations

from typing import Final

OPUS_RATE_HZ: Final = 48_000
"""The rate in which all durations of Opus are counted (RFC 6716, section 2.1.1; RFC 7845, section 4)."""

MAX_PACKET_SAMPLES: Final = 120 * OPUS_RATE_HZ // 1000
"""The longest packet: 120 ms (RFC 6716, section 3.2.5)."""

MAX_PACKET_BYTES: Final = 61_440
"""No packet of one stream is longer: 48 frames of 1275 bytes with their lengths (RFC 7845, section 6)."""

_MS: Final = OPUS_RATE_HZ // 1000

# Samples of a frame for each of the 32 configurations (RFC 6716, table 2): SILK 10 to 60 ms, hybrid 10 and
# 20 ms, CELT 2.5 to 20 ms.
_FRAME_SAMPLES: Final = (
    *(10 * _MS, 20 * _MS, 40 * _MS, 60 * _MS) * 3,
    *(10 * _MS, 20 * _MS) * 2,
    *(5 * _MS // 2, 5 * _MS, 10 * _MS, 20 * _MS) * 4,
)
_ONE_FRAME: Final = 0xFC  # clears the count code of a first byte: one frame (section 3.2.2)
_FRAME_COUNT: Final = 0x3F  # of the second byte of a packet of code 3 (section 3.2.5)
_ANY_NUMBER: Final = 3  # the count code whose number of frames stands in the second byte


class InvalidPacket(ValueError):  # noqa: N818 - named for what it is
    """The bytes are no Opus packet; caused by whoever sent them."""


def packet_samples(packet: bytes) -> int:
    """How many samples at 48 kHz a packet holds; raises `InvalidPacket` if its first bytes allow none."""
    if not packet:
        raise InvalidPacket("an Opus packet has at least one byte")
    samples = _FRAME_SAMPLES[packet[0] >> 3] * _frame_count(packet)
    if not 0 < samples <= MAX_PACKET_SAMPLES:
        raise InvalidPacket(f"an Opus packet holds 2.5 to 120 ms, this one says {samples // _MS} ms")
    return samples


def absent_frame(packet: bytes) -> bytes:
    """The packet that stands for one frame that was not received, in the configuration of ``packet``.

    A decoder fills its place with what is likely to have been there (RFC 6716, section 3.2.1).
    """
    return bytes([packet[0] & _ONE_FRAME])


def _frame_count(packet: bytes) -> int:
    code = packet[0] & 3
    if code != _ANY_NUMBER:
        return min(code, 1) + 1
    if len(packet) == 1:
        raise InvalidPacket("this Opus packet ends before the number of its frames")
    return packet[1] & _FRAME_COUNT
