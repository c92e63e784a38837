"""Opus packets to 16-bit PCM and back: one decoder or encoder, with its memory, for each stream.

Decided here: packets are decoded by libopus at 48 kHz, mixed to one channel by it, and brought to 8 or 16 kHz
by a filter whose output has exactly the length of its input, so that positions can be counted in packets. The
filter delays by 2 ms (1 ms at 16 kHz), the codec by its usual 6.5 ms; nobody makes up for that.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import av
import av.error
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from qa_service.audio.opus_packets import OPUS_RATE_HZ, InvalidPacket, absent_frame, packet_samples

Int16 = npt.NDArray[np.int16]

# Kaiser-windowed sinc with 32 taps a phase. At 8 kHz: flat to 3.4 kHz, 60 dB down from 4.3 kHz on, so that
# what folds back lies above 3.7 kHz; at 16 kHz the same one octave higher.
_TAPS_PER_PHASE: Final = 32
_CUTOFF: Final = 0.9625  # of half the new rate; the middle of the transition band
_KAISER_BETA: Final = 5.65  # 60 dB (Kaiser's formula)

ENCODED_MS: Final = (5, 10, 20, 40, 60, 80, 100, 120)
"""Milliseconds that a packet of ours may hold; of 2.5, the shortest there is, nobody makes use."""
_BIT_RATE: Final = 24_000  # bit/s; above what speech needs at any band up to 8 kHz (RFC 7587, section 3.1.1)

_SUPPOSED_PACKET: Final = b"\x48"  # before there is any: SILK, wide band, 20 ms
_MAX_CONCEALED: Final = 120 * OPUS_RATE_HZ // 1000  # of one hole; the decoder's guess has faded out by then


class OpusDecoder:
    """The decoder of one stream of packets, mono PCM at ``rate_hz`` (8000 or 16000) out.

    ``gain`` is a factor applied to all samples. About 35 KiB of memory; 1.5 to 2 ms of CPU a second of audio.
    """

    def __init__(self, rate_hz: int, *, gain: float = 1.0) -> None:
        self._step = OPUS_RATE_HZ // rate_hz
        self._codec = av.CodecContext.create("libopus", "r")
        # Without this the decoder would take stereo; with it libopus mixes stereo packets down.
        self._codec.layout = "mono"
        self._filter = _Decimator(self._step, gain)
        # The last packet that was decoded: what is missing is taken to have been like it.
        self._last = _SUPPOSED_PACKET

    def decode(self, packet: bytes) -> bytes:
        """The PCM of a packet, exactly as long as the packet says.

        Raises `InvalidPacket` if it is damaged; `conceal` then fills its place.
        """
        samples = packet_samples(packet)
        decoded = self._decode(packet)
        if len(decoded) != samples:
            raise InvalidPacket(
                f"an Opus packet of {samples} samples at 48 kHz is damaged: {len(decoded)} could be decoded"
            )
        self._last = packet
        return self._filter.push(decoded)

    def conceal(self, samples: int) -> bytes:
        """PCM of ``samples`` (at the output rate) for audio that is missing: a guess that fades out."""
        missing = samples * self._step
        filling = np.zeros(missing, dtype=np.int16)
        filled = 0
        while filled < min(missing, _MAX_CONCEALED):
            guess = self._decode(absent_frame(self._last))[: missing - filled]
            if not len(guess):
                break
            filling[filled : filled + len(guess)] = guess
            filled += len(guess)
        return self._filter.push(filling)

    def _decode(self, packet: bytes) -> Int16:
        """The samples at 48 kHz; none if the packet cannot be decoded."""
        try:
            frames = self._codec.decode(av.Packet(packet))
        except av.error.FFmpegError:
            return np.zeros(0, dtype=np.int16)
        if not frames:
            return np.zeros(0, dtype=np.int16)
        # libopus gives one frame a packet. Not frame.to_ndarray, which takes four times as long.
        return np.frombuffer(memoryview(frames[0].planes[0]), dtype=np.int16, count=frames[0].samples)


class OpusEncoder:
    """The encoder of one stream: a packet of ``frame_ms`` for each such stretch of mono PCM at ``rate_hz``.

    For speech, at 24 kbit/s. What is decoded comes 6.5 ms later, so of the very last frame that much is lost.
    """

    def __init__(self, rate_hz: int, *, frame_ms: int = 20) -> None:
        if frame_ms not in ENCODED_MS:
            raise ValueError(f"no Opus packet holds {frame_ms} ms: use one of {ENCODED_MS}")
        self._rate_hz = rate_hz
        self._samples = rate_hz * frame_ms // 1000
        self._encoded = 0
        self._codec = av.AudioCodecContext.create("libopus", "w")
        self._codec.sample_rate = rate_hz
        self._codec.layout = "mono"
        self._codec.format = "s16"
        self._codec.bit_rate = _BIT_RATE
        self._codec.time_base = Fraction(1, rate_hz)
        self._codec.options = {"application": "voip", "frame_duration": str(frame_ms)}

    def encode(self, pcm: bytes) -> bytes:
        """The packet of the next ``frame_ms`` of 16-bit PCM; raises ValueError if it is not so long."""
        samples = np.frombuffer(pcm, dtype="<i2").astype(np.int16, copy=False)
        if len(samples) != self._samples:
            raise ValueError(f"a frame is {self._samples} samples here, not {len(samples)}")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = self._rate_hz, self._encoded
        self._encoded += self._samples
        (packet,) = self._codec.encode(frame)
        return bytes(packet)


class _Decimator:
    """Keeps each ``step``-th sample of a stream after a low-pass filter, over any cuts at whole steps."""

    def __init__(self, step: int, gain: float) -> None:
        self._step = step
        self._taps = _low_pass(step) * np.float32(gain)
        self._past = np.zeros(len(self._taps) - step, dtype=np.float32)

    def push(self, samples: Int16) -> bytes:
        """Take samples, a multiple of ``step``; give 16-bit PCM of as many steps."""
        stream = np.concatenate([self._past, samples.astype(np.float32)])
        self._past = stream[len(samples) :]
        # Row n begins at sample n x step. Copied since a product over overlapping rows takes longer.
        rows, item = len(samples) // self._step, stream.itemsize
        windows = as_strided(stream, (rows, len(self._taps)), (self._step * item, item)).copy()
        kept = np.rint(windows @ self._taps)
        pcm: bytes = kept.clip(-32768, 32767).astype("<i2").tobytes()
        return pcm


def _low_pass(step: int) -> npt.NDArray[np.float32]:
    length = _TAPS_PER_PHASE * step
    time = np.arange(length) - (length - 1) / 2
    taps = np.sinc(time * _CUTOFF / step) * np.kaiser(length, _KAISER_BETA)
    normalised: npt.NDArray[np.float32] = (taps / taps.sum()).astype(np.float32)
    return normalised
