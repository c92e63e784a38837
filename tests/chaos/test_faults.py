"""One fault at a time, against calls that are live: nothing is lost or doubled, and all comes back."""

from __future__ import annotations

import pytest

from tests.chaos.conftest import MakeTrial, full_tier
from tests.chaos.faults import FAULTS
from tests.chaos.report import Report

pytestmark = [pytest.mark.chaos, pytest.mark.kafka, pytest.mark.postgres]

_CALLS = 12
_TIMES = 3
"""Each fault strikes so often: the moment makes a difference."""


@full_tier
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_loses_and_doubles_nothing_and_all_comes_back(
    make_trial: MakeTrial, report: Report, name: str
) -> None:
    async with make_trial(calls=_CALLS, seed=len(name)) as trial:
        for _ in range(_TIMES):
            struck = await FAULTS[name](trial)
            report.note(name, await trial.watch.recovery_s(struck.since, not_before_s=struck.shows_after_s))

    assert trial.faults == []
