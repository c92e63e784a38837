from __future__ import annotations

import asyncio
import gc

import pytest

from qa_service.simulation.loop import Deadlock, Process, VirtualLoop


def test_time_passes_only_by_waiting() -> None:
    loop = VirtualLoop()
    seen: list[float] = []

    async def wait() -> None:
        for delay_s in (1.5, 3600.0):
            await asyncio.sleep(delay_s)
            seen.append(loop.time())

    loop.run_until_complete(wait())

    assert seen == [1.5, 3601.5]


def test_what_is_due_at_once_runs_in_the_order_in_which_it_became_due() -> None:
    loop = VirtualLoop()
    seen: list[str] = []

    async def main() -> None:
        loop.call_later(1.0, seen.append, "timer")
        loop.call_soon(seen.append, "first")
        loop.call_soon(seen.append, "second")
        await asyncio.sleep(1.0)

    loop.run_until_complete(main())

    assert seen == ["first", "second", "timer"]


def test_timeouts_and_cancellation_are_asyncio_s_own() -> None:
    loop = VirtualLoop()

    async def main() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        return f"after {loop.time():g} s"

    assert loop.run_until_complete(main()) == "after 5 s"


def test_a_frozen_process_finds_afterwards_that_time_has_passed() -> None:
    loop = VirtualLoop()
    process = Process("worker")
    beats: list[float] = []

    async def beat() -> None:
        while True:
            await asyncio.sleep(1.0)
            beats.append(loop.time())

    async def main() -> None:
        loop.spawn(process, beat())
        await asyncio.sleep(2.5)
        loop.freeze(process)
        await asyncio.sleep(5.0)
        loop.thaw(process)
        await asyncio.sleep(2.0)

    loop.run_until_complete(main())
    loop.bury()

    assert beats == [1.0, 2.0, 7.5, 8.5, 9.5][: len(beats)]
    assert len(beats) >= 4


def test_a_killed_process_runs_not_even_its_finally() -> None:
    loop = VirtualLoop()
    process = Process("worker")
    last_words: list[str] = []

    async def live() -> None:
        try:
            await asyncio.sleep(10.0)
        finally:
            last_words.append("goodbye")

    async def main() -> None:
        loop.spawn(process, live())
        await asyncio.sleep(1.0)
        loop.kill(process)
        await asyncio.sleep(60.0)

    loop.run_until_complete(main())
    gc.collect()

    assert last_words == []
    loop.bury()


def test_what_a_process_begins_belongs_to_it() -> None:
    loop = VirtualLoop()
    process = Process("worker")
    seen: list[str] = []

    async def child() -> None:
        await asyncio.sleep(2.0)
        seen.append("child")

    async def parent() -> None:
        asyncio.create_task(child())  # noqa: RUF006 - the loop keeps it
        asyncio.get_running_loop().call_later(2.0, seen.append, "timer")
        await asyncio.sleep(0)

    async def main() -> None:
        loop.spawn(process, parent())
        await asyncio.sleep(1.0)
        loop.kill(process)
        await asyncio.sleep(5.0)

    loop.run_until_complete(main())

    assert seen == []
    loop.bury()


def test_waiting_for_what_nothing_brings_about_is_a_deadlock() -> None:
    loop = VirtualLoop()

    with pytest.raises(Deadlock, match="nothing is due"):
        loop.run_until_complete(asyncio.Event().wait())
    loop.bury()


def test_a_loop_that_never_waits_is_found_out() -> None:
    loop = VirtualLoop()

    async def spin() -> None:
        while True:  # noqa: ASYNC110 - the fault in question
            await asyncio.sleep(0)

    with pytest.raises(Deadlock, match="time stands still"):
        loop.run_until_complete(spin())
    loop.bury()


def test_an_exception_that_nobody_takes_is_a_fault_of_the_run() -> None:
    loop = VirtualLoop()

    def fail() -> None:
        raise ValueError("nobody listens")

    async def main() -> None:
        loop.call_soon(fail)
        await asyncio.sleep(1.0)

    loop.run_until_complete(main())

    assert [str(fault) for fault in loop.faults] == ["nobody listens"]


def test_burial_ends_everything_that_is_left() -> None:
    loop = VirtualLoop()
    process = Process("worker")
    ended: list[str] = []

    async def live() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("live")

    async def main() -> None:
        loop.spawn(process, live())
        loop.spawn(None, live())
        await asyncio.sleep(1.0)
        loop.kill(process)

    loop.run_until_complete(main())
    loop.bury()

    assert ended == ["live", "live"]
    assert asyncio.events._get_running_loop() is None
