"""What each leg says: recordings on a telephone line, with pauses, 45 % of the time speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from qa_service.audio.line import LINE_RATE_HZ
from qa_service.bench.recordings import Recording, idle_line, on_the_line
from tools.compare.captions import Said

_SPEECH_SHARE: Final = 0.45  # as in `qa-service bench asr --legs`
_SHORTEST_PAUSE_S: Final = 1.2  # ends an utterance in any case
_TAIL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Conversation:
    """One leg: 16-bit PCM at 8 kHz, and what is said in it."""

    pcm: bytes
    said: tuple[Said, ...]

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(utterance.text for utterance in self.said)


def converse(recordings: Sequence[Recording], seconds: float, seed: int) -> Conversation:
    """A leg of about ``seconds`` in which no recording comes again before all have been used."""
    generator = np.random.default_rng(seed)
    parts: list[bytes] = []
    said: list[Said] = []
    order: list[int] = []
    length_ms = 0.0
    while length_ms < seconds * 1000:
        order = order or list(generator.permutation(len(recordings)))
        recording = recordings[order.pop()]
        pause_s = recording.seconds * (1 - _SPEECH_SHARE) / _SPEECH_SHARE
        track = on_the_line(recording, max(_SHORTEST_PAUSE_S, pause_s * generator.uniform(0.6, 1.4)))
        start_ms, end_ms = length_ms + track.speech_start_ms, length_ms + track.speech_end_ms
        said.append(Said(recording.text or "", start_ms, end_ms))
        parts.append(track.pcm)
        length_ms += len(track.pcm) / 2 * 1000 / LINE_RATE_HZ
    return Conversation(b"".join([*parts, idle_line(_TAIL_S).tobytes()]), tuple(said))
