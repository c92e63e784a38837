"""Opus for tests: packets from libopus, and Ogg pages that a test can damage as it likes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from qa_service.audio.opus_packets import packet_samples

PRE_SKIP = 312  # samples at 48 kHz: what libopus delays by
NO_GRANULE = 2**64 - 1


def encode_opus(
    samples: np.ndarray, rate_hz: int, *, frame_ms: int = 20, channels: int = 1, bit_rate: int = 24_000
) -> list[bytes]:
    """The packets of samples in ±1; the last one is filled up with silence."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = rate_hz
    encoder.layout = "mono" if channels == 1 else "stereo"
    encoder.format = "s16"
    encoder.bit_rate = bit_rate
    encoder.time_base = Fraction(1, rate_hz)
    encoder.options = {"application": "voip", "frame_duration": str(frame_ms)}
    size = rate_hz * frame_ms // 1000
    pcm = np.rint(samples * 32767).astype(np.int16)
    pcm = np.pad(pcm, (0, -len(pcm) % size))
    packets: list[bytes] = []
    for start in range(0, len(pcm), size):
        block = np.repeat(pcm[start : start + size], channels).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout=encoder.layout.name)
        frame.sample_rate, frame.pts = rate_hz, start
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]


def opus_head(*, channels: int = 1, pre_skip: int = PRE_SKIP, gain: int = 0, version: int = 1) -> bytes:
    return struct.pack("<8sBBHIhB", b"OpusHead", version, channels, pre_skip, 16_000, gain, 0)


def opus_tags(size: int = 20) -> bytes:
    return b"OpusTags" + bytes(size)


def ogg_page(
    packets: Sequence[bytes],
    *,
    sequence: int,
    granule: int = 0,
    serial: int = 7,
    first: bool = False,
    continued: bool = False,
    goes_on: bool = False,
) -> bytes:
    """A page of whole packets; ``goes_on``: the last one, of a multiple of 255 bytes, is not at its end."""
    lengths = b"".join(bytes([255] * (len(packet) // 255) + [len(packet) % 255]) for packet in packets)
    if goes_on:
        lengths = lengths[:-1]
    flags = continued | first << 1
    head = struct.pack("<4sBBQIII", b"OggS", 0, flags, granule, serial, sequence, 0)
    page = head + bytes([len(lengths)]) + lengths + b"".join(packets)
    return page[:22] + struct.pack("<I", crc(page)) + page[26:]


def ogg_pages(
    packets: Sequence[bytes], *, serial: int = 7, per_page: int = 1, head: bytes | None = None
) -> list[bytes]:
    """An Ogg stream as a list of pages: header, tags, then ``per_page`` packets on each."""
    pages = [
        ogg_page([head or opus_head()], sequence=0, serial=serial, first=True),
        ogg_page([opus_tags()], sequence=1, serial=serial),
    ]
    granule = 0
    for start in range(0, len(packets), per_page):
        held = packets[start : start + per_page]
        granule += sum(map(packet_samples, held))
        pages.append(ogg_page(held, sequence=len(pages), granule=granule, serial=serial))
    return pages


def crc(page: bytes) -> int:
    """Ogg's checksum, bit by bit as RFC 3533 describes it."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        value &= 0xFFFFFFFF
    return value


def likeness(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """The largest correlation of two sounds, and by how many samples the second is then late."""
    size = 2 * max(len(one), len(other))
    product = np.fft.irfft(np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size)))
    lag = int(np.argmax(product))
    strength = product[lag] / np.sqrt((one.astype(float) ** 2).sum() * (other.astype(float) ** 2).sum())
    return float(strength), lag if lag < size // 2 else lag - size


def tone_steps(seconds: float, rate_hz: int) -> np.ndarray:
    """A sound of which no part is like another: a slow sweep through the telephone band."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return 0.3 * np.sin(2 * np.pi * (300 * t + 1400 / (2 * seconds) * t**2))


def syllables(seconds: float, rate_hz: int) -> np.ndarray:
    """Noise that swells four times a second. Unlike after a pure tone, a decoder that has missed a packet is
    soon right again, as it is with speech."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(5).normal(0.0, 0.15, len(t))
    return np.convolve(noise, np.ones(6) / 3, "same") * np.sin(2 * np.pi * 2 * t) ** 2
