"""Everything at once, and afterwards the outcome of a quiet day."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.conftest import STORM_CALLS, MakeTrial, full_tier
from tests.chaos.faults import (
    FAULTS,
    freeze_a_worker,
    kill_a_worker,
    kill_the_recogniser,
    kill_the_relay,
    restart_the_database,
)
from tests.chaos.trial import Trial

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.postgres]

_KILLS = 20
_BETWEEN_KILLS_S = (2.0, 16.0)
_BETWEEN_FAULTS_S = (1.0, 6.0)


@full_tier
@pytest.mark.timeout(300)
async def test_a_day_on_which_nothing_breaks_comes_out_as_it_was_said(make_trial: MakeTrial) -> None:
    async with make_trial(calls=4) as trial:
        await asyncio.sleep(8)

    assert trial.faults == []


@pytest.mark.timeout(600)
async def test_a_short_storm_loses_and_doubles_nothing(make_trial: MakeTrial) -> None:
    async with make_trial(calls=6, seed=1) as trial:
        frozen = asyncio.create_task(freeze_a_worker(trial))
        await asyncio.sleep(trial.random.uniform(1, 3))
        await kill_a_worker(trial)
        await kill_the_recogniser(trial)
        await restart_the_database(trial)
        await kill_the_relay(trial)
        trial.site.links.recogniser.stall()
        await frozen

    assert trial.faults == []


@full_tier
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1])
async def test_a_storm_loses_and_doubles_nothing(make_trial: MakeTrial, seed: int) -> None:
    async with make_trial(calls=STORM_CALLS, workers=3, seed=seed) as trial:
        others = [fault for fault in FAULTS.values() if fault is not kill_a_worker]
        trial.random.shuffle(others)
        async with asyncio.TaskGroup() as group:
            group.create_task(_kill_workers(trial))
            for fault in others:
                await fault(trial)
                await asyncio.sleep(trial.random.uniform(*_BETWEEN_FAULTS_S))

    assert trial.faults == []


async def _kill_workers(trial: Trial) -> None:
    for _ in range(_KILLS):
        await asyncio.sleep(trial.random.uniform(*_BETWEEN_KILLS_S))
        await kill_a_worker(trial)
