"""What clients append as ``opus``, made into PCM (section 3.2).

Decided here: if the appends, put together, begin like an Ogg stream, they are one, cut anywhere; else each is
one raw packet. What is damaged is told once in words, and its time is filled, so that what comes after it
keeps its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from qa_service.audio.ogg import OGG_MAGIC, AudioPacket, Damage, Missing, OggEvent, OggReader, StreamBegun
from qa_service.audio.opus_packets import OPUS_RATE_HZ, InvalidPacket, packet_samples
from qa_service.audio.resample import PCM_SAMPLE_BYTES

if TYPE_CHECKING:
    from qa_service.audio.opus import OpusDecoder

_PIECE_MS: Final = 500  # of audio that is given at a time, so that a whole file is heard bit by bit
_SLICE_BYTES: Final = 8192  # of an Ogg stream that are looked at in one go, for the same reason
_USUAL_SAMPLES: Final = 20 * OPUS_RATE_HZ // 1000  # of a packet whose length nobody knows


class OpusStream:
    """All the Opus that one session appends; mono PCM at ``rate_hz`` out."""

    def __init__(self, rate_hz: int) -> None:
        self.fault: str | None = None
        """What was last found to be damaged in the newest append, in words; None if nothing was."""
        self._rate_hz = rate_hz
        self._step = OPUS_RATE_HZ // rate_hz
        self._piece_bytes = rate_hz * _PIECE_MS // 1000 * PCM_SAMPLE_BYTES
        self._decoder = _decoder(rate_hz)
        self._ogg: OggReader | None = None
        # First bytes that are too few to tell whether they begin an Ogg stream.
        self._undecided = b""
        self._packet_samples = _USUAL_SAMPLES
        # Bytes of PCM that are still to be thrown away (RFC 7845, section 4.2).
        self._skip_bytes = 0

    def push(self, append: bytes) -> Iterator[bytes]:
        """The PCM of an append in pieces of at most some 500 ms, decoded as they are asked for; ask for all.

        Pieces may be empty: none takes long, whatever there is to be read for it.
        """
        self.fault = None
        for part in self._parts(append):
            piece = bytearray()
            for pcm in self._decoded(part):
                piece += pcm
                if len(piece) >= self._piece_bytes:
                    yield bytes(piece)
                    piece.clear()
            yield bytes(piece)

    def _parts(self, append: bytes) -> Iterator[Iterable[OggEvent]]:
        """What an append holds, part by part; go to the end of each before the next."""
        if self._ogg is None:
            begun = self._undecided + append
            self._undecided = b""
            if begun.startswith(OGG_MAGIC):
                self._ogg, append = OggReader(), begun
            elif OGG_MAGIC.startswith(begun):
                self._undecided = begun
                return
            else:
                noise = [Damage("what came first is no Opus packet")] if len(begun) > len(append) else []
                yield [*noise, AudioPacket(append)]
                return
        for start in range(0, len(append), _SLICE_BYTES):
            yield self._ogg.push(append[start : start + _SLICE_BYTES])

    def _decoded(self, events: Iterable[OggEvent]) -> Iterator[bytes]:
        for event in events:
            match event:
                case AudioPacket(packet):
                    yield self._without_skipped(self._decode(packet))
                case Missing(samples):
                    yield self._decoder.conceal(samples // self._step)
                case StreamBegun(pre_skip, gain):
                    self._decoder = _decoder(self._rate_hz, gain)
                    self._skip_bytes = pre_skip // self._step * PCM_SAMPLE_BYTES
                case Damage(reason):
                    self.fault = reason

    def _decode(self, packet: bytes) -> bytes:
        try:
            samples = packet_samples(packet)
            self._packet_samples = samples
            return self._decoder.decode(packet)
        except InvalidPacket as fault:
            self.fault = str(fault)
            return self._decoder.conceal(self._packet_samples // self._step)

    def _without_skipped(self, pcm: bytes) -> bytes:
        skipped = min(self._skip_bytes, len(pcm))
        self._skip_bytes -= skipped
        return pcm[skipped:]


def _decoder(rate_hz: int, gain: float = 1.0) -> OpusDecoder:
    from qa_service.audio.opus import OpusDecoder  # noqa: PLC0415 - 19 MB, and few clients send Opus

    return OpusDecoder(rate_hz, gain=gain)
