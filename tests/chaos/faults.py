"""What may happen to a deployment, each with the moment from which it ought to recover."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tests.chaos.parts import SESSION_TIMEOUT_S, Program
from tests.chaos.trial import Trial
from tests.support.links import Link

_SOME_S = 8.0
"""A part is away for so long, unless more is asked for."""
_LONG_S = 20.0
_FROZEN_S = SESSION_TIMEOUT_S + 5.0
"""Long enough for the group to have given a frozen worker's partitions to others."""
_SLOW_S = 0.15
"""Delay of each chunk on a slow link, as to another continent."""


@dataclass(frozen=True, slots=True)
class Struck:
    """``since`` when (monotonic seconds) it ought to recover, and how much later it shows at the latest."""

    since: float
    shows_after_s: float = 2.0


Fault: TypeAlias = Callable[[Trial], Awaitable[Struck]]


async def kill_a_worker(trial: Trial) -> Struck:
    """``kill -9``, and another takes its place at once, as any supervisor would have it."""
    worker = _any_worker(trial)
    worker.kill()
    since = time.monotonic()
    worker.start()
    return Struck(since, SESSION_TIMEOUT_S + 3.0)


async def freeze_a_worker(trial: Trial) -> Struck:
    """SIGSTOP until its partitions have gone elsewhere; then it wakes up and knows nothing of it."""
    worker = _any_worker(trial)
    worker.freeze()
    since = time.monotonic()
    await asyncio.sleep(_FROZEN_S)
    worker.thaw()
    return Struck(since, _FROZEN_S + 2.0)


async def let_a_worker_join_and_leave(trial: Trial) -> Struck:
    """One more for a while, which then ends in good order."""
    since = time.monotonic()
    worker = trial.site.add_worker()
    trial.spared.append(worker)
    await worker.await_ready()
    await asyncio.sleep(_SOME_S)
    await worker.stop()
    trial.spared.remove(worker)
    trial.site.workers.remove(worker)
    return Struck(since, time.monotonic() - since + 2.0)


async def restart_the_broker(trial: Trial) -> Struck:
    await trial.site.broker.stop()
    await trial.site.broker.start()
    return Struck(time.monotonic())


async def restart_the_database(trial: Trial) -> Struck:
    return await _without_database(trial, 0.0)


async def take_the_database_away(trial: Trial) -> Struck:
    return await _without_database(trial, _LONG_S)


async def kill_the_recogniser(trial: Trial) -> Struck:
    """It is back after a while, and everybody wants a new session at once."""
    recogniser = trial.site.recogniser
    recogniser.kill()
    await asyncio.sleep(_SOME_S)
    recogniser.start()
    await recogniser.await_ready()
    return Struck(time.monotonic())


async def kill_the_relay(trial: Trial) -> Struck:
    """It may have published what it had no time to strike off."""
    trial.site.relay.kill()
    trial.site.relay.start()
    return Struck(time.monotonic())


def _away(choose: Callable[[Trial], Link], do: Callable[[Link], None], seconds: float) -> Fault:
    async def strike(trial: Trial) -> Struck:
        link = choose(trial)
        do(link)
        await asyncio.sleep(seconds)
        await link.mend()
        return Struck(time.monotonic())

    return strike


def _slow_down(link: Link) -> None:
    link.delay_s = _SLOW_S


_LINKS: Mapping[str, Callable[[Trial], Link]] = {
    "kafka": lambda trial: trial.site.links.kafka,
    "database": lambda trial: trial.site.links.database,
    "recogniser": lambda trial: trial.site.links.recogniser,
}
_TROUBLES: Mapping[str, Callable[[Link], None]] = {"cut": Link.cut, "stall": Link.stall, "delay": _slow_down}

FAULTS: Mapping[str, Fault] = {
    "worker killed": kill_a_worker,
    "worker frozen": freeze_a_worker,
    "worker joins and leaves": let_a_worker_join_and_leave,
    "broker restarted": restart_the_broker,
    "database restarted": restart_the_database,
    "database away 20 s": take_the_database_away,
    "recogniser killed": kill_the_recogniser,
    "relay killed": kill_the_relay,
    **{
        f"{name} link: {trouble}": _away(choose, do, _SOME_S)
        for name, choose in _LINKS.items()
        for trouble, do in _TROUBLES.items()
    },
}


def _any_worker(trial: Trial) -> Program:
    """One that lives and is awake, and that no fault has yet."""
    awake = [worker for worker in trial.site.workers if worker.is_running and not worker.is_frozen]
    return trial.random.choice([worker for worker in awake if worker not in trial.spared])


async def _without_database(trial: Trial, seconds: float) -> Struck:
    await trial.site.database.stop()
    await asyncio.sleep(seconds)
    await trial.site.database.start()
    return Struck(time.monotonic())
