"""What can go wrong in a run.

Decided here: the kinds of faults, what each does, how long it lasts, and which gaps it excuses. Faults of a
process strike either at some moment, or when the process next passes one of the points of its ways to the
outside, so that each of its awaits is hit in some run. Most faults are aimed at a state of the world
(:mod:`.states`): they wait until it holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qa_service.simulation.recogniser import Connection
from qa_service.simulation.workers import FINAL_TIMEOUT_S, WorkerProcess
from qa_service.worker.progress import SILENCE_S

if TYPE_CHECKING:
    from qa_service.simulation.loop import Process
    from qa_service.simulation.states import State
    from qa_service.simulation.world import World

_SHARE_HIT: Final = 0.5
"""Of the connections there are, how many a fault of connections hits."""
_LATEST_PASSAGE: Final = 30
"""A fault at a point strikes at one of so many passages."""

POINTS: Final = (
    "asr.close",
    "asr.connect",
    "asr.receive",
    "asr.send",
    "db.claim",
    "db.claim.answered",
    "db.load",
    "db.load.answered",
    "db.look_up",
    "db.look_up.answered",
    "db.write",
    "db.written",
    "kafka.assign",
    "kafka.commit",
    "kafka.dead_letter",
    "kafka.dead_letter.delivered",
    "kafka.fetch",
    "kafka.fetch.answered",
    "kafka.heartbeat",
    "kafka.join",
    "kafka.leave",
    "kafka.offsets",
    "kafka.revoke",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault."""

    name: str
    strike: Callable[[World, State | None], Awaitable[None]]
    """Called once the state it is aimed at holds, if it is aimed at any."""


def _a_worker(world: World) -> WorkerProcess | None:
    running = world.running
    return world.random.choice(running) if running else None


# --- processes ------------------------------------------------------------------------------------


async def _kill(world: World, _aim: State | None) -> None:
    worker = _a_worker(world)
    if worker is not None:
        world.meet("kill")
        world.loop.kill(worker.process)
        sever(world, worker.process)
        await _replace(world)


async def _kill_at_point(world: World, aim: State | None) -> None:
    def strike(process: Process) -> None:
        world.meet("kill at a point")
        world.loop.kill(process)
        sever(world, process)
        world.loop.spawn(None, _replace(world))

    _trap(world, aim, strike)


async def _freeze(world: World, _aim: State | None) -> None:
    worker = _a_worker(world)
    if worker is not None and not worker.process.is_frozen:
        world.meet("freeze")
        await _freeze_for(world, worker.process)


async def _freeze_at_point(world: World, aim: State | None) -> None:
    def strike(process: Process) -> None:
        world.meet("freeze at a point")
        world.loop.spawn(None, _freeze_for(world, process))

    _trap(world, aim, strike)


def _trap(world: World, aim: State | None, strike: Callable[[Process], None]) -> None:
    """Let something happen to a process at one of its points, while the world is in the state aimed at."""
    network = world.around.broker.network
    point = world.random.choice(POINTS)

    def spring(process: Process) -> None:
        if process.is_frozen or not process.is_alive:
            return
        if aim is None or aim.holds(world):
            strike(process)
        else:
            network.set_trap(point, 1, spring)

    network.set_trap(point, 1 if aim else world.random.randint(1, _LATEST_PASSAGE), spring)


async def _freeze_for(world: World, process: Process) -> None:
    world.loop.freeze(process)
    await asyncio.sleep(world.random.choice((1.0, 5.0, 8.0, 14.0)))
    if process.is_frozen:
        world.loop.thaw(process)


async def _replace(world: World) -> None:
    await asyncio.sleep(world.random.choice((0.1, 2.0, 8.0)))
    world.start_worker()


async def _terminate(world: World, _aim: State | None) -> None:
    worker = _a_worker(world)
    if worker is not None:
        world.meet("terminate")
        worker.terminate()
        await _replace(world)


async def _join(world: World, _aim: State | None) -> None:
    world.meet("join")
    world.start_worker()


def sever(world: World, process: Process) -> None:
    """Close what a dead process had open, as its operating system does."""
    for connection in world.around.recogniser.connections:
        if connection.process is process:
            connection.is_open = False


# --- Kafka ----------------------------------------------------------------------------------------


async def _shake(world: World, _aim: State | None) -> None:
    world.meet("rebalance")
    world.around.broker.shake()


async def _broker_outage(world: World, _aim: State | None) -> None:
    world.meet("broker outage")
    world.around.broker.is_up = False
    await asyncio.sleep(world.random.choice((0.5, 4.0, SILENCE_S + 3)))
    world.around.broker.come_back()


