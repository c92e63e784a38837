"""What is said to the clients' sessions: words as the scripted engine hears them, in two utterances."""

from __future__ import annotations

from typing import Final

from qa_service.asr_server.engines.scripted import markers
from qa_service.audio.resample import pcm_of_samples

FIRST: Final = ("w17", "w204", "w3", "w96", "w250", "w41", "w128", "w9")
SECOND: Final = ("w77", "w5", "w160", "w233")
UTTERANCES: Final = (" ".join(FIRST), " ".join(SECOND))

_PAUSE_S: Final = 1.1  # ends an utterance at each setting that the clients use: 400 and 800 ms
_EDGE_S: Final = 0.2  # of silence at the ends: the last utterance is open when the session is finished


def conversation(rate_hz: int) -> bytes:
    """Both utterances with a pause between them, as 16-bit PCM."""
    pause, edge = _silence(_PAUSE_S, rate_hz), _silence(_EDGE_S, rate_hz)
    return edge + _spoken(FIRST, rate_hz) + pause + _spoken(SECOND, rate_hz) + edge


def turns(rate_hz: int) -> tuple[bytes, bytes]:
    """Each utterance by itself, as 16-bit PCM."""
    edge = _silence(_EDGE_S, rate_hz)
    return edge + _spoken(FIRST, rate_hz) + edge, edge + _spoken(SECOND, rate_hz) + edge


def _spoken(words: tuple[str, ...], rate_hz: int) -> bytes:
    return pcm_of_samples(markers(words, rate_hz=rate_hz))


def _silence(seconds: float, rate_hz: int) -> bytes:
    return bytes(2 * round(seconds * rate_hz))
