"""Work spread over processes, whose results are taken as they come and which can be left at any time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from typing import Final, TypeVar

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

_PARTS_A_PROCESS: Final = 2
"""One under way and one that waits, so that no process is idle and few results are in memory at once."""


def spread(
    work: Callable[[_Part], _Result], parts: Iterable[_Part], *, processes: int, begin: Callable[[], None]
) -> Generator[_Result]:
    """Do the work on each part, in so many processes; results come as they are ready, in any order.

    ``work`` and ``begin``, which runs first in each process, are sent there: they must be picklable. Close
    the generator if it is not wanted to its end: its processes are killed then, whatever they are at.
    """
    others = set(multiprocessing.active_children())
    # A fresh interpreter each: nothing that the caller has set up, or logs, gets into the work.
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=_begin_process, initargs=(begin,)
    )
    waiting: set[Future[_Result]] = set()
    left = iter(parts)
    try:
        while True:
            room = _PARTS_A_PROCESS * processes - len(waiting)
            with _uninterrupted():  # a process that is half started when Ctrl-C comes would complain of it
                waiting |= {pool.submit(work, part) for part in islice(left, room)}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BaseException:
        # On a busy machine they may be seconds from the end of a part, or still at their imports.
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """A block that Ctrl-C does not break into: it counts once the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _begin_process(begin: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    begin()


def _end_with_parent() -> None:
    """End this process once its parent is gone: one that was killed stops nobody, and work would go on."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
