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

_FEW_TASKS: Final = 100
"""So many more are made before those that have ended are forgotten."""
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
        self._held: deque[_Due] = deque()

    def hold(self, due: _Due) -> None:
        """Keep what would have run now for when the process goes on."""
        self._held.append(due)

    def release(self) -> deque[_Due]:
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


class _Due:
    """A callback that is due, now or later, and the process that it belongs to.

    In the place of asyncio's handles, which do more than is needed here: everything that happens is one.
    """

    __slots__ = ("_args", "_callback", "_context", "_is_cancelled", "_process")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._process = self._context.get(_PROCESS)
        self._callback = callback
        self._args = args
        self._is_cancelled = False

    def cancel(self) -> None:
        """Leave it where it is: it is skipped when its turn comes."""
        self._is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it is to be skipped."""
        return self._is_cancelled

    def run(self, faults: list[BaseException]) -> None:
        """Call back, unless it was cancelled or its process has to wait; what it raises is a fault."""
        if self._is_cancelled:
            return
        process = self._process
        if process is not None and (process.is_frozen or not process.is_alive):
            process.hold(self)
            return
        try:
            self._context.run(self._callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio's own handles
            faults.append(error)


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs coroutines in virtual time; one at a time of these per thread, see :func:`running`."""

    def __init__(self) -> None:
        self.faults: list[BaseException] = []
        """Exceptions that nobody took."""
        self._now = 0.0
        self._order = itertools.count()
        self._ready: deque[_Due] = deque()
        self._timers: list[tuple[float, int, _Due]] = []
        self._tasks: list[asyncio.Task[Any]] = []
        """All that have not ended, and some that have; see :meth:`create_task`."""
        self._tasks_kept = _FEW_TASKS
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
        self._ready.extend(process.release())

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
                self._ready.extend(process.release())
            for _ in range(_BURIAL_ROUNDS):
                self._forget_ended_tasks()
                if not self._tasks:
                    return
                for task in self._tasks:
                    task.cancel()
                if not self._ready and self._timers:
                    self._advance()
                for _ in range(_CALLBACKS_AT_ONCE):
                    if not self._ready:
                        break
                    self._ready.popleft().run(self.faults)
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
        self._tasks.append(task)
        if len(self._tasks) >= self._tasks_kept:
            self._forget_ended_tasks()
            self._tasks_kept = len(self._tasks) + _FEW_TASKS
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Due:
        """Run a callback as soon as everything that was due before has run."""
        due = _Due(callback, args, context)
        self._ready.append(due)
        return due

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Due:
        """Run a callback after ``delay`` virtual seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> _Due:
        """Run a callback at ``when`` on :meth:`time`."""
        due = _Due(callback, args, context)
        heapq.heappush(self._timers, (when, next(self._order), due))
        return due

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
            ready, faults, burst = self._ready, self.faults, 0
            while not task.done():
                if not ready:
                    self._advance()
                    burst = 0
                elif (burst := burst + 1) > _CALLBACKS_AT_ONCE:
                    raise Deadlock(f"time stands still at {self._now:.3f} s")
                ready.popleft().run(faults)
            return task.result()

    def _advance(self) -> None:
        """Let time pass, if need be, until a timer is due, and move those that are to the ready ones."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Deadlock(f"everybody waits at {self._now:.3f} s, and nothing is due")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    def _forget_ended_tasks(self) -> None:
        self._tasks = [task for task in self._tasks if not task.done()]


@contextlib.contextmanager
def running(loop: VirtualLoop) -> Iterator[None]:
    """A block in which ``loop`` is the running loop."""
    asyncio.events._set_running_loop(loop)  # noqa: SLF001 - what loops are to use
    try:
        yield
    finally:
        asyncio.events._set_running_loop(None)  # noqa: SLF001 - as above
