"""Opus packets out of an Ogg stream that comes in pieces cut anywhere (RFC 3533, RFC 7845).

Decided here: a page whose checksum is wrong is left out, and reading goes on at the next page that can be
found; the granule positions of its neighbours tell how much audio is missing. Streams may follow each other
(chained) and other streams may lie between (multiplexed): of those only the newest Opus stream is read.
Memory is bounded by one page and one packet, whatever comes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from qa_service.audio.opus_packets import MAX_PACKET_BYTES, OPUS_RATE_HZ, InvalidPacket, packet_samples

OGG_MAGIC: Final = b"OggS"
"""The first bytes of each page. No raw Opus packet begins so: it would hold 780 ms."""

MAX_HOLE_SAMPLES: Final = 5 * OPUS_RATE_HZ
"""Samples at 48 kHz that are believed to be missing at one place: a damaged number must not mean hours."""

# Magic, version, flags, granule position, serial, sequence, checksum, segments.
_HEADER: Final = struct.Struct("<4sBBqIIIB")
_CRC_PLACE: Final = slice(22, 26)
_CONTINUED, _FIRST = 1, 2  # flags
_NO_GRANULE: Final = -1  # no packet ends on the page
_WHOLE_SEGMENT: Final = 255  # a segment so long is not the packet's last
# Magic, version, channels, pre-skip, rate before encoding, gain, mapping family.
_HEAD: Final = struct.Struct("<8sBBHIhB")
_MAJOR_VERSION: Final = 0xF0
_GAIN_UNIT: Final = 256  # of 1 dB

_MIRRORED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ALL_BITS: Final = 0xFFFFFFFF


class StreamBegun(Struct, frozen=True):
    """An Opus stream begins; ``pre_skip`` samples at 48 kHz of it are left out, ``gain`` is a factor."""

    pre_skip: int
    gain: float


class AudioPacket(Struct, frozen=True):
    """The next packet of the stream."""

    packet: bytes


class Missing(Struct, frozen=True):
    """Audio got lost before the next packet: so many samples at 48 kHz."""

    samples: int


class Damage(Struct, frozen=True):
    """Something cannot be read; what follows may be."""

    reason: str


OggEvent: TypeAlias = StreamBegun | AudioPacket | Missing | Damage


class _Page(NamedTuple):
    continued: bool
    first: bool
    granule: int
    serial: int
    sequence: int
    lengths: bytes
    body: bytes


class OggReader:
    """Reads one byte stream; push what comes, in order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._stream: _LogicalStream | None = None

    def push(self, data: bytes) -> Iterator[OggEvent]:
        """Take the next bytes and go over what they complete; go to the end before pushing more."""
        self._buffer += data
        while (found := self._next_page()) is not None:
            if isinstance(found, Damage):
                yield found
            else:
                yield from self._take(found)

    def _take(self, page: _Page) -> Iterator[OggEvent]:
        if page.first:
            if page.body.startswith(b"OpusHead"):
                self._stream = None
                begun = _read_head(page.body)
                if isinstance(begun, StreamBegun):
                    self._stream = _LogicalStream(page)
                yield begun
        elif self._stream is None:
            yield Damage("the Ogg stream holds no Opus stream of one or two channels")
        elif page.serial == self._stream.serial:
            yield from self._stream.take(page)

    def _next_page(self) -> _Page | Damage | None:
        """The next page or what is wrong before it; None if more bytes are needed."""
        buffer = self._buffer
        begin = buffer.find(OGG_MAGIC)
        if begin < 0:
            return self._drop(max(len(buffer) - len(OGG_MAGIC) + 1, 0))
        if begin > 0:
            return self._drop(begin)
        size = self._page_size()
        if size is None or size > len(buffer):
            # A page that was cut short would swallow the pages after it.
            again = buffer.find(OGG_MAGIC + b"\0", 1)
            return None if again < 0 else self._drop(again)
        raw = bytes(buffer[:size])
        if not _is_intact(raw):
            return self._drop(len(OGG_MAGIC))
        del buffer[:size]
        return _read_page(raw)

    def _page_size(self) -> int | None:
        """How long the page is that the buffer begins with, if that can be told yet."""
        if len(self._buffer) < _HEADER.size:
            return None
        lengths_end = _HEADER.size + self._buffer[_HEADER.size - 1]
        if len(self._buffer) < lengths_end:
            return None
        return lengths_end + sum(self._buffer[_HEADER.size : lengths_end])

    def _drop(self, size: int) -> Damage | None:
        del self._buffer[:size]
        return Damage("a page of the Ogg stream is damaged") if size else None


