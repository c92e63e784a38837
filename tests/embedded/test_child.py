"""Children that fail are heard, children that will not stop are made to."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from qa_service.embedded import StartError
from qa_service.embedded.child import await_ready, start_child
from tests.support.waiting import eventually


def start(tmp_path: Path, code: str):
    return start_child(
        [sys.executable, "-u", "-c", code],
        name="the child",
        log_file=tmp_path / "child.log",
        stop_signal=signal.SIGTERM,
    )


async def never() -> bool:
    return False


async def test_a_child_that_ends_at_start_is_quoted(tmp_path: Path):
    child = start(tmp_path, "print('no such table'); raise SystemExit(7)")

    with pytest.raises(StartError, match="the child ended with status 7 at start: no such table"):
        await await_ready(child, never, within_s=20, waiting_for="to be ready")


async def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path):
    child = start(tmp_path, "import time; time.sleep(60)")

    with pytest.raises(StartError, match="waited 0 s for the child to be ready: it said nothing"):
        await await_ready(child, never, within_s=0.1, waiting_for="to be ready")
    child.stop(within_s=5)

    assert child.process.poll() == -signal.SIGTERM


async def test_a_child_that_ignores_the_request_to_stop_is_killed(tmp_path: Path):
    child = start(
        tmp_path,
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)",
    )
    await eventually(lambda: "deaf" in child.complaint(), "the child to be deaf")

    child.stop(within_s=0.1)

    assert child.process.poll() == -signal.SIGKILL


async def test_a_program_that_cannot_be_executed_is_named(tmp_path: Path):
    (tmp_path / "broken").write_text("not a program")

    with pytest.raises(StartError, match="broken"):
        await await_ready(
            start_child(
                [tmp_path / "broken"], name="x", log_file=tmp_path / "log", stop_signal=signal.SIGTERM
            ),
            never,
            within_s=20,
            waiting_for="to be ready",
        )
