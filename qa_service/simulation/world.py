"""One simulated run: workers, what surrounds them, calls that are published, faults that strike.

Decided here: how a run goes. Calls are published as they are spoken; faults strike while they last; then
the world heals, and the run has to come to its end: everything read, every call ended. What must hold then,
and at every transaction on the way, is the oracle's business.
"""

from __future__ import annotations

import asyncio
import heapq
import random as global_random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from typing import Final

from aiokafka import TopicPartition

from qa_service.contract.records import AudioFrame, CallRecord
from qa_service.domain.writes import WriteBatch
from qa_service.simulation.faults import FAULTS, Fault
from qa_service.simulation.loop import Deadlock, VirtualLoop, unix_ms
from qa_service.simulation.network import Network
from qa_service.simulation.oracle import ORDINARY_GAPS, Allowance, Promise, find_faults
from qa_service.simulation.recogniser import Service
from qa_service.simulation.script import CALL_WORDS, RULE_SOURCES, write_call
from qa_service.simulation.states import STATES, State
from qa_service.simulation.words import ALARM_EVERY, LOUDNESS
from qa_service.simulation.workers import Surroundings, WorkerProcess

TOPIC: Final = "telephony.audio"
PARTITIONS: Final = 3
SETTLE_WITHIN_S: Final = 600.0
"""Virtual seconds from healing to the end of everything."""

