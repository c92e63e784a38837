"""What is said to the clients' sessions: words as the scripted engine hears them, in two utterances.

And how it is cut into appends: PCM as usual, Opus as a raw packet each, or as an Ogg stream cut anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Final

import numpy as np

from qa_service.asr_server.engines.scripted import markers
from qa_service.audio.resample import pcm_of_samples
from tests.support.opus import encode_opus, ogg_pages

FIRST: Final = ("w17", "w204", "w3", "w96", "w250", "w41", "w128", "w9")
SECOND: Final = ("w77", "w5", "w160", "w233")
UTTERANCES: Final = (" ".join(FIRST), " ".join(SECOND))

_PAUSE_S: Final = 1.1  # ends an utterance at each setting that the clients use: 400 and 800 ms
_EDGE_S: Final = 0.2  # of silence at the ends: the last utterance is open when the session is finished

_APPEND_MS: Final = 100
_PACKET_MS: Final = 60  # of Opus, as the clients had it that others have seen with the real service
_BIT_RATE: Final = 32_000  # at which the marks that stand for words are still told apart
# Of pieces of an Ogg stream: within a page's header, within its packet, over several pages.
_CUTS: Final = (1, 30, 333, 97, 1000)


def conversation(rate_hz: int) -> bytes:
    """Both utterances with a pause between them, as 16-bit PCM."""
    pause, edge = _silence(_PAUSE_S, rate_hz), _silence(_EDGE_S, rate_hz)
    return edge + _spoken(FIRST, rate_hz) + pause + _spoken(SECOND, rate_hz) + edge


def turns(rate_hz: int) -> tuple[bytes, bytes]:
    """Each utterance by itself, as 16-bit PCM."""
    edge = _silence(_EDGE_S, rate_hz)
    return edge + _spoken(FIRST, rate_hz) + edge, edge + _spoken(SECOND, rate_hz) + edge


def pcm_appends(pcm: bytes, rate_hz: int) -> list[bytes]:
    """100 ms each."""
    size = 2 * rate_hz * _APPEND_MS // 1000
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]


def packet_appends(pcm: bytes, rate_hz: int) -> list[bytes]:
    """An Opus packet each."""
    return encode_opus(np.frombuffer(pcm, "<i2") / 32768, rate_hz, frame_ms=_PACKET_MS, bit_rate=_BIT_RATE)


def ogg_appends(pcm: bytes, rate_hz: int) -> list[bytes]:
    """An Ogg stream, a packet on each page, cut without regard to its pages."""
    return list(_pieces(b"".join(ogg_pages(packet_appends(pcm, rate_hz)))))


def _pieces(stream: bytes) -> Iterator[bytes]:
    start = 0
    for size in cycle(_CUTS):
        if start >= len(stream):
            return
        yield stream[start : start + size]
        start += size


def _spoken(words: tuple[str, ...], rate_hz: int) -> bytes:
    return pcm_of_samples(markers(words, rate_hz=rate_hz))


def _silence(seconds: float, rate_hz: int) -> bytes:
    return bytes(2 * round(seconds * rate_hz))
