"""Workers that come and go beside each other, as in a deployment that is scaled or upgraded."""

from __future__ import annotations

import time
from collections import Counter

import aiohttp
import pytest

from qa_service.rules.ruleset import load_rule_set
from tests.chaos.calls import RULES, LiveCall
from tests.chaos.conftest import CROWD_CALLS, MakeTrial, full_tier
from tests.chaos.parts import LOCAL, Program
from tests.chaos.trial import Trial
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.postgres, full_tier]

_NEW_RULES = RULES.replace("    version: 1\n", "    version: 2\n")
_WITHIN_S = 120.0

Owners = dict[int, int]
"""The process that has a partition, by partition."""


@pytest.mark.timeout(1800)
async def test_calls_in_flight_keep_their_rules_through_a_rolling_upgrade(make_trial: MakeTrial) -> None:
    old, new = (load_rule_set(rules, "rules").hash for rules in (RULES, _NEW_RULES))
    async with make_trial(calls=6, workers=1, seed=5) as trial:
        upgraded = trial.site.home / "upgraded.yaml"
        upgraded.write_text(_NEW_RULES, encoding="utf-8")
        (predecessor,) = trial.site.workers
        successor = trial.site.add_worker(QA_RULES_FILE=str(upgraded))
        await _await_share(trial, successor, at_least=1)
        await _leave(trial, predecessor)
        await _await_share(trial, successor, at_least=6)
        in_flight = list(trial.switchboard.calls)
        trial.switchboard.begin([LiveCall(f"new-{number}", seed=5) for number in range(6)])
        await eventually(
            lambda: all(call.incidents["alarm"] > 1 for call in trial.switchboard.calls),
            waiting_for="alarms on all calls",
            within_s=_WITHIN_S,
        )
        await trial.watch.recovery_s(time.monotonic())
        pinned = await trial.query("select call_id, rule_set_hash from qa.call")
        versions = await trial.query("select distinct call_id, rule_version from qa.incident")

    assert trial.faults == []
    are_old = {call.call_id for call in in_flight}
    assert {row["call_id"]: row["rule_set_hash"] for row in pinned} == {
        call.call_id: old if call.call_id in are_old else new for call in trial.switchboard.calls
    }
    assert {(row["call_id"], row["rule_version"]) for row in versions} == {
        (call.call_id, 1 if call.call_id in are_old else 2) for call in trial.switchboard.calls
    }


@pytest.mark.timeout(2400)
async def test_legs_keep_their_sessions_while_a_worker_joins_and_leaves(make_trial: MakeTrial) -> None:
    async with make_trial(calls=CROWD_CALLS, workers=2) as trial:
        at_first, opened_at_first = await _owners(trial), await _sessions_opened(trial)
        guest = trial.site.add_worker()
        await _await_share(trial, guest, at_least=1)
        joined, opened_when_joined = await _at_rest(trial)
        await _leave(trial, guest)
        left, opened_in_the_end = await _at_rest(trial)
        legs = await _legs(trial)

    assert trial.faults == []
    moved = _moved(at_first, joined, legs)
    assert 0 < moved < 2 * CROWD_CALLS
    assert opened_when_joined - opened_at_first == moved
    assert opened_in_the_end - opened_when_joined == _moved(joined, left, legs)


async def _leave(trial: Trial, worker: Program) -> None:
    """Let a worker end in good order, and its partitions go to others."""
    pid = worker.pid
    await worker.stop()
    trial.site.workers.remove(worker)

    async def has_none() -> bool:
        return pid not in (await _owners(trial)).values()

    await eventually(has_none, waiting_for="the partitions to be taken over", within_s=_WITHIN_S)


async def _await_share(trial: Trial, worker: Program, *, at_least: int) -> None:
    async def has_share() -> bool:
        return list((await _owners(trial)).values()).count(worker.pid) >= at_least

    await eventually(
        has_share, waiting_for=f"{worker.name} to have {at_least} partitions", within_s=_WITHIN_S
    )


async def _at_rest(trial: Trial) -> tuple[Owners, float]:
    """Who owns what, and how many sessions there have been, once all legs are live again."""
    await trial.watch.recovery_s(time.monotonic(), not_before_s=5.0)
    return await _owners(trial), await _sessions_opened(trial)


async def _owners(trial: Trial) -> Owners:
    claims = await trial.query("select partition, owner from qa.partition_claim")
    return {row["partition"]: int(row["owner"].rpartition(":")[2]) for row in claims}


async def _legs(trial: Trial) -> Counter[int]:
    """Legs by partition."""
    calls = await trial.query("select partition from qa.call join qa.leg using (call_id)")
    return Counter(row["partition"] for row in calls)


def _moved(before: Owners, after: Owners, legs: Counter[int]) -> int:
    """Legs whose partition has another owner."""
    return sum(legs[partition] for partition, owner in after.items() if before[partition] != owner)


async def _sessions_opened(trial: Trial) -> float:
    url = f"http://{LOCAL}:{trial.site.recogniser.health}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        lines = (await answer.text()).splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith("qa_server_sessions_total ")]
    return float(value)
