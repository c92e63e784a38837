"""Work spread over processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from qa_service.processes import spread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def python_handles_sigint() -> Iterator[None]:
    """As at a program's start: a command that ran in this process has left uvloop's own handler, now deaf."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def begin_quietly() -> None:
    """Nothing to prepare."""


def begin_with_a_wish() -> None:
    os.environ["QA_TEST_WISH"] = "granted"


def double(number: int) -> int:
    return 2 * number


def tell_wish(_part: int) -> str:
    return os.environ.get("QA_TEST_WISH", "not granted")


def fail(_part: int) -> None:
    raise ArithmeticError("this part cannot be done")


def sleep_on(part: int) -> int:
    if part:
        time.sleep(3600)
    return part


def test_the_results_of_all_parts_come_once() -> None:
    assert sorted(spread(double, range(9), processes=2, begin=begin_quietly)) == [*range(0, 18, 2)]


def test_each_process_begins_with_what_it_was_given() -> None:
    assert [*spread(tell_wish, [1], processes=1, begin=begin_with_a_wish)] == ["granted"]


def test_a_part_that_fails_fails_the_whole() -> None:
    with pytest.raises(ArithmeticError, match="this part cannot be done"):
        [*spread(fail, [1], processes=1, begin=begin_quietly)]


@pytest.mark.usefixtures("python_handles_sigint")
def test_an_interruption_waits_until_the_processes_are_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(pool: ProcessPoolExecutor, *given: Any) -> Future[int]:
        signal.raise_signal(signal.SIGINT)
        future = original(pool, *given)
        submitted.append(future)
        return future

    submitted: list[Future[int]] = []
    original = ProcessPoolExecutor.submit
    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    with pytest.raises(KeyboardInterrupt):
        [*spread(double, [1, 2], processes=2, begin=begin_quietly)]

    assert len(submitted) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_processes_in_the_midst_of_a_part_end_with_the_generator() -> None:
    before = set(multiprocessing.active_children())
    with contextlib.closing(spread(sleep_on, [0, 1, 2, 3], processes=2, begin=begin_quietly)) as results:
        assert next(results) == 0
        assert set(multiprocessing.active_children()) > before

    assert set(multiprocessing.active_children()) == before
