"""A worker that samples its own stack: ``python -m qa_service.bench.path.sampling FILE worker``.

A timer of processor time (``ITIMER_PROF``) interrupts the program every few milliseconds *that it computes*;
the handler notes the stack it finds. What waits costs nothing and is not seen. Written out as folded stacks
(one line each: frames from the root, a semicolon between, and how often) when the program ends.
"""

from __future__ import annotations

import atexit
import contextlib
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

INTERVAL_S: Final = 0.002
"""Two samples would not fit into less: the kernel's own clock ticks every 1 to 4 ms."""
_DEEPEST: Final = 60


class Sampler:
    """Counts stacks while it is started; for the main thread only, as signals are."""

    def __init__(self) -> None:
        self.stacks = Counter[tuple[CodeType, ...]]()

    def start(self) -> None:
        """Begin."""
        signal.signal(signal.SIGPROF, self._note)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self) -> None:
        """End."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def clear(self) -> None:
        """Forget what was counted."""
        self.stacks.clear()

    def folded(self) -> str:
        """What was counted, as folded stacks."""
        named = Counter[str]()
        for stack, count in self.stacks.items():
            named[";".join(map(_name, stack))] += count
        return "".join(f"{stack} {count}\n" for stack, count in sorted(named.items()))

    def _note(self, _signal: int, frame: FrameType | None) -> None:
        stack: list[CodeType] = []
        while frame is not None and len(stack) < _DEEPEST:
            stack.append(frame.f_code)
            frame = frame.f_back
        self.stacks[tuple(reversed(stack))] += 1


def _name(code: CodeType) -> str:
    parts = _place(Path(code.co_filename).with_suffix("").parts)
    return f"{'/'.join(parts)}:{code.co_qualname}".replace(";", ",").replace(" ", "_")


def _place(parts: tuple[str, ...]) -> tuple[str, ...]:
    """A file's place in its package, or its name alone."""
    for folder in ("site-packages", "lib", "qa_service"):
        if folder in parts:
            begin = len(parts) - 1 - parts[::-1].index(folder)
            return parts[begin if folder == "qa_service" else begin + 1 :]
    return parts[-1:]


def _write(sampler: Sampler, target: Path) -> None:
    sampler.stop()
    target.write_text(sampler.folded(), encoding="utf-8")


def _main() -> None:
    target = Path(sys.argv[1])
    sampler = Sampler()
    # The bench says from where on it counts: what a start costs is not what a leg costs.
    signal.signal(signal.SIGUSR1, lambda *_: sampler.clear())
    atexit.register(_write, sampler, target)
    sampler.start()
    sys.argv = ["qa-service", *sys.argv[2:]]
    with contextlib.suppress(SystemExit):
        runpy.run_module("qa_service", run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    _main()