_GROUP_FORMS_S: Final = 6.0
"""The last of the first workers has joined, and the others have had two heartbeats to learn it."""
_AIMED: Final = 0.8
"""Share of faults that wait for a state, rather than strike at any moment."""
_AIM_FOR_S: Final = 6.0
"""A state is waited for so long at most; after half of that it is brought about, where that is possible."""
_LOOK_EVERY_S: Final = 0.02
_HONOURS_EXTENSIONS: Final = 0.7
"""Share of runs with a recogniser of our own, which tells how far it is; the cloud's does not."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """A fault that struck, and what was going on."""

    fault: str
    states: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    seed: int
    faults: tuple[str, ...]
    """Everything that was wrong; empty: the run came out right."""
    meetings: tuple[Meeting, ...]
    digest: str
    """Of everything that was stored, in order: the same for the same seed."""
    virtual_s: float
    interrupted: int
    """Sessions that workers gave up by themselves, once the group had found together."""
    utterances: int
    gaps: tuple[tuple[str, int], ...]


def simulate(
    seed: int, *, kinds: tuple[str, ...] | None = None, tell: Callable[[str], None] = lambda _: None
) -> Outcome:
    """Run one schedule; ``kinds`` keeps to faults of some kinds, ``tell`` hears of each that strikes."""
    global_random.seed(seed)  # jitter in the worker's own code
    loop = VirtualLoop()  # type: ignore[abstract]  # there are no sockets, signals or threads to implement
    world = World(loop, Random(seed), kinds=kinds, tell=tell)
    faults: list[str] = []
    try:
        loop.run_until_complete(world.run())
    except Deadlock as error:
        faults.append(str(error))
    faults += [f"nobody took {fault!r}" for fault in loop.faults]
    faults += world.judge()
    store = world.around.database.tables
    digest, virtual_s = world.digest, loop.time()
    interrupted = sum(at > _GROUP_FORMS_S for at in world.around.recogniser.abandoned_at)
    loop.bury()
    return Outcome(
        seed=seed,
        faults=tuple(faults),
        meetings=tuple(world.meetings),
        digest=digest,
        virtual_s=virtual_s,
        interrupted=interrupted,
        utterances=sum(row["kind"] == "utterance" for row in store.entries.values()),
        gaps=tuple(sorted(Counter(_gap_reasons(store.entries.values())).items())),
    )


def _gap_reasons(entries: object) -> list[str]:
    return [row["reason"] for row in entries if row["kind"] == "gap"]  # type: ignore[attr-defined]


class World:
    """Everything there is in a run."""

    def __init__(
        self,
        loop: VirtualLoop,
        random: Random,
        *,
        kinds: tuple[str, ...] | None,
        tell: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.random = random
        self.meetings: list[Meeting] = []
        self.excuses: set[str] = set()
        """Reasons of gaps that this run's faults account for."""
        network = Network(Random(random.random()))
        recogniser = Service(
            loop, network, Random(random.random()), extensions=random.random() < _HONOURS_EXTENSIONS
        )
        self.around = Surroundings(loop, network, topic=TOPIC, partitions=PARTITIONS, recogniser=recogniser)
        self.workers: list[WorkerProcess] = []
        self.calls = [
            write_call(
                f"call-{number}",
                random,
                begins=random.random() * 2,
                first_word=number * CALL_WORDS + ALARM_EVERY,
            )
            for number in range(random.choice((4, 4, 4, 5)))
        ]
        self._poison: set[bytes] = set()
        """What was published that belongs on the dead-letter topic."""
        self._tell = tell
        self._names = iter(range(1, 1000))
        self._offsets: dict[int, tuple[int, int]] = {}
        self._secrets = {w for call in self.calls for leg in call.legs.values() for w in leg.secrets}
        self.promise = Promise(self.calls, self._offsets, self._excused_words)
        self._stored = sha256()
        self._published = asyncio.Event()
        self.around.database.on_write += [self.promise.watch, self._note_batch]
        self.length_s = max(cue.at for call in self.calls for cue in call.cues)
        choice = [fault for fault in FAULTS if kinds is None or fault.name in kinds]
        self._plan = [self._plan_strike(choice) for _ in range(random.randint(3, 5) if choice else 0)]

    def _plan_strike(self, choice: Sequence[Fault]) -> tuple[Fault, State | None]:
        fault, state = self.random.choice(choice), self.random.choice(STATES)
        return fault, state if self.random.random() < _AIMED else None

    @property
    def is_published(self) -> bool:
        """Whether everything has been said that will be."""
        return self._published.is_set()

    @property
    def digest(self) -> str:
        """Of all transactions so far."""
        return self._stored.hexdigest()[:16]

    async def run(self) -> None:
        """Let everything happen."""
        spawn = self.loop.spawn
        spawn(None, self.around.broker.run())
        for _ in range(self.random.randint(2, 3)):
            self.start_worker()
        spawn(None, self._publish())
        struck = [
            spawn(None, self._strike(fault, aim, at=self.random.random() * self.length_s))
            for fault, aim in self._plan
        ]
        await self._published.wait()
        await asyncio.wait([*struck, spawn(None, asyncio.sleep(0))])
        for task in struck:
            task.result()
        self._heal()
        await self._settle()

    # --- what happens -----------------------------------------------------------------------------

    def start_worker(self) -> WorkerProcess:
        """Start one more worker."""
        name = f"worker-{next(self._names)}"
        worker = WorkerProcess(name, self.around, rules=self.random.choice(RULE_SOURCES))
        self.workers.append(worker)
        return worker

    @property
    def running(self) -> list[WorkerProcess]:
        """Workers that are neither dead nor at their end."""
        return [worker for worker in self.workers if worker.is_running]

    async def _publish(self) -> None:
        """Publish every record when it is spoken, some at a time, as a platform's producer does."""
        cues = heapq.merge(*(call.cues for call in self.calls), key=lambda cue: cue.at)
        for cue in cues:
            if cue.at > self.loop.time():
                await asyncio.sleep(cue.at - self.loop.time() + self.random.choice((0.0, 0.05, 0.3)))
            self._append(cue.record)
        self._published.set()

    def _append(self, record: CallRecord) -> None:
        number = sum(record.call_id.encode()) % PARTITIONS
        log = self.around.broker.logs[TopicPartition(TOPIC, number)]
        offset = log.append(record, unix_ms(self.loop.time()))
        if isinstance(record.record, AudioFrame):
            word = int.from_bytes(record.record.audio[:2], "little") - LOUDNESS
            if word >= 0 and word not in self._secrets:
                self._offsets.setdefault(word, (number, offset))

    def publish_poison(self, count: int) -> None:
        """Publish records that nobody can decode, somewhere."""
        log = self.random.choice(list(self.around.broker.logs.values()))
        for _ in range(count):
            value = b"poison %d" % len(self._poison)
            self._poison.add(value)
            log.append_raw(b"call-poison", value, (("v", b"1"), ("type", b"noise")), 0)

    async def _strike(self, fault: Fault, aim: State | None, at: float) -> None:
        await asyncio.sleep(at)
        if aim is not None and aim.name == "all said":
            await self._published.wait()
        await self.reach(aim)
        await fault.strike(self, aim)

    def meet(self, name: str) -> None:
        """Note that a fault strikes now, and what it meets."""
        states = self.states()
        self.meetings.append(Meeting(name, states))
        self._tell(f"{self.loop.time():8.3f} s  {name:20} meets {', '.join(states)}")

    def states(self) -> tuple[str, ...]:
        """What is going on at this moment, as far as faults may care."""
        return tuple(state.name for state in STATES if state.holds(self))

    async def reach(self, state: State | None) -> None:
        """Wait for a state, and bring it about if it will not come."""
        if state is None:
            return
        began, is_provoked = self.loop.time(), False
        while not state.holds(self) and self.loop.time() - began < _AIM_FOR_S:
            if not is_provoked and self.loop.time() - began > _AIM_FOR_S / 2:
                state.provoke(self)
                is_provoked = True
            await asyncio.sleep(_LOOK_EVERY_S)

    def _heal(self) -> None:
        """Make everything work again; what was broken stays broken, what is dead stays dead."""
        self._tell(f"{self.loop.time():8.3f} s  the world heals")
        around = self.around
        around.broker.come_back()
        around.dead_letters.is_up = True
        around.database.is_up = True
        around.database.lose_requests = around.database.lose_answers = 0
        around.recogniser.is_up = True
        around.recogniser.refuses = 0
        around.broker.network.clear_traps()
        for worker in self.workers:
            if worker.process.is_frozen:
                self.loop.thaw(worker.process)
        if not self.running:
            self.start_worker()
        for connection in around.recogniser.live:
            connection.heal()

    async def _settle(self) -> None:
        deadline = self.loop.time() + SETTLE_WITHIN_S
        while self.loop.time() < deadline:
            await asyncio.sleep(0.25)
            if not self.running:
                self.start_worker()  # the last one was asked to end
            if self._is_settled():
                return

    def _is_settled(self) -> bool:
        tables = self.around.database.tables
        for partition, log in self.around.broker.logs.items():
            claim = tables.claims.get((partition.topic, partition.partition))
            if claim is None or claim.next_offset != log.end:
                return False
        ended = [row["ended"] for row in tables.calls.values()]
        return len(ended) == len(self.calls) and all(ended)

    # --- what came of it --------------------------------------------------------------------------

    def judge(self) -> list[str]:
        """Everything that is wrong, in words."""
        faults = [*self.promise.broken]
        if not self._is_settled():
            claims = self.around.database.tables.claims
            where = {
                log.partition.partition: (claims[key].next_offset if key in claims else None, log.end)
                for log in self.around.broker.logs.values()
                for key in [(TOPIC, log.partition.partition)]
            }
            faults.append(
                f"not settled {SETTLE_WITHIN_S:g} s after the last fault: next_offset and end {where}"
            )
        faults += [
            f"{worker.name} ended with {worker.life.exception()!r}"
            for worker in self.workers
            if worker.life.done() and worker.life.exception() is not None
        ]
        if unburied := self._poison - self.around.dead_letters.letters:
            faults.append(f"{len(unburied)} poisonous records are not on the dead-letter topic")
        allowance = Allowance(ORDINARY_GAPS | self.excuses, self._excused_words())
        return faults + find_faults(self.calls, self.around.database.tables, allowance)

    def _excused_words(self) -> frozenset[int]:
        service = self.around.recogniser
        return frozenset() if service.extensions else frozenset(service.unheard)

    def _note_batch(self, batch: WriteBatch) -> None:
        told = (self.loop.time(), batch.partition, batch.epoch, batch.write_seq, batch.next_offset)
        self._stored.update(repr((told, batch.entries, batch.incidents)).encode())
