"""The bench's own processes: started afresh, told what to do over a pipe, ended with the bench."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import uvloop

from qa_service import logs
from qa_service.bench.listening import BenchError

_STOP_S: Final = 10.0

Handlers: TypeAlias = Mapping[str, Callable[..., Awaitable[Any]]]
"""What a helper can be asked, by name."""
Main: TypeAlias = Callable[[Callable[[Handlers], Awaitable[None]], Any], Awaitable[None]]
"""A helper's program: gets ``answer``, which serves its handlers until told to stop, and its argument."""


class Helper:
    """A process of ours; :meth:`ask` it things."""

    def __init__(self, name: str, pid: int, pipe: multiprocessing.connection.Connection) -> None:
        self.name = name
        self.pid = pid
        self._pipe = pipe

    async def ask(self, what: str, *arguments: object) -> Any:
        """Have it do something and return what comes of it; raises BenchError if it fails or is gone."""
        try:
            self._pipe.send((what, arguments))
            answer = await asyncio.to_thread(self._pipe.recv)
        except (EOFError, OSError) as error:
            raise BenchError(f"the bench's {self.name} has ended") from error
        if isinstance(answer, BenchError):
            raise answer
        return answer


@contextlib.asynccontextmanager
async def running_helper(name: str, main: Main, argument: object) -> AsyncIterator[Helper]:
    """A helper for the length of a block; ``main`` is a function of a module, ``argument`` can be pickled."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, name, main, argument), daemon=True, name=name)
    process.start()
    theirs.close()
    try:
        helper = Helper(name, process.pid or 0, ours)
        await helper.ask("ready")
        yield helper
    finally:
        with contextlib.suppress(OSError):
            ours.send(("stop", ()))
        await asyncio.to_thread(process.join, _STOP_S)
        process.kill()


def _run(pipe: multiprocessing.connection.Connection, name: str, main: Main, argument: Any) -> None:
    # The terminal interrupts the whole group; the bench ends this process in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure("console", "error")

    async def answer(handlers: Handlers) -> None:
        await _answer(pipe, name, handlers)

    uvloop.run(main(answer, argument))  # type: ignore[arg-type] # a coroutine function's result is a coroutine


async def _answer(pipe: multiprocessing.connection.Connection, name: str, handlers: Handlers) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            what, arguments = await asyncio.to_thread(pipe.recv)
            if what == "stop":
                return
            try:
                done = True if what == "ready" else await handlers[what](*arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, the bench must hear of it
                done = BenchError(f"the bench's {name} failed to {what}: {type(error).__name__}: {error}")
            pipe.send(done)
