"""Whether reading goes on: a consumer that stands still without any error is found out, from evidence.

After a broker has been restarted, aiokafka's consumer can stay as it was for good: fetches that are never
answered, a rebalance that never ends, no error. Kafka being away looks the same from inside. What tells them
apart is a question put to the brokers on a connection of its own: if they say where the log ends, time and
again, while our consumer gets nothing from them, the consumer is what is broken. Then the worker ends,
loudly, and whatever supervises it starts it anew; nothing is lost by it, as with any other end.

:class:`Standstill` decides, :class:`Watchdog` asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from qa_service import metrics

_log = structlog.get_logger(__name__)

SILENCE_S: Final = 15.0
"""No answer for so long is worth a question to the brokers. A long poll is answered after 0.5 s."""
STUCK_AFTER_S: Final = 30.0
"""Brokers that answer others, while our consumer stands still, for so long: it will not come back."""
ASK_EVERY_S: Final = 5.0

AskBrokers: TypeAlias = Callable[[], Awaitable[bool]]
"""Whether the leaders of all partitions of the topic answer on a new connection."""


class ReadingFailed(Exception):  # noqa: N818 - named after what happened
    """Kafka has not been read for a while; the message names the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What the consumer shows of a partition that is to be read."""

    partition: int
    position: int
    """Offset of the next record to be handled."""
    highwater: int | None
    """End of the log as last told; None: not yet."""
    silent_s: float
    """Since the broker last answered a fetch of it, or reading was taken up."""


@dataclass(slots=True)
class _Passing:
    """Growth of a log that passes by a position which does not move."""

    position: int
    highwater: int
    since: float | None = None
    last: float = 0.0


class Standstill:
    """Judges from signs, a few times a second, whether reading stands still; pure, ``now`` in seconds."""

    def __init__(self) -> None:
        self._passing: dict[int, _Passing] = {}

    def judge(self, signs: Iterable[Sign], *, poll_s: float, now: float) -> str | None:
        """What stands still, in words; None: nothing does. ``poll_s``: age of the poll under way."""
        if poll_s > SILENCE_S:
            return f"a poll has brought no answer for {poll_s:.0f} s"
        signs = list(signs)
        self._passing = {s.partition: self._note(s, now) for s in signs if s.highwater is not None}
        for sign in signs:
            if sign.silent_s > SILENCE_S:
                return f"partition {sign.partition} has had no answer for {sign.silent_s:.0f} s"
            passing = self._passing.get(sign.partition)
            if passing is not None and passing.since is not None and passing.last - passing.since > SILENCE_S:
                return (
                    f"partition {sign.partition} has grown to {passing.highwater} and brings nothing from "
                    f"{sign.position} on"
                )
        return None

    def _note(self, sign: Sign, now: float) -> _Passing:
        """Growth is looked at over a time: markers of transactions lie at the end and are never brought."""
        assert sign.highwater is not None  # noqa: S101 - sorted out above
        passing = self._passing.get(sign.partition)
        if passing is None or passing.position != sign.position:
            return _Passing(sign.position, sign.highwater)
        if sign.highwater > passing.highwater:
            passing.highwater, passing.last = sign.highwater, now
            if passing.since is None:
                passing.since = now
        return passing


class Watchdog:
    """Ends a worker whose consumer stands still while the brokers answer others."""

    def __init__(self, ask: AskBrokers | None, *, topic: str, stuck_after_s: float = STUCK_AFTER_S) -> None:
        """``ask`` None: nobody can be asked, and nothing is concluded."""
        self.finding: str | None = None
        """What readiness has to know: reading stands still, and it is not the brokers."""
        self._ask = ask
        self._topic = topic
        self._stuck_after_s = stuck_after_s
        self._standstill = Standstill()
        self._asking: asyncio.Task[bool] | None = None
        self._asked_at = 0.0
        self._answered_since: float | None = None

    def look(self, signs: Iterable[Sign], *, poll_s: float, now: float) -> None:
        """Take the signs of this moment; raises ReadingFailed if the consumer is stuck."""
        what = self._standstill.judge(signs, poll_s=poll_s, now=now)
        if what is None or self._ask is None:
            self._answered_since = self.finding = None
            return
        self._question(self._ask, now)
        if self._answered_since is None:
            self.finding = None
            return
        if self.finding is None:
            metrics.CONSUMER_STANDSTILLS.inc()
            _log.warning("consumer_stands_still", finding=what)
        self.finding = f"{what}, although the brokers answer others"
        if now - self._answered_since > self._stuck_after_s:
            _log.error("consumer_stuck", finding=what)
            raise ReadingFailed(
                f"reading {self._topic} is stuck: {self.finding}; "
                "this worker ends, so that its supervisor starts it anew"
            )

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _question(self, ask: AskBrokers, now: float) -> None:
        """Ask the brokers from time to time; one answer that fails to come, and the count begins anew."""
        if self._asking is not None and self._asking.done():
            answers = (
                not self._asking.cancelled() and self._asking.exception() is None and self._asking.result()
            )
            self._asking = None
            if not answers:
                self._answered_since = None
            elif self._answered_since is None:
                self._answered_since = now
        if self._asking is None and now - self._asked_at >= ASK_EVERY_S:
            self._asked_at = now
            self._asking = asyncio.create_task(_answer(ask), name="ask-brokers")


async def _answer(ask: AskBrokers) -> bool:
    return await ask()
