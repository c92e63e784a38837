"""Opus on a leg: packets become PCM as they are put in order, before they are kept.

Decided here: what is kept for a replay is PCM, since a decoder cannot begin again in the middle of what it
has heard: a replay then sends exactly what the first session was sent. It costs memory, 16 KB a second at
8 kHz: 1.9 MB for the 120 s that a leg keeps at most, twice that of G.711 (3.8 MB at 16 kHz). A successor
reads from Kafka again and begins with a new decoder, whose speech is right after a few tenths of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from qa_service.audio.opus_packets import InvalidPacket
from qa_service.audio.pcm import BYTES_PER_SAMPLE
from qa_service.domain.arrival import Arrival

if TYPE_CHECKING:
    from qa_service.audio.opus import OpusDecoder


class PacketDecoder:
    """The Opus decoder of one leg, made when its first packet comes."""

    def __init__(self, rate: int) -> None:
        self.damaged = 0
        """Packets in whose place a guess stands, so far."""
        self._rate = rate
        self._decoder: OpusDecoder | None = None

    def decode(self, packet: Arrival) -> Arrival:
        """The same stretch as 16-bit PCM; a damaged packet by what is likely to have been there."""
        decoder = self._ready_decoder()
        try:
            pcm = decoder.decode(packet.audio)
        except InvalidPacket:
            self.damaged += 1
            pcm = decoder.conceal(packet.samples)
        # Of a packet that overlaps the one before it only the end is meant.
        pcm = pcm[-BYTES_PER_SAMPLE * packet.samples :]
        return msgspec.structs.replace(packet, codec="pcm_s16le", audio=pcm)

    def _ready_decoder(self) -> OpusDecoder:
        if self._decoder is None:
            from qa_service.audio.opus import OpusDecoder  # noqa: PLC0415 - 19 MB, and few platforms send Opus

            self._decoder = OpusDecoder(self._rate)
        return self._decoder
