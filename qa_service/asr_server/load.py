"""How busy recognition is, and what gives way: the pace of partials, and whether one more session fits.

Decided here: finals get all the time they need; what is left of the threads is shared by the utterances
that are being spoken, so the time between two looks grows with the load. Past 4 s looks are not worth their
price and are suspended. When a final would be late by more than a limit for two seconds on end, or finals
take more than 60 % of the time, new sessions are refused until there has been room for as long.

Times are seconds of any one clock and come in as arguments.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Hashable
from typing import Final


class Priority(enum.IntEnum):
    """What a recognition is for; of two that can wait equally long, the lower value runs first."""

    FINAL = 0
    SPECULATIVE = 1
    PARTIAL = 2


MIN_INTERVAL_S: Final = 1.0
"""Between two looks at an utterance when there is time for all."""
_SUSPEND_OVER_S: Final = 4.0  # an utterance is over by then: half of them are shorter
_RESUME_UNDER_S: Final = 3.0
_USABLE_SHARE: Final = 0.95  # of the threads' time: some is always lost between two recognitions
_WINDOW_S: Final = 5.0  # over which the work of finals is added up: some utterances of each leg
_SHARE_WINDOW_S: Final = 10.0  # the same, to see what sessions cost: longer, since nothing hangs on a second
_FULL_SHARE: Final = 0.6  # of the threads' time for finals: newcomers are not yet seen in it
_ROOM_SHARE: Final = 0.5  # under which there is room again
_HOLD_S: Final = 2.0  # that finals must be late, or in time, on end: some of them at once are no overload
_NEWCOMER_S: Final = 2.0  # between two new sessions of a busy server
_WAIT_S: Final = 4.0  # for a turn, at most: the vendor's clients wait 5 s for a handshake
_CALM_SHARE: Final = 0.5  # of the limit, under which finals count as in time again
_COST_SHARE: Final = 0.1  # of one recognition in the running cost of its kind
_FIRST_COST_S: Final = 0.3  # until one has been measured: Whisper base on 3 s of speech


class Costs:
    """What a partial and a final cost of late, in seconds of one thread."""

    def __init__(self) -> None:
        self._partial_s: float | None = None
        self._final_s: float | None = None

    def learn(self, priority: Priority, seconds: float) -> None:
        """A recognition took so long."""
        if priority is Priority.PARTIAL:
            self._partial_s = _moved(self._partial_s, seconds)
        else:
            self._final_s = _moved(self._final_s, seconds)

    def expected_s(self, priority: Priority) -> float:
        """How long one will take."""
        known = self._partial_s if priority is Priority.PARTIAL else self._final_s
        return _FIRST_COST_S if known is None else known


class PartialPace:
    """How often an utterance may be looked at while it is spoken."""

    def __init__(self, *, threads: int, costs: Costs) -> None:
        self._threads = threads
        self._costs = costs
        # When finals ended within the window and how long they took, oldest first.
        self._finals: deque[tuple[float, float]] = deque()
        # When each utterance that is being spoken was last to be looked at.
        self._asked: dict[Hashable, float] = {}
        self._suspended = False

    @property
    def suspended(self) -> bool:
        """Whether there was no time for partials when last asked."""
        return self._suspended

    def ask(self, key: Hashable, now: float) -> None:
        """The utterance ``key`` is being spoken, and is to be looked at."""
        self._asked[key] = now

    def end(self, key: Hashable) -> None:
        """The utterance ``key`` is over."""
        self._asked.pop(key, None)

    def spend(self, seconds: float, now: float) -> None:
        """A final has taken so long."""
        self._finals.append((now, seconds))

    def interval_s(self, now: float, waiting_s: float = 0.0) -> float | None:
        """How far apart looks at an utterance have to be; None: there is no time for any.

        ``waiting_s`` is the work of finals that wait, in seconds of one thread.
        """
        self._forget(now)
        wanted = len(self._asked) * self._costs.expected_s(Priority.PARTIAL)
        left = self._time_left(now, waiting_s)
        limit_s = _RESUME_UNDER_S if self._suspended else _SUSPEND_OVER_S
        # Threads that finals take altogether have no time for partials, even for none.
        self._suspended = left <= 0 or wanted > limit_s * left
        return None if self._suspended else max(MIN_INTERVAL_S, wanted / left)

    def finals_share(self, now: float) -> float:
        """How much of the threads' time finals took of late, 0 to 1."""
        self._forget(now)
        return sum(seconds for _, seconds in self._finals) / (_SHARE_WINDOW_S * self._threads)

    def _time_left(self, now: float, waiting_s: float) -> float:
        """Seconds of threads in a second that finals leave over; below 0 if they need more than there is."""
        spent_s = sum(seconds for at, seconds in self._finals if at > now - _WINDOW_S)
        return _USABLE_SHARE * self._threads - (spent_s + waiting_s) / _WINDOW_S

    def _forget(self, now: float) -> None:
        while self._finals and self._finals[0][0] <= now - _SHARE_WINDOW_S:
            self._finals.popleft()
        # One that has not asked for twice the longest interval is over, or its session is.
        for key in [key for key, asked in self._asked.items() if asked < now - 2 * _SUSPEND_OVER_S]:
            del self._asked[key]


class Steady:
    """A yes or no that changes once the contrary has held for two seconds."""

    def __init__(self) -> None:
        self._value = False
        # Since when what was observed speaks for a change.
        self._contrary_since: float | None = None

    @property
    def value(self) -> bool:
        """What holds, as of the last observation."""
        return self._value

    def observe(self, now: float, *, contrary: bool) -> None:
        """At this moment, the contrary of `value` seems to hold or does not."""
        if not contrary:
            self._contrary_since = None
        elif self._contrary_since is None:
            self._contrary_since = now
        elif now - self._contrary_since >= _HOLD_S:
            self._value = not self._value
            self._contrary_since = None


class Admission:
    """Whether one more session fits; None as ``limit_s`` admits all.

    Not while finals are late by more than that, nor when they take most of the time of the threads: whoever
    is admitted stays, and would make them late.
    """

    def __init__(self, limit_s: float | None) -> None:
        self._limit_s = limit_s
        self._full = Steady()
        self._last_admitted = -float("inf")

    @property
    def refusing(self) -> bool:
        """Whether there is no room, as of the last observation."""
        return self._full.value

    def observe(self, delay_s: float, share: float, now: float) -> None:
        """A final asked for now would be late by ``delay_s``; finals took ``share`` of the threads' time."""
        if self._limit_s is None:
            return
        if self._full.value:
            contrary = delay_s < self._limit_s * _CALM_SHARE and share < _ROOM_SHARE
        else:
            contrary = delay_s > self._limit_s or share > _FULL_SHARE
        self._full.observe(now, contrary=contrary)

    def admit(self, now: float, *, busy: bool) -> float | None:
        """Take one more session, in so many seconds; None: it does not fit.

        Where partials are ``busy`` giving way, sessions may only come as fast as what they cost can be seen:
        some wait for their turn, the rest are refused.
        """
        if self._limit_s is None:
            return 0.0
        turn = max(now, self._last_admitted + _NEWCOMER_S) if busy else now
        if self.refusing or turn - now > _WAIT_S:
            return None
        self._last_admitted = max(turn, self._last_admitted)
        return turn - now


def _moved(mean: float | None, value: float) -> float:
    return value if mean is None else mean + _COST_SHARE * (value - mean)
