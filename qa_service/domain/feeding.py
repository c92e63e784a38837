"""What one recogniser session is sent of its leg.

Audio goes as it came, as PCM. Decided here: how much silence stands for what is missing. A short hole is
filled; a long one gets only as much as surely ends an utterance, and so does a stretch in which frames stop
without a word. The session's timeline notes for which positions each append stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from qa_service.audio.pcm import silence, to_pcm
from qa_service.domain.actions import Append
from qa_service.domain.arrival import Arrival, Hole
from qa_service.domain.hearing import Hearing
from qa_service.domain.recognition import Recognition

SILENCE_MARGIN_MS: Final = 500
"""Silence fed beyond what ends an utterance, so that it surely ends (design, 3.1)."""


class SessionFeed:
    """Feeds one session; what is to be sent goes to ``emit``."""

    def __init__(
        self, recognition: Recognition, hearing: Hearing, *, position: int, emit: Callable[[Append], None]
    ) -> None:
        """``position``: where the session begins on the leg."""
        self.recognition = recognition
        """What the session has said."""
        self.sent_until = position
        """Position up to which the session was fed."""
        self._hearing = hearing
        self._emit = emit
        self._ending_silence = recognition.timeline.samples(recognition.silence_ms + SILENCE_MARGIN_MS)
        """Samples of silence that surely end an utterance."""
        self._stall_fed = 0
        """Samples of silence fed since frames stopped."""

    def send(self, batch: Sequence[Arrival], *, now: float) -> None:
        """Send frames that follow each other."""
        recognition = self.recognition
        pcm = _decode(batch)
        start, end = batch[0].pos, batch[-1].end
        recognition.timeline.append(start, end - start)
        self.sent_until = end
        self._stall_fed = 0
        self._emit(Append(recognition.number, pcm))
        recognition.note_sent(end - start, now=now)
        if not recognition.honours_extensions:
            self._hearing.listen(start, pcm, now=now)

    def send_hole(self, hole: Hole) -> None:
        """Send silence for a hole: all of a short one, enough to end an utterance for a long one."""
        samples = max(min(hole.samples, self._ending_silence - self._stall_fed), 0)
        if samples:
            self._send_silence(hole.pos, samples, stands_for=hole.samples)
        self._stall_fed = 0
        self.sent_until = hole.end

    def bridge_stall(self) -> None:
        """Frames stopped without a word: end an open utterance by silence, once."""
        if self.recognition.has_open_item and not self._stall_fed:
            self._send_silence(self.sent_until, self._ending_silence, stands_for=0)
            self._stall_fed = self._ending_silence

    def _send_silence(self, position: int, samples: int, *, stands_for: int) -> None:
        self.recognition.timeline.append(position, samples, stands_for=stands_for)
        self._emit(Append(self.recognition.number, silence(samples)))


def _decode(batch: Sequence[Arrival]) -> bytes:
    codec = batch[0].codec
    if any([frame.codec != codec for frame in batch]):  # noqa: C419 - a generator costs more than five frames
        return b"".join([to_pcm(frame.codec, frame.audio) for frame in batch])
    return to_pcm(codec, b"".join([frame.audio for frame in batch]))
