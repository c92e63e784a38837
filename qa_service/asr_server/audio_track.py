"""The audio of a session in one format, addressed by time.

Decided here: audio stays 16-bit PCM at the rate it came in until something has to be computed from it, since
a session holds up to a minute of it and reads each part a few times at most.
"""

from __future__ import annotations

from qa_service.audio.resample import PCM_SAMPLE_BYTES


class AudioTrack:
    """PCM at ``rate_hz`` whose first sample is at ``base_ms`` of the session; times in milliseconds."""

    def __init__(self, rate_hz: int, base_ms: int = 0) -> None:
        self.rate_hz = rate_hz
        self._base_ms = base_ms
        self._bytes_per_ms = rate_hz * PCM_SAMPLE_BYTES // 1000
        # What is kept, and how many bytes before it were forgotten.
        self._kept = bytearray()
        self._forgotten = 0

    @property
    def end_ms(self) -> int:
        """Where the audio ends so far, rounded down."""
        return self._base_ms + (self._forgotten + len(self._kept)) // self._bytes_per_ms

    def append(self, pcm: bytes) -> None:
        """Take the next whole samples."""
        self._kept += pcm

    def read(self, start_ms: int, end_ms: int) -> bytes:
        """The samples from ``start_ms`` to ``end_ms``, as far as they are there."""
        return bytes(self._kept[self._index(start_ms) : self._index(end_ms)])

    def forget_before(self, time_ms: int) -> None:
        """Keep nothing before ``time_ms``."""
        dropped = min(self._index(time_ms), len(self._kept))
        del self._kept[:dropped]
        self._forgotten += dropped

    def _index(self, time_ms: int) -> int:
        return max(0, (time_ms - self._base_ms) * self._bytes_per_ms - self._forgotten)
