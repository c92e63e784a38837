"""A back-test over many calls: batches of them, on all cores, each process with its own connection."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Generator, Sequence
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

from qa_service.processes import spread
from qa_service.rules.backtest import (
    Fate,
    Trial,
    Verdict,
    name_agents,
    newest_changes,
    pair,
    to_alert,
    vary_thresholds,
)
from qa_service.rules.errors import CallLogError
from qa_service.rules.ruleset import RuleSet, load_rule_set
from qa_service.storage.database import Database
from qa_service.storage.stored_calls import PastCall, read_past_calls

CALLS_A_BATCH: Final = 20
"""Some thousands of log entries, a few MB: what a process holds at a time."""


class Tried(NamedTuple):
    """What came of a batch of calls."""

    calls: int
    trials: list[Trial]
    refused: list[str]
    """Calls whose log could not be followed, and why."""
    thresholds: Counter[tuple[str, float, Fate, Verdict]]
    """How the alerts of rules that add up evidence would fare at other thresholds: by rule and threshold."""


def try_rules(
    source: str, call_ids: Sequence[str], *, database_url: str, jobs: int | None
) -> Generator[Tried]:
    """Try rules on stored calls, batch by batch, as they get done; close the iterator to stop early."""
    return spread(
        _try_batch,
        (call_ids[n : n + CALLS_A_BATCH] for n in range(0, len(call_ids), CALLS_A_BATCH)),
        processes=jobs or len(os.sched_getaffinity(0)),
        begin=partial(_start_process, source, database_url),
    )


def try_call(rules: RuleSet, call: PastCall) -> list[Trial]:
    """Compare what rules would raise on a call with what was raised; raises CallLogError."""
    would = [change for change in newest_changes(rules, call.entries).values() if change.state != "withdrawn"]
    raised = [each for each in call.raised if each.change.state != "withdrawn"]
    verdicts: dict[UUID, Verdict] = {each.change.incident_id: each.verdict for each in raised}
    agents, day = name_agents(call.entries), call.started_at.date().isoformat()
    trials = []
    for new, old in pair(map(to_alert, would), [to_alert(each.change) for each in raised]):
        alert = new or old
        assert alert is not None  # noqa: S101 - a pair has at least one
        trials.append(
            Trial(
                call_id=call.call_id,
                day=day,
                agents=agents,
                fate="gone" if new is None else "added" if old is None else "same",
                alert=alert,
                verdict=None if old is None else verdicts[old.incident_id],
            )
        )
    return trials


class _Process(NamedTuple):
    """What a process of the pool holds for all its batches."""

    loop: asyncio.AbstractEventLoop
    database: Database
    rules: RuleSet
    varied: list[tuple[dict[str, float], RuleSet]]


_process: _Process | None = None


def _start_process(source: str, database_url: str) -> None:
    global _process  # noqa: PLW0603 - how a pool's process keeps anything
    rules = load_rule_set(source, "the rules")
    database = Database(database_url, pool_size=1)
    _process = _Process(asyncio.new_event_loop(), database, rules, vary_thresholds(rules))


def _try_batch(call_ids: Sequence[str]) -> Tried:
    assert _process is not None  # noqa: S101 - the pool's initialiser has run
    calls = _process.loop.run_until_complete(read_past_calls(_process.database, call_ids))
    tried = Tried(len(calls), [], [], Counter())
    for call in calls:
        if not call.entries:
            tried.refused.append(f"{call.call_id}: nothing of its log is left")
            continue
        try:
            tried.trials.extend(try_call(_process.rules, call))
            for at, rules in _process.varied:
                found = [trial for trial in try_call(rules, call) if trial.alert.rule_id in at]
                tried.thresholds.update(
                    (t.alert.rule_id, at[t.alert.rule_id], t.fate, t.verdict) for t in found
                )
        except CallLogError as error:
            tried.refused.append(f"{call.call_id}: {error}")
    return tried
