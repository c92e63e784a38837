"""Rules over stored calls: back-tests and replays, from the command line, against PostgreSQL."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from qa_service.cli.backtest import backtest, replay
from qa_service.rules.ruleset import load_rule_set
from qa_service.testing.stored_calls import judge_some, make_call, store_calls

pytestmark = pytest.mark.postgres

CALLS = 12
RULES = """
version: 1
rules:
  - id: dead-air
    version: 1
    severity: medium
    description: Nobody has said anything for a while.
    when: {silence: {of: call, longer_than: 10s}}
  - id: promise
    version: 1
    severity: high
    description: The agent promises what nobody may promise.
    when: {said: {leg: agent, any_of: ["i guarantee", "ihnen garantieren", "calm down", "one moment"]}}
"""


@pytest.fixture
async def stored(database):
    rules = load_rule_set(RULES, "rules")
    await store_calls(database, range(CALLS), rules=rules, first_day=dt.date(2026, 1, 1), days=3)
    return rules


@pytest.fixture
def invoke(database_url):
    async def invoke(command, *arguments: str):
        environment = {"QA_DATABASE_URL": database_url}
        # In a thread: the commands run a loop of their own.
        return await asyncio.to_thread(
            CliRunner().invoke, command, arguments, env=environment, catch_exceptions=False
        )

    return invoke


async def test_a_back_test_of_the_same_rules_finds_the_same_alerts(stored, database, invoke, tmp_path):
    judged = await judge_some(database, range(CALLS), rules=stored, share=1.0)
    (tmp_path / "rules.yaml").write_text(stored.source)

    report = json.loads((await invoke(backtest, str(tmp_path / "rules.yaml"), "--json")).output)

    total = report["total"]
    assert (report["calls"], total["added"], total["gone"]) == (CALLS, 0, 0)
    assert total["same"] == total["raised"] == judged > 10
    assert sum(r["acknowledged"] + r["dismissed"] for r in report["rules"].values()) == judged
    assert sum(day["raised"] for day in report["days"].values()) == judged
    assert set(report["days"]) == {"2026-01-01", "2026-01-02", "2026-01-03"}
    assert len(report["alerts"]) == judged


SCORED = """
version: 1
rules:
  - id: going-badly
    version: 1
    severity: medium
    description: Silence and empty promises add up.
    when:
      score:
        at_least: 2
        within: 10m
        of:
          - {weight: 1, silence: {of: call, longer_than: 4s}}
          - {weight: 1, said: {leg: agent, any_of: ["i guarantee", "ihnen garantieren", "one moment"]}}
"""


@pytest.mark.usefixtures("stored")
async def test_a_back_test_tells_how_other_thresholds_would_fare(invoke, tmp_path):
    (tmp_path / "rules.yaml").write_text(SCORED)

    report = json.loads((await invoke(backtest, str(tmp_path / "rules.yaml"), "--json")).output)
    shown = (await invoke(backtest, str(tmp_path / "rules.yaml"), "--summary")).output

    lower, own = report["thresholds"]["going-badly"]
    assert (lower["at_least"], own["at_least"]) == (1, 2)
    assert lower["would_raise"] > own["would_raise"] > 0
    assert own["would_raise"] == report["rules"]["going-badly"]["would_raise"]
    assert "going-badly at" in shown


async def test_a_back_test_tells_what_a_change_adds_and_takes_away(stored, invoke, tmp_path):
    changed = RULES.replace("10s", "4s").replace('"i guarantee"', '"i vouch"').replace('"one moment"', '"hm"')
    (tmp_path / "rules.yaml").write_text(changed)

    rules = json.loads((await invoke(backtest, str(tmp_path / "rules.yaml"), "--json")).output)["rules"]
    shown = (await invoke(backtest, str(tmp_path / "rules.yaml"), "--summary", "--from", "2026-01-02")).output

    assert rules["dead-air"]["added"] > 0
    assert rules["promise"]["gone"] > 0
    assert "dead-air" in shown
    assert "2026-01-01" not in shown


async def test_a_replay_of_a_stored_call_finds_no_difference_until_there_is_one(stored, database, invoke):
    changes = {seed: make_call(seed, rules=stored, origin_ts=0).outputs.incidents for seed in range(CALLS)}
    seed = next(seed for seed, incidents in changes.items() if incidents)
    call_id, incident_id = f"made-up-{seed:06}", changes[seed][-1].incident_id

    agreed = await invoke(replay, call_id, "--json")
    async with database.transaction() as connection:
        await connection.execute(
            sa.text("UPDATE qa.incident SET closed_ms = closed_ms + 1 WHERE incident_id = :id"),
            {"id": incident_id},
        )
    differing = await invoke(replay, call_id, "--json")

    assert (agreed.exit_code, json.loads(agreed.output)["differences"]) == (0, [])
    (difference,) = json.loads(differing.output)["differences"]
    assert differing.exit_code == 1
    assert (difference["incident_id"], difference["field"]) == (str(incident_id), "closed_ms")
    assert difference["stored"] == difference["recomputed"] + 1


async def test_a_call_that_is_not_stored_cannot_be_replayed(invoke):
    refused = await invoke(replay, "nobody")

    assert (refused.exit_code, refused.output) == (1, "Error: there is no call nobody\n")