class _LogicalStream:
    """The pages of one Opus stream, put together to packets."""

    def __init__(self, head: _Page) -> None:
        self.serial = head.serial
        self._sequence = head.sequence
        # Where the last page ended, in samples at 48 kHz; None before the first one with audio.
        self._granule: int | None = None
        # The beginning of a packet that goes on on the next page; None if none does.
        self._begun: bytes | None = None

    def take(self, page: _Page) -> Iterator[OggEvent]:
        is_gap = page.sequence != (self._sequence + 1) & _ALL_BITS
        if is_gap:
            self._begun = None
        self._sequence = page.sequence
        packets = [packet for packet in self._packets(page) if not packet.startswith(b"OpusTags")]
        if is_gap:
            yield Damage("pages of the Ogg stream are missing")
            yield from self._missing_before(page, packets)
        if page.granule != _NO_GRANULE:
            self._granule = page.granule
        for packet in packets:
            yield AudioPacket(packet)

    def _packets(self, page: _Page) -> Iterator[bytes]:
        """The packets that end on ``page``; of too long ones, such as tags with a picture, the beginning."""
        begun = self._begun if page.continued else b""
        self._begun = None
        position = 0
        for length in page.lengths:
            if begun is not None and len(begun) <= MAX_PACKET_BYTES:
                begun += page.body[position : position + length]
            position += length
            if length < _WHOLE_SEGMENT:
                if begun is not None:  # else its beginning was lost
                    yield begun
                begun = b""
        if page.lengths and page.lengths[-1] == _WHOLE_SEGMENT:
            self._begun = begun

    def _missing_before(self, page: _Page, packets: list[bytes]) -> Iterator[Missing]:
        if self._granule is None or page.granule == _NO_GRANULE:
            return
        missing = page.granule - self._granule - sum(map(_samples, packets))
        if missing > 0:
            yield Missing(min(missing, MAX_HOLE_SAMPLES))


def _samples(packet: bytes) -> int:
    try:
        return packet_samples(packet)
    except InvalidPacket:
        return 0


def _read_page(raw: bytes) -> _Page:
    _, _, flags, granule, serial, sequence, _, segments = _HEADER.unpack_from(raw)
    body_begin = _HEADER.size + segments
    return _Page(
        continued=bool(flags & _CONTINUED),
        first=bool(flags & _FIRST),
        granule=granule,
        serial=serial,
        sequence=sequence,
        lengths=raw[_HEADER.size : body_begin],
        body=raw[body_begin:],
    )


def _read_head(packet: bytes) -> StreamBegun | Damage:
    """What the first packet of a stream says (RFC 7845, section 5.1)."""
    if len(packet) < _HEAD.size:
        return Damage("the header of the Opus stream is damaged")
    _, version, channels, pre_skip, _, gain, mapping = _HEAD.unpack_from(packet)
    if version & _MAJOR_VERSION:
        return Damage("the Opus stream has a version that is not known")
    # Other mappings put several streams into each packet, unless their table says one.
    streams = packet[_HEAD.size] if mapping and len(packet) > _HEAD.size else 1
    if channels not in (1, 2) or streams != 1:
        return Damage("the Opus stream has more than two channels")
    return StreamBegun(pre_skip, 10.0 ** (gain / _GAIN_UNIT / 20))


def _is_intact(raw: bytes) -> bool:
    """Whether the version is known and the checksum right.

    Ogg's checksum is that of zlib with the bits of each byte the other way round, and without the inversions
    at either end.
    """
    if raw[len(OGG_MAGIC)] != 0:
        return False
    blank = raw[: _CRC_PLACE.start] + bytes(4) + raw[_CRC_PLACE.stop :]
    mirrored = zlib.crc32(blank.translate(_MIRRORED), _ALL_BITS) ^ _ALL_BITS
    return raw[_CRC_PLACE].translate(_MIRRORED) == mirrored.to_bytes(4, "big")
