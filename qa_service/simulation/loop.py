"""An event loop whose clock is virtual, and which runs several processes that can be frozen and killed.

Decided here: nothing happens by itself. Callbacks run in the order in which they became due, and when none
is due, time jumps to the next that will be. A process is a context: whatever is begun in it belongs to it. A
frozen process is not run, and finds afterwards that time has passed; a killed one never runs again, not even
its ``finally`` blocks, as after SIGKILL.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

_UNIX_ORIGIN_MS: Final = 1_700_000_000_000
_CALLBACKS_AT_ONCE: Final = 200_000
"""So many without any time passing are a loop that does not end."""

_BURIAL_ROUNDS: Final = 100
"""Some tasks take more than one cancellation: they end what they wait for first."""


class Deadlock(Exception):  # noqa: N818 - named after what happened
    """Nothing is due and nothing will be, but somebody waits."""


class Process:
    """Something that the operating system could freeze or kill on its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_alive = True
        self.is_frozen = False
        self._held: deque[asyncio.Handle] = deque()

    def hold(self, handle: asyncio.Handle) -> None:
        """Keep what would have run now for when the process goes on."""
        self._held.append(handle)

    def release(self) -> deque[asyncio.Handle]:
        """Hand out what was held."""
        held, self._held = self._held, deque()
        return held


def unix_ms(at: float) -> int:
    """Unix time in milliseconds at ``at`` virtual seconds."""
    return _UNIX_ORIGIN_MS + int(at * 1000)


_PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process | None:
    """The process to which the running code belongs; None for the world around them all."""
    return _PROCESS.get()


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs coroutines in virtual time; one at a time of these per thread, see :func:`running`."""

    def __init__(self) -> None:
        self.faults: list[BaseException] = []
        """Exceptions that nobody took."""
        self._now = 0.0
        self._order = itertools.count()
        self._ready: deque[tuple[Process | None, asyncio.Handle]] = deque()
        self._timers: list[tuple[float, int, Process | None, asyncio.TimerHandle]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._processes: set[Process] = set()

    # --- processes --------------------------------------------------------------------------------

    def spawn(
        self, process: Process | None, work: Coroutine[Any, Any, _T], *, name: str | None = None
    ) -> asyncio.Task[_T]:
        """Run a coroutine as a part of a process, or of the world around them."""
        context = copy_context()
        context.run(_PROCESS.set, process)
        if process is not None:
            self._processes.add(process)
        return self.create_task(work, name=name, context=context)

    def freeze(self, process: Process) -> None:
        """Stop running a process (SIGSTOP)."""
        process.is_frozen = True

    def thaw(self, process: Process) -> None:
        """Go on running a process, with everything that became due meanwhile (SIGCONT)."""
        process.is_frozen = False
        self._ready.extend((process, handle) for handle in process.release())

    def kill(self, process: Process) -> None:
        """End a process (SIGKILL)."""
        process.is_alive = False

    def bury(self) -> None:
        """Let everything come to its end that is still there, once what it does matters no more.

        Coroutines that nobody ends are ended by Python, at a time and place of its own choosing.
        """
        with running(self):
            for process in self._processes:
                process.is_alive, process.is_frozen = True, False
                self._ready.extend((process, handle) for handle in process.release())
            for _ in range(_BURIAL_ROUNDS):
                for task in list(self._tasks):
                    task.cancel()
                for _ in range(_CALLBACKS_AT_ONCE):
                    if not self._tasks or (not self._ready and not self._timers):
                        break
                    if not self._ready:
                        self._advance()
                    self._run_next()
                    if not self._ready:
                        break
                if not self._tasks:
                    return
            raise Deadlock(f"{len(self._tasks)} tasks do not end when they are cancelled: {self._tasks}")

    # --- what asyncio asks of a loop --------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def get_debug(self) -> bool:
        """Tell that asyncio's debugging aids are off."""
        return False

    def is_running(self) -> bool:
        """Whether the loop runs at present."""
        return asyncio.events._get_running_loop() is self  # noqa: SLF001 - what loops are to use

    def is_closed(self) -> bool:
        """Tell that there is nothing to close."""
        return False

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]  # typeshed's overloads say the same at more length
        self,
        coro: Coroutine[Any, Any, _T],
        *,
        name: str | None = None,
        context: Context | None = None,
        **_options: object,
    ) -> asyncio.Task[_T]:
        """Make a task, and keep it: those of a killed process must not be collected, or they would run on."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback as soon as everything that was due before has run."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((_process_of(context), handle))
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback after ``delay`` virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at ``when`` on :meth:`time`."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), _process_of(context), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave a cancelled timer where it is: it is skipped when its turn comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note a fault that nobody took; the run has failed."""
        self.faults.append(context.get("exception") or RuntimeError(context["message"]))

    # --- running ----------------------------------------------------------------------------------

    def run_until_complete(self, future: Coroutine[Any, Any, _T]) -> _T:  # type: ignore[override]
        """Run a coroutine of the world to its end.

        Raises:
            Deadlock: it waits for something that nothing will bring about.
        """
        with running(self):
            task = self.spawn(None, future)
            burst = 0
            while not task.done():
                if not self._ready:
                    self._advance()
                    burst = 0
                elif (burst := burst + 1) > _CALLBACKS_AT_ONCE:
                    raise Deadlock(f"time stands still at {self._now:.3f} s")
                self._run_next()
            return task.result()

    def _advance(self) -> None:
        """Let time pass, if need be, until a timer is due, and move those that are to the ready ones."""
        timers = self._timers
        while timers and timers[0][3].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Deadlock(f"everybody waits at {self._now:.3f} s, and nothing is due")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            _, _, process, handle = heapq.heappop(timers)
            if not handle.cancelled():
                self._ready.append((process, handle))

    def _run_next(self) -> None:
        if not self._ready:
            return
        process, handle = self._ready.popleft()
        if handle.cancelled():
            return
        if process is not None and (process.is_frozen or not process.is_alive):
            process.hold(handle)
            return
        handle._run()  # noqa: SLF001 - what loops are to use


def _process_of(context: Context | None) -> Process | None:
    return _PROCESS.get() if context is None else context.get(_PROCESS)


@contextlib.contextmanager
def running(loop: VirtualLoop) -> Iterator[None]:
    """A block in which ``loop`` is the running loop."""
    asyncio.events._set_running_loop(loop)  # noqa: SLF001 - what loops are to use
    try:
        yield
    finally:
        asyncio.events._set_running_loop(None)  # noqa: SLF001 - as above
