from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
import structlog.testing

from qa_service.asr_server import load
from qa_service.asr_server.load import Priority
from qa_service.asr_server.scheduler import Job, Scheduler

DEADLINE_S = 10.0


class Gate:
    """Keeps the one thread of a scheduler busy until it is opened, and notes what ran."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.ran: list[str] = []
        self._open = threading.Event()
        self._begun = threading.Event()
        self.blocker: Job[None] = scheduler.submit(Priority.FINAL, "gate", self._block)
        assert self._begun.wait(DEADLINE_S), "the thread did not begin"

    def _block(self) -> None:
        self._begun.set()
        assert self._open.wait(DEADLINE_S), "the gate was never opened"

    def note(self, name: str) -> Callable[[], None]:
        return lambda: self.ran.append(name)

    async def open(self, *jobs: Job[None]) -> None:
        """Let the thread go and wait for ``jobs``."""
        self._open.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(job.result() for job in jobs))


@pytest.fixture
def gate() -> Iterator[Gate]:
    scheduler = Scheduler(threads=1, max_waiting_partials=2)
    gate = Gate(scheduler)
    yield gate
    gate._open.set()
    scheduler.close()


async def test_finals_run_before_speculations_and_what_can_wait_longer_after_them(gate: Gate) -> None:
    submit = gate.scheduler.submit
    jobs = [
        submit(Priority.PARTIAL, "a", gate.note("partial")),
        submit(Priority.SPECULATIVE, "b", gate.note("speculation"), due_in_s=0.3),
        submit(Priority.FINAL, "c", gate.note("first final")),
        submit(Priority.FINAL, "d", gate.note("second final")),
    ]
    await gate.open(*jobs)

    assert gate.ran == ["first final", "second final", "speculation", "partial"]


async def test_only_the_newest_partial_of_an_utterance_waits(gate: Gate) -> None:
    old = gate.scheduler.submit(Priority.PARTIAL, "a", gate.note("old"))
    new = gate.scheduler.submit(Priority.PARTIAL, "a", gate.note("new"))
    await gate.open(new)

    assert gate.ran == ["new"]
    assert old.future.cancelled()


async def test_a_partial_takes_the_place_of_the_one_that_it_replaces(gate: Gate) -> None:
    submit = gate.scheduler.submit
    submit(Priority.PARTIAL, "a", gate.note("old a"))
    jobs = [submit(Priority.PARTIAL, name, gate.note(name)) for name in ("b", "a")]
    await gate.open(*jobs)

    assert gate.ran == ["a", "b"]


async def test_a_thread_is_idle_only_while_nothing_waits_or_runs_on_it(gate: Gate) -> None:
    busy = gate.scheduler.has_idle_thread
    await gate.open(gate.blocker)
    async with asyncio.timeout(DEADLINE_S):
        while not gate.scheduler.has_idle_thread:  # noqa: ASYNC110 - the thread tells nobody when it is free
            await asyncio.sleep(0.001)

    assert not busy


async def test_the_oldest_partial_gives_way_when_too_many_wait(gate: Gate) -> None:
    jobs = [gate.scheduler.submit(Priority.PARTIAL, name, gate.note(name)) for name in "abc"]
    await gate.open(*jobs[1:])

    assert gate.ran == ["b", "c"]
    assert jobs[0].future.cancelled()


async def test_finals_never_give_way(gate: Gate) -> None:
    jobs = [gate.scheduler.submit(Priority.FINAL, n, gate.note(str(n))) for n in range(50)]
    await gate.open(*jobs)

    assert len(gate.ran) == 50


async def test_a_promoted_speculation_runs_with_the_finals_and_only_once(gate: Gate) -> None:
    first = gate.scheduler.submit(Priority.SPECULATIVE, "a", gate.note("first"), due_in_s=0.5)
    second = gate.scheduler.submit(Priority.SPECULATIVE, "b", gate.note("second"), due_in_s=0.6)
    gate.scheduler.promote(second)
    await gate.open(first, second)

    assert gate.ran == ["second", "first"]


async def test_a_job_given_up_while_it_waits_does_not_run(gate: Gate) -> None:
    given_up = gate.scheduler.submit(Priority.SPECULATIVE, "a", gate.note("given up"))
    kept = gate.scheduler.submit(Priority.SPECULATIVE, "b", gate.note("kept"))
    gate.scheduler.give_up(given_up)
    await gate.open(kept)

    assert gate.ran == ["kept"]


async def test_jobs_that_wait_are_counted(gate: Gate) -> None:
    gate.scheduler.submit(Priority.FINAL, "a", gate.note("a"))
    dead = gate.scheduler.submit(Priority.PARTIAL, "b", gate.note("b"))
    gate.scheduler.give_up(dead)

    assert gate.scheduler.waiting == 1


async def test_a_failure_reaches_who_awaits_it_and_the_thread_goes_on(gate: Gate) -> None:
    def fail() -> None:
        raise ValueError("no such sound")

    failing = gate.scheduler.submit(Priority.FINAL, "a", fail)
    fine = gate.scheduler.submit(Priority.FINAL, "b", gate.note("fine"))
    await gate.open(fine)

    with pytest.raises(ValueError, match="no such sound"):
        await failing.result()


async def test_a_closed_scheduler_gives_up_what_waits_and_takes_nothing_new(gate: Gate) -> None:
    waiting = gate.scheduler.submit(Priority.FINAL, "a", gate.note("a"))
    gate.scheduler.close()
    late = gate.scheduler.submit(Priority.FINAL, "b", gate.note("b"))

    assert waiting.future.cancelled()
    assert late.future.cancelled()


async def test_partials_may_have_all_threads_while_no_final_is_expected() -> None:
    scheduler = Scheduler(threads=2, max_waiting_partials=8)
    both_run = threading.Barrier(3)
    jobs = [scheduler.submit(Priority.PARTIAL, n, lambda: both_run.wait(DEADLINE_S)) for n in range(2)]
    await asyncio.to_thread(both_run.wait, DEADLINE_S)
    await asyncio.gather(*(job.result() for job in jobs))
    scheduler.close()


async def test_a_thread_is_kept_for_a_final_that_is_expected_and_given_back_after_a_while() -> None:
    scheduler = Scheduler(threads=1, max_waiting_partials=8)
    ran: list[str] = []
    scheduler.expect_final("pausing", due_in_s=0.1)
    partial = scheduler.submit(Priority.PARTIAL, "spoken", lambda: ran.append("partial"))
    final = scheduler.submit(Priority.FINAL, "other", lambda: ran.append("final"))
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(partial.result(), final.result())
    scheduler.close()

    assert ran == ["final", "partial"]


async def test_partials_are_suspended_while_finals_take_all_the_time_and_resumed_after_it(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_HOLD_S", 0.0)
    with structlog.testing.capture_logs() as logs:
        finals = [gate.scheduler.submit(Priority.FINAL, n, gate.note(str(n))) for n in range(50)]
        refused = gate.scheduler.submit(Priority.PARTIAL, "spoken", gate.note("partial"))
        pause_s = gate.scheduler.partial_interval_s
        await gate.open(*finals)
        gate.scheduler.admit_session()
        taken = gate.scheduler.submit(Priority.PARTIAL, "spoken", gate.note("partial"))
        async with asyncio.timeout(DEADLINE_S):
            await taken.result()

    assert refused.future.cancelled()
    assert pause_s == 2.0
    assert [entry["event"] for entry in logs] == ["partials_suspended", "partials_resumed"]