async def _poison(world: World, _aim: State | None) -> None:
    world.meet("poison")
    world.publish_poison(world.random.randint(1, 3))


async def _dead_letter_outage(world: World, _aim: State | None) -> None:
    world.meet("dead-letter outage")
    world.around.dead_letters.is_up = False
    world.publish_poison(1)
    await asyncio.sleep(world.random.choice((0.5, 4.0, 12.0)))
    world.around.dead_letters.is_up = True


# --- PostgreSQL -----------------------------------------------------------------------------------


async def _database_outage(world: World, _aim: State | None) -> None:
    world.meet("database outage")
    world.around.database.is_up = False
    await asyncio.sleep(world.random.choice((0.5, 4.0, 12.0)))
    world.around.database.is_up = True


async def _lose_request(world: World, _aim: State | None) -> None:
    world.meet("transaction lost")
    world.around.database.lose_requests += world.random.randint(1, 3)


async def _lose_answer(world: World, _aim: State | None) -> None:
    world.meet("outcome unknown")
    world.around.database.lose_answers += world.random.randint(1, 3)


async def _restore(world: World, aim: State | None) -> None:
    database = world.around.database
    backup = database.back_up()
    await asyncio.sleep(world.random.choice((0.5, 3.0, 8.0)))
    await world.reach(aim)
    world.meet("database set back")
    database.restore(backup)
    world.promise.forget(world.around.database.tables)


async def _stale_claim(world: World, _aim: State | None) -> None:
    world.meet("foreign claim")
    partition = world.random.choice(list(world.around.broker.logs))
    await world.around.database.tables.claim(partition.topic, partition.partition, "a zombie")


# --- the recogniser -------------------------------------------------------------------------------


async def _recogniser_outage(world: World, _aim: State | None) -> None:
    world.meet("recogniser outage")
    world.excuses.add("recogniser_failed")
    service = world.around.recogniser
    service.is_up = False
    for connection in service.live:
        connection.drop()
    await asyncio.sleep(world.random.choice((0.5, 4.0, 12.0)))
    service.is_up = True


async def _refuse(world: World, _aim: State | None) -> None:
    world.meet("429")
    world.around.recogniser.refuses += world.random.randint(1, 6)
    await asyncio.sleep(0.5)
    for connection in _some(world):
        connection.drop()


def _some(world: World) -> list[Connection]:
    """Some connections, but one at least if there are any."""
    live = world.around.recogniser.live
    hit = [connection for connection in live if world.random.random() < _SHARE_HIT]
    return hit or live[:1]


def _on_connections(name: str, do: Callable[[Connection], None], *, excuses: str | None = None) -> Fault:
    async def strike(world: World, _aim: State | None) -> None:
        hit = _some(world)
        if hit:
            world.meet(name)
            if excuses is not None:
                world.excuses.add(excuses)
            for connection in hit:
                do(connection)

    return Fault(name, strike)


def _lose_finals(connection: Connection) -> None:
    connection.lose_finals += 2


def _repeat_finals(connection: Connection) -> None:
    connection.repeat_finals += 2


def _swap_finals(connection: Connection) -> None:
    connection.swap_finals += 1


def _delay_finals(connection: Connection) -> None:
    connection.delay_finals_s = FINAL_TIMEOUT_S / 2


def _delay_finals_for_long(connection: Connection) -> None:
    connection.delay_finals_s = FINAL_TIMEOUT_S * 1.5


def _deafen(connection: Connection) -> None:
    connection.is_deaf = True


FAULTS: Final = (
    Fault("kill", _kill),
    Fault("kill at a point", _kill_at_point),
    Fault("freeze", _freeze),
    Fault("freeze at a point", _freeze_at_point),
    Fault("terminate", _terminate),
    Fault("join", _join),
    Fault("rebalance", _shake),
    Fault("broker outage", _broker_outage),
    Fault("poison", _poison),
    Fault("dead-letter outage", _dead_letter_outage),
    Fault("database outage", _database_outage),
    Fault("transaction lost", _lose_request),
    Fault("outcome unknown", _lose_answer),
    Fault("database set back", _restore),
    Fault("foreign claim", _stale_claim),
    Fault("recogniser outage", _recogniser_outage),
    Fault("429", _refuse),
    _on_connections("connection lost", Connection.drop),
    _on_connections("server error", Connection.break_down),
    _on_connections("connection stalls", Connection.stall),
    _on_connections("garbage", Connection.garble),
    _on_connections("final never comes", _lose_finals),
    _on_connections("final comes twice", _repeat_finals),
    _on_connections("finals out of order", _swap_finals),
    _on_connections("final comes late", _delay_finals),
    _on_connections("final comes too late", _delay_finals_for_long),
    _on_connections("recogniser mute", _deafen),
)
