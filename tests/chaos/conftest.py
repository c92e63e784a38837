"""Trials for the tests in here, and which of them are run.

Ordinarily a short tier. All of it, with more calls and more faults, is for ``QA_TEST_CHAOS=full`` (as in
``make verify``); ``QA_TEST_CHAOS_REPORT`` names a file for its figures, and ``QA_TEST_CHAOS_CALLS`` says how
many calls the storm has, ``QA_TEST_CHAOS_CROWD`` how many the crowd, on machines that cannot play so many in
real time. Brokers that may be stopped have to be
our own, so these tests want Java even where others are given a broker by QA_TEST_KAFKA.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from qa_service.embedded import EmbeddedError
from qa_service.fetching import FetchError
from tests.chaos.report import Report
from tests.chaos.trial import Trial, trial
from tests.support.kafka import BrokerUnavailableError

IS_FULL = os.environ.get("QA_TEST_CHAOS") == "full"

STORM_CALLS = int(os.environ.get("QA_TEST_CHAOS_CALLS", "40"))
CROWD_CALLS = int(os.environ.get("QA_TEST_CHAOS_CROWD", "100"))
"""Two legs each, all live at once beside their recogniser: more than some machines carry."""

full_tier = pytest.mark.skipif(not IS_FULL, reason="takes minutes: set QA_TEST_CHAOS=full")

MakeTrial = Callable[..., AbstractAsyncContextManager[Trial]]


@pytest.fixture
def make_trial(tmp_path: Path, cache_dir: Path, caplog: pytest.LogCaptureFixture) -> MakeTrial:
    """Begins a trial; arguments as of :func:`tests.chaos.trial.trial`."""
    caplog.set_level(logging.CRITICAL, "aiokafka")  # thousands of lines while its broker is away

    @asynccontextmanager
    async def make(**options: Any) -> AsyncIterator[Trial]:
        try:
            async with trial(tmp_path, cache_dir, **options) as running:
                yield running
        except (BrokerUnavailableError, EmbeddedError, FetchError) as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None

    return make


_REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = Report()


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    """Takes what trials measure; it is printed at the end."""
    return pytestconfig.stash[_REPORT]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[_REPORT]
    if not report.recovery_s:
        return
    terminalreporter.section("recovery")
    for line in report.lines():
        terminalreporter.line(line)
    if path := os.environ.get("QA_TEST_CHAOS_REPORT"):
        report.save(Path(path))
