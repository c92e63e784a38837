"""Worker processes: the real worker, put together as ``qa-service worker`` does it, each in its own process.

Decided here: which parts are the real ones (all that decide anything), and which stand in for a library or a
server (those that touch the outside).
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache
from typing import Any, Final

from aiokafka.errors import KafkaConnectionError

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.rate import SessionGate
from qa_service.domain.call import CallPolicy
from qa_service.domain.leg import LegLimits
from qa_service.rules.ruleset import RuleSet, load_rule_set
from qa_service.simulation.broker import Broker, MemoryConsumer
from qa_service.simulation.database import DistantStore, Server
from qa_service.simulation.loop import Process, VirtualLoop, unix_ms
from qa_service.simulation.network import Network
from qa_service.simulation.recogniser import Service
from qa_service.storage.errors import StoreUnavailable
from qa_service.worker.clock import Clock
from qa_service.worker.consumer import Worker, WorkerOptions
from qa_service.worker.dead_letters import DeadLetters
from qa_service.worker.rule_book import RuleSets
from qa_service.worker.sessions import SessionPool

FINAL_TIMEOUT_S: Final = 12.0
"""Shorter than by default, so that a leg lives to see what comes of its being over."""
_DELIVERY_S: Final = 0.05
_REFUSED_AFTER_S: Final = 1.0
_ENDPOINT: Final = RecogniserEndpoint("ws://recogniser:9999")


@lru_cache(maxsize=8)
def _read_rules(source: str) -> RuleSet:
    """Read a rule set once for all workers of all runs: it does not change, and reading it takes a while."""
    return load_rule_set(source, "simulated rules")


class VirtualClock(Clock):
    """The clock of the loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """See :class:`~qa_service.worker.clock.Clock`; never zero, as no real one is."""
        return self._loop.time() + 1000.0

    def unix_ms(self) -> int:
        """See :class:`~qa_service.worker.clock.Clock`."""
        return unix_ms(self._loop.time())


class DeadLetterTopic:
    """What the worker's producer for dead letters writes to."""

    def __init__(self, broker: Broker) -> None:
        self.is_up = True
        self.letters: set[bytes] = set()
        """Values of the records that arrived, once or more often."""
        self._broker = broker

    async def send_and_wait(self, _topic: str, value: bytes, *, key: bytes, headers: Any) -> None:
        """See :class:`aiokafka.AIOKafkaProducer`."""
        del key, headers
        await self._broker.network.pass_point("kafka.dead_letter", longest_s=_DELIVERY_S)
        if not (self.is_up and self._broker.is_up):
            await asyncio.sleep(_REFUSED_AFTER_S)
            raise KafkaConnectionError("the record could not be delivered")
        self.letters.add(value)
        await self._broker.network.pass_point("kafka.dead_letter.delivered", longest_s=_DELIVERY_S)


class Surroundings:
    """What all workers share."""

    def __init__(
        self, loop: VirtualLoop, network: Network, *, topic: str, partitions: int, recogniser: Service
    ) -> None:
        self.loop = loop
        self.broker = Broker(topic, partitions, network)
        self.database = Server(loop, network)
        self.recogniser = recogniser
        self.dead_letters = DeadLetterTopic(self.broker)


class WorkerProcess:
    """A worker, from its start to its end, however that comes about."""

    def __init__(self, name: str, around: Surroundings, *, rules: str) -> None:
        self.name = name
        self._rules = rules
        self.process = Process(name)
        self.worker: Worker | None = None
        self._around = around
        self._stop = asyncio.Event()
        self.life = around.loop.spawn(self.process, self._live(), name=name)

    @property
    def is_running(self) -> bool:
        """Whether it could do something, frozen or not."""
        return self.process.is_alive and not self.life.done()

    @property
    def claims_waiting(self) -> int:
        """Partitions that it was given and has not claimed yet."""
        return 0 if self.worker is None else self.worker._assignments.waiting  # noqa: SLF001 - looked at, not touched

    def terminate(self) -> None:
        """Ask it to end in good order (SIGTERM)."""
        self._stop.set()

    async def _live(self) -> None:
        around = self._around
        clock = VirtualClock(around.loop)
        store = DistantStore(around.database)
        rule_sets = RuleSets(_read_rules(self._rules), store)
        while True:
            with contextlib.suppress(StoreUnavailable):
                await rule_sets.publish()
                break
            await asyncio.sleep(0.5)
        consumer: Any = MemoryConsumer(around.broker)
        dead_letters: Any = around.dead_letters
        sessions = SessionPool(around.recogniser.dialler(), _ENDPOINT, SessionGate(20.0), clock=clock)
        self.worker = Worker(
            consumer,
            store=store,
            sessions=sessions,
            dead_letters=DeadLetters(dead_letters, "dead-letters"),
            rule_sets=rule_sets,
            options=WorkerOptions(
                topic=around.broker.topic,
                owner_name=self.name,
                start_from_earliest=True,
                calls=CallPolicy(limits=LegLimits(final_timeout_s=FINAL_TIMEOUT_S)),
            ),
            offer_partial=lambda _partial: None,
            clock=clock,
        )
        try:
            await self.worker.run(self._stop)
        finally:
            await consumer.stop()
            await sessions.close()
