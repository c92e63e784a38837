"""The benchmark of the whole chain: from the last sound of an utterance to the alert on its topic.

Sample calls are played side by side in real time, one after another on each line, into a chain that runs
already; whoever calls brings it. What alerts are counted from, and what becomes of the figures, is in
:mod:`.delays`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from qa_service.alerts.following import follow
from qa_service.bench.delays import OPENED, Arrival, ChainReport, Played, anger_rules, make_report
from qa_service.bench.listening import BenchError
from qa_service.bench.recordings import APPEND_MS
from qa_service.contract import bytes_per_sample
from qa_service.kafka import KafkaConfig
from qa_service.samples import SampleCall, load_samples
from qa_service.storage.database import Database
from qa_service.storage.transcripts import are_settled
from qa_service.telephony.producer import Publisher, connect_publisher
from qa_service.telephony.publish import CallAudio, LegAudio, publish_calls

LEGS_PER_CALL: Final = 2

_STAGGER_S: Final = 3.0  # between the beginnings of the lines: calls of one centre do not start together
_SHORTEST_MS: Final = 2000  # nothing shorter is begun before the end
_SETTLE_WITHIN_S: Final = 60.0
_ARRIVE_WITHIN_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Where the chain that is measured is."""

    kafka: KafkaConfig
    database_url: str
    audio_topic: str
    alerts_topic: str
    silence_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainProgress:
    """How far a run is: seconds played, alerts on anger and on other things so far."""

    seconds: float
    anger: int
    others: int


async def measure_alerts(
    chain: Chain, *, legs: int, seconds: float, tell: Callable[[ChainProgress], None]
) -> ChainReport:
    """Play calls for ``seconds`` on ``legs`` legs (two a call) and measure every alert they raise.

    Raises:
        BenchError: the chain did not finish what was played.
        KafkaUnavailable, DeliveryError, StoreUnavailable: the chain is not there.
    """
    listener = _Listener()
    listening = asyncio.create_task(listener.listen(chain))
    try:
        async with connect_publisher(chain.kafka, chain.audio_topic) as publisher:
            player = _Player(publisher, seconds)
            telling = asyncio.create_task(_tell_on(listener, seconds, tell))
            try:
                await player.play(legs // LEGS_PER_CALL)
            finally:
                telling.cancel()
        await _settle(chain, player.played, listening)
        await _await_arrivals(chain, listener, listening)
    finally:
        listening.cancel()
        await asyncio.wait([listening])
    return make_report(
        player.played,
        listener.arrivals.values(),
        legs=legs,
        seconds=seconds,
        silence_ms=chain.silence_ms,
        player_late_ms=player.worst_lateness_ms,
    )


def programme(line: int) -> Iterator[SampleCall]:
    """What is played on a line, without end: every other call an angry one, the others in turn."""
    samples = load_samples()
    angry = [sample for sample in samples if anger_rules() & set(sample.expected_alerts)]
    calm = [sample for sample in samples if sample not in angry]
    first = line % len(calm)
    both = zip(itertools.cycle(angry), itertools.cycle(calm[first:] + calm[:first]), strict=True)
    return itertools.islice(itertools.chain.from_iterable(both), line % 2, None)


class _Player:
    """Plays calls on several lines until the time is over."""

    def __init__(self, publisher: Publisher, seconds: float) -> None:
        self.played: list[Played] = []
        self.worst_lateness_ms = 0.0
        self._publisher = publisher
        self._until = time.monotonic() + seconds

    async def play(self, lines: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for line in range(lines):
                    group.create_task(self._play_line(line))
        except* Exception as errors:  # noqa: BLE001 - whatever it was: one of them is what the user must know
            raise errors.exceptions[0] from None

    async def _play_line(self, line: int) -> None:
        await asyncio.sleep(line * _STAGGER_S)
        for number, sample in enumerate(programme(line), start=1):
            left_ms = int((self._until - time.monotonic()) * 1000)
            if left_ms < _SHORTEST_MS:
                return
            call_id = f"{sample.id}-{line + 1}.{number}"
            call = cut_to(await asyncio.to_thread(sample.call_audio, call_id), left_ms)
            is_whole = call.duration_ms >= sample.duration_ms
            self.played.append(Played(call_id, sample, time.time_ns() // 1_000_000, is_whole))
            report = await publish_calls([call], publisher=self._publisher)
            self.worst_lateness_ms = max(self.worst_lateness_ms, report.worst_lateness_ms)


def cut_to(call: CallAudio, length_ms: int) -> CallAudio:
    """A call that hangs up after ``length_ms``, if it has not ended before."""
    return replace(call, legs=tuple(_cut_leg(leg, length_ms) for leg in call.legs))


def _cut_leg(leg: LegAudio, length_ms: int) -> LegAudio:
    frames = length_ms // APPEND_MS
    frame_bytes = leg.rate * APPEND_MS // 1000 * bytes_per_sample(leg.codec)
    return replace(leg, audio=leg.audio[: frames * frame_bytes])


class _Listener:
    """Notes when alerts come."""

    def __init__(self) -> None:
        self.arrivals: dict[str, Arrival] = {}

    async def listen(self, chain: Chain) -> None:
        async for event in follow(chain.kafka, chain.alerts_topic):
            self.arrivals.setdefault(event["id"], Arrival(event, time.time() * 1000))

    def count(self) -> tuple[int, int]:
        """Opened alerts on anger, and all others."""
        rules = [a.event["data"]["rule_id"] for a in self.arrivals.values() if a.event["type"] == OPENED]
        anger = sum(rule in anger_rules() for rule in rules)
        return anger, len(rules) - anger


async def _tell_on(listener: _Listener, seconds: float, tell: Callable[[ChainProgress], None]) -> None:
    began = time.monotonic()
    while True:
        anger, others = listener.count()
        tell(ChainProgress(seconds=min(seconds, time.monotonic() - began), anger=anger, others=others))
        await asyncio.sleep(_LOOK_EVERY_S)


async def _settle(chain: Chain, played: Sequence[Played], listening: asyncio.Task[None]) -> None:
    """Wait until everything of the calls is stored and published."""
    async with _database(chain) as database:
        call_ids = [call.call_id for call in played]

        async def is_settled() -> bool:
            return await are_settled(database, call_ids)

        await _wait_for(is_settled, _SETTLE_WITHIN_S, "the calls to be stored and published", listening)


async def _await_arrivals(chain: Chain, listener: _Listener, listening: asyncio.Task[None]) -> None:
    """Wait until the listener has all that is on the topic."""
    published = {event["id"] async for event in follow(chain.kafka, chain.alerts_topic, until_end=True)}

    async def have_arrived() -> bool:
        return published <= listener.arrivals.keys()

    await _wait_for(have_arrived, _ARRIVE_WITHIN_S, "published alerts to arrive", listening)


async def _wait_for(
    holds: Callable[[], Any], within_s: float, what: str, listening: asyncio.Task[None]
) -> None:
    deadline = time.monotonic() + within_s
    while not await holds():
        if listening.done():
            listening.result()
        if time.monotonic() > deadline:
            raise BenchError(f"waited {within_s:.0f} s for {what}, in vain")
        await asyncio.sleep(_LOOK_EVERY_S)


@contextlib.asynccontextmanager
async def _database(chain: Chain) -> AsyncIterator[Database]:
    database = Database(chain.database_url)
    try:
        yield database
    finally:
        await database.close()
