"""How many new sessions a second: a token bucket (pure) and the gate that sessions wait at.

The cloud allows 20 new sessions a second per account; each replica gets its configured share.
"""

from __future__ import annotations

import asyncio

from qa_service import metrics


class TokenBucket:
    """``rate_per_s`` tokens a second, up to ``burst`` of them saved; time comes in as seconds of one clock.

    Tokens are given out in order, in advance if need be: who takes one is told how long to wait for it.
    """

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        if rate_per_s <= 0 or burst < 1:
            raise ValueError("a token bucket needs a positive rate and room for at least one token")
        self._rate = rate_per_s
        self._burst = burst
        # Tokens that are there; below zero, those that are promised.
        self._tokens = burst
        self._as_of_s = now_s

    def take(self, now_s: float) -> float:
        """Take a token; returns the seconds until it is there, 0 if it is already."""
        self._fill(now_s)
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)

    def give_back(self, now_s: float) -> None:
        """Return a token that was not used after all."""
        self._fill(now_s)
        self._tokens = min(self._burst, self._tokens + 1)

    def hold_off(self, now_s: float, seconds: float) -> None:
        """Give out no new token for ``seconds``, since the other side has had enough."""
        self._fill(now_s)
        self._tokens = min(self._tokens, 1 - seconds * self._rate)

    def _fill(self, now_s: float) -> None:
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._as_of_s) * self._rate)
        self._as_of_s = max(self._as_of_s, now_s)


class SessionGate:
    """Where every new session of a process waits for its turn, first come, first served."""

    def __init__(self, rate_per_s: float, *, burst: float | None = None) -> None:
        """``burst`` defaults to one second's worth. To be made inside the event loop."""
        self._clock = asyncio.get_running_loop().time
        self._bucket = TokenBucket(rate_per_s, burst or max(1.0, rate_per_s), self._clock())

    async def pass_through(self) -> None:
        """Return when a new session may be opened; a cancelled wait costs nobody else time."""
        wait_s = self._bucket.take(self._clock())
        if not wait_s:
            return
        try:
            with metrics.SESSIONS_WAITING.track_inprogress():
                await asyncio.sleep(wait_s)
        except asyncio.CancelledError:
            self._bucket.give_back(self._clock())
            raise

    def hold_off(self, seconds: float) -> None:
        """Let nobody new through for ``seconds``, after a refusal. Who waits already is not held up."""
        self._bucket.hold_off(self._clock(), seconds)
