"""Where a moment of a recogniser session lies on its leg.

A session counts the audio it was sent, in milliseconds from its own beginning; a leg counts samples from
*its* beginning, lost and unsent ones included. The two drift apart with every hole that was bridged by less
(or more) silence than it was long, so the map between them is piecewise.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

MOST_SEGMENTS: Final = 10_000
"""Segments that are remembered: results are about the newest of them."""


class SessionTimeline:
    """A piecewise map from session audio time to leg positions.

    Memory is three integers per hole, of the newest ones: stretches that continue each other are one segment.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._sent: list[int] = []
        """Session samples at which each segment begins, ascending."""
        self._positions: list[int] = []
        """Leg position of each segment's first sample."""
        self._lengths: list[int] = []
        """Leg samples that each segment stands for: its own length for audio, less or none for silence."""
        self.sent_samples = 0

    def append(self, position: int, samples: int, *, stands_for: int | None = None) -> None:
        """Note that ``samples`` were sent which belong at ``position`` of the leg.

        ``stands_for``: how many leg samples they represent, where that is not as many (silence sent for
        a hole, or while frames are missing).
        """
        length = samples if stands_for is None else stands_for
        last = len(self._sent) - 1
        if (
            last >= 0
            and self._positions[last] + self._lengths[last] == position
            and self._sent[last] + self._lengths[last] == self.sent_samples
            and length == samples
        ):
            self._lengths[last] += samples
        else:
            self._sent.append(self.sent_samples)
            self._positions.append(position)
            self._lengths.append(length)
            if len(self._sent) > MOST_SEGMENTS:
                for column in (self._sent, self._positions, self._lengths):
                    del column[: MOST_SEGMENTS // 2]
        self.sent_samples += samples

    @property
    def sent_ms(self) -> int:
        """Milliseconds of audio sent so far, rounded down as a server does."""
        return self.sent_samples * 1000 // self._rate

    def samples(self, ms: int) -> int:
        """Samples in so many milliseconds."""
        return ms * self._rate // 1000

    def position_at(self, ms: int) -> int:
        """Leg position of a session time; times beyond the ends are clamped to them."""
        if not self._sent:
            return 0
        sample = self.samples(ms)
        index = max(bisect_right(self._sent, sample) - 1, 0)
        inside = min(max(sample - self._sent[index], 0), self._lengths[index])
        return self._positions[index] + inside
