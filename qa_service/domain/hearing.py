"""What our own voice gate heard on a leg, for a recogniser that does not say how far it has processed.

Two things follow, both inferred: up to where the leg is quiet, and whether a recogniser that says nothing
is mute.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from qa_service.audio.voice_gate import VoiceGate

MARGIN_MS: Final = 1000
"""Inferred quiet stays this far behind what was sent, in audio and in time: an item may still begin there."""
MUTE_AFTER_S: Final = 10.0
"""So long after speech was sent without a word from the recogniser, it is mute."""
MUTE_SPEECH_MS: Final = 2_000
"""The least speech for that; less may be clicks and breath ..."""
SOUND_AFTER_S: Final = 45.0
"""... and is taken for it after so long: a connection that is dead would have been found out by its pings."""


class _Span(Struct, frozen=True, gc=False):
    start: int
    end: int
    sent_at: float


class Hearing:
    """Follows what is sent of one leg, over all its sessions."""

    def __init__(self, rate: int) -> None:
        self._gate = VoiceGate(rate)
        self._margin = MARGIN_MS * rate // 1000
        self._mute_speech = MUTE_SPEECH_MS * rate // 1000
        self._spans: list[_Span] = []
        """Where speech was heard that the recogniser has not answered."""
        self._settled = self._mark = 0
        """Position up to which all was sent a while ago, and the one that will be next."""
        self._mark_at = 0.0
        self.hears_speech = False
        """Whether there was speech in what was sent last."""

    def restart(self, position: int, *, now: float) -> None:
        """Forget what was heard: everything from ``position`` on is sent again."""
        self._spans = []
        self._settled = self._mark = position
        self._mark_at = now

    def listen(self, position: int, pcm: bytes, *, now: float) -> None:
        """Hear what is sent, 16-bit PCM that begins at ``position``."""
        found = self._gate.find_speech(pcm)
        self.hears_speech = bool(found)
        self._spans += [_Span(position + start, position + end, now) for start, end in found]

    def forget_until(self, position: int) -> None:
        """Everything up to ``position`` is answered."""
        self._spans = [span for span in self._spans if span.end > position]

    def settle(self, sent_until: int, *, now: float) -> None:
        """Let time pass: what was sent a while ago without an answer is taken for what the gate heard."""
        if now - self._mark_at >= MARGIN_MS / 1000:
            self._settled, self._mark, self._mark_at = self._mark, sent_until, now

    def quiet_until(self) -> int:
        """Position before which there is no unanswered speech."""
        return min([self._settled, *(span.start for span in self._spans[:1])]) - self._margin

    def misses_answer(self, *, heard_at: float, now: float) -> bool:
        """Whether speech was sent long ago and the recogniser, last heard at ``heard_at``, never answered."""
        if not self._spans or now - max(self._spans[0].sent_at, heard_at) < MUTE_AFTER_S:
            return False
        if sum(span.end - span.start for span in self._spans) >= self._mute_speech:
            return True
        self._spans = [span for span in self._spans if now - span.sent_at < SOUND_AFTER_S]
        return False

    @property
    def first_unanswered(self) -> int | None:
        """Where the first unanswered speech begins."""
        return self._spans[0].start if self._spans else None
