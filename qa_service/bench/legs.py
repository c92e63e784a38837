"""Live legs side by side: what a server holds, over time and when there are far too many.

Decided here: a leg is a conversation of its own, 45 % speech, in real time. In an overload the legs go on
from the first third to the last, and twice as many more want to join in the second, so that before, during
and after can be compared. Whoever is refused does not come back. Every utterance that the server says has
begun is owed a final.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import aiohttp
import msgspec
import numpy as np

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.audio.line import LINE_RATE_HZ
from qa_service.bench.listening import BenchError, Heard, SessionRefusedError, Utterance, listen
from qa_service.bench.recordings import Recording, idle_line, on_the_line
from qa_service.bench.scoring import Spread, spread
from qa_service.bench.serving import MeasuredServer, Vitals

_SPEECH_SHARE: Final = 0.45
_OPEN_WITHIN_S: Final = 10.0  # legs begin one after the other, not all with the same second
_OPEN_CALMLY_SHARE: Final = 0.6  # of the time before an overload: a busy server takes one after the other
_MATCH_MS: Final = 1000  # how far from the reference end the end of an utterance may be to be the same
_MEMORY_EVERY_S: Final = 5.0
_WARM_S: Final = 120.0  # until every buffer has been as large as it gets; in short runs, half the time
_TREND_S: Final = 300.0  # of samples, under which a slope is mostly chance
_MINUTE_S: Final = 60.0


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """What happened within one minute of the run, by when utterances ended."""

    minute: int
    finals: int
    excess_ms: Spread
    partial_gap_ms: Spread
    memory_mb: float | None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory of the server over the run, in MB."""

    start_mb: float
    """Before the first leg."""
    warm_mb: float
    """Once two minutes, or half of a shorter run, have passed."""
    end_mb: float
    max_mb: float
    slope_mb_per_h: float | None
    """Least squares over what came after ``warm_mb``; None of less than five minutes."""


class Overload(msgspec.Struct, frozen=True, kw_only=True):
    """What far too many legs did."""

    legs: int
    """That wanted to be served during the overload."""
    refused: int
    """Of these, answered with 429."""
    partial_gap_before_ms: Spread
    partial_gap_during_ms: Spread
    partial_gap_after_ms: Spread
    excess_before_ms: Spread
    excess_during_ms: Spread
    excess_after_ms: Spread


class Legs(msgspec.Struct, frozen=True, kw_only=True):
    """Live legs side by side."""

    legs: int
    seconds: float
    finals: int
    """In which something was understood."""
    finals_expected: int
    """Utterances that began."""
    finals_received: int
    """Of these, answered: with a text, an empty one, or a failure told."""
    excess_ms: Spread
    partial_gap_ms: Spread
    """Between partials of an utterance, from its beginning to the first, from the last to its last sound."""
    errors: int
    """Sessions lost and utterances failed; not sessions refused."""
    loop_lag_ms: Spread
    memory_mb: float
    memory: Memory
    server_cores: float
    """Processor time of the server per second."""
    by_minute: tuple[Minute, ...] = ()
    overload: Overload | None = None


@dataclass(frozen=True, slots=True)
class LegsResult:
    """What was measured, and all that was heard."""

    figures: Legs
    heard: tuple[Heard, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """What one live leg says: recordings with pauses; where speech ends in it."""

    pcm: bytes
    speech_ends_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One utterance of a leg on the clock of the run, in seconds, and what it was like to listen to."""

    ended_s: float
    has_text: bool
    answered: bool
    excess_ms: float | None
    gaps_ms: tuple[float, ...]


class LegsBench:
    """Plays legs to a server and measures it; ``tell`` gets a line a minute."""

    def __init__(
        self,
        server: MeasuredServer,
        http: aiohttp.ClientSession,
        *,
        silence_ms: int,
        emotion: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._server = server
        self._endpoint = RecogniserEndpoint(server.url)
        self._http = http
        self._silence_ms = silence_ms
        self._emotion = emotion
        self._tell = tell
        self._begun = 0.0
        # Everything heard so far, also of legs that go on; refused and lost sessions.
        self._heard: list[tuple[Script, Heard]] = []
        self._refused = 0
        self._lost: list[str] = []
        # Seconds of the run and what the server was like.
        self._vitals: list[tuple[float, Vitals]] = []

    async def measure(
        self, recordings: Sequence[Recording], *, legs: int, seconds: float, overload: bool
    ) -> LegsResult:
        """Play ``legs`` legs for ``seconds``; with ``overload``, three times as many in the second third."""
        spoken = [r for r in recordings if r.text and r.seconds >= 1]
        self._begun = time.monotonic()
        await self._read_vitals()
        open_within_s = seconds / 3 * _OPEN_CALMLY_SHARE if overload else _OPEN_WITHIN_S
        playing = [self._play(spoken, n, open_within_s * n / legs, seconds) for n in range(legs)]
        if overload:
            third_s = seconds / 3
            begin_s = third_s, third_s + min(_OPEN_WITHIN_S, third_s / 4)
            starts: list[float] = np.linspace(*begin_s, 2 * legs, endpoint=False).tolist()
            playing += [
                self._play(spoken, legs + n, start, 2 * third_s - start) for n, start in enumerate(starts)
            ]
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.gather(*playing)
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        await self._read_vitals()
        return LegsResult(self._figures(legs, seconds, overload=overload), tuple(h for _, h in self._heard))

    async def _play(self, recordings: Sequence[Recording], seed: int, start_s: float, seconds: float) -> None:
        await asyncio.sleep(max(0.0, self._begun + start_s - time.monotonic()))
        script = await asyncio.to_thread(script_of, recordings, seconds, seed)
        heard = Heard()
        self._heard.append((script, heard))
        try:
            await listen(
                self._http,
                self._endpoint,
                script.pcm,
                silence_ms=self._silence_ms,
                emotion=self._emotion,
                into=heard,
            )
        except SessionRefusedError:
            self._refused += 1
        except BenchError as error:
            self._lost.append(str(error))
            self._tell(f"leg {seed + 1}: {error}")

    async def _watch(self) -> None:
        """Look at the server again and again; tell of each minute."""
        minute = 0
        while True:
            await asyncio.sleep(_MEMORY_EVERY_S)
            await self._read_vitals()
            now_s = time.monotonic() - self._begun
            if now_s >= (minute + 1) * _MINUTE_S:
                self._tell(self._line(minute, now_s))
                minute = int(now_s // _MINUTE_S)

    def _line(self, minute: int, now_s: float) -> str:
        found = self._minute(minute, [u for u in self._spoken() if u.answered])
        return (
            f"minute {minute + 1}, {now_s:.0f} s: {found.finals} finals, "
            f"excess p95 {_ms(found.excess_ms.p95)}, partials p95 {_ms(found.partial_gap_ms.p95)} apart, "
            f"{found.memory_mb or 0:.0f} MB, {self._refused} refused, {len(self._lost)} lost"
        )

    async def _read_vitals(self) -> None:
        vitals = await self._server.read_vitals()
        self._vitals.append((time.monotonic() - self._begun, vitals))

    def _spoken(self) -> list[Spoken]:
        return [u for script, heard in self._heard for u in self._spoken_by(script, heard)]

    def _spoken_by(self, script: Script, heard: Heard) -> Iterator[Spoken]:
        excesses = excesses_of(script.speech_ends_ms, heard, self._silence_ms)
        start_s = heard.started - self._begun
        for utterance in heard.utterances.values():
            yield Spoken(
                ended_s=start_s + (utterance.end_ms or utterance.start_ms or 0) / 1000,
                has_text=utterance.final is not None and bool(utterance.final.transcript),
                answered=utterance.final is not None or utterance.failed is not None,
                excess_ms=excesses.get(utterance.item_id),
                gaps_ms=tuple(gaps_of(utterance, self._silence_ms)),
            )

    def _figures(self, legs: int, seconds: float, *, overload: bool) -> Legs:
        spoken = self._spoken()
        elapsed_s = self._vitals[-1][0] - self._vitals[0][0]
        failed = sum(u.failed is not None for _, h in self._heard for u in h.utterances.values())
        samples = [(at_s, vitals.memory_mb) for at_s, vitals in self._vitals]
        return Legs(
            legs=legs,
            seconds=seconds,
            finals=sum(u.has_text for u in spoken),
            finals_expected=len(spoken),
            finals_received=sum(u.answered for u in spoken),
            excess_ms=_excess(spoken),
            partial_gap_ms=_gap(spoken),
            errors=len(self._lost) + failed,
            loop_lag_ms=spread(lag for _, vitals in self._vitals for lag in vitals.loop_lags_ms),
            memory_mb=samples[-1][1],
            memory=memory_of(samples),
            server_cores=round((self._vitals[-1][1].cpu_s - self._vitals[0][1].cpu_s) / elapsed_s, 3),
            by_minute=tuple(self._minute(n, spoken) for n in range(int(max(1, elapsed_s // _MINUTE_S)))),
            overload=self._overload(legs, seconds, spoken) if overload else None,
        )

    def _minute(self, number: int, spoken: Sequence[Spoken]) -> Minute:
        begin_s, end_s = number * _MINUTE_S, (number + 1) * _MINUTE_S
        within = [u for u in spoken if begin_s <= u.ended_s < end_s]
        memory = [vitals.memory_mb for at_s, vitals in self._vitals if begin_s <= at_s < end_s]
        return Minute(
            minute=number + 1,
            finals=sum(u.has_text for u in within),
            excess_ms=_excess(within),
            partial_gap_ms=_gap(within),
            memory_mb=round(memory[-1], 1) if memory else None,
        )

    def _overload(self, legs: int, seconds: float, spoken: Sequence[Spoken]) -> Overload:
        third_s = seconds / 3
        before, during, after = (
            [u for u in spoken if begin_s <= u.ended_s < end_s]
            for begin_s, end_s in ((0.0, third_s), (third_s, 2 * third_s), (2 * third_s, float("inf")))
        )
        return Overload(
            legs=3 * legs,
            refused=self._refused,
            partial_gap_before_ms=_gap(before),
            partial_gap_during_ms=_gap(during),
            partial_gap_after_ms=_gap(after),
            excess_before_ms=_excess(before),
            excess_during_ms=_excess(during),
            excess_after_ms=_excess(after),
        )


def script_of(recordings: Sequence[Recording], seconds: float, seed: int) -> Script:
    """Recordings in random order, with the pauses that make them 45 % of the time."""
    generator = np.random.default_rng(seed)
    parts, ends_ms, length = [], [], 0
    while length < seconds * LINE_RATE_HZ:
        recording = recordings[int(generator.integers(len(recordings)))]
        pause_s = recording.seconds * (1 - _SPEECH_SHARE) / _SPEECH_SHARE
        track = on_the_line(recording, max(1.2, pause_s * generator.uniform(0.6, 1.4)))
        ends_ms.append(length * 1000 / LINE_RATE_HZ + track.speech_end_ms)
        parts.append(track.pcm)
        length += len(track.pcm) // 2
    tail = idle_line(2.0).tobytes()
    return Script(b"".join([*parts, tail]), tuple(ends_ms))


def excesses_of(speech_ends_ms: Sequence[float], heard: Heard, silence_ms: int) -> dict[str, float]:
    """How late the finals of a leg were, by the utterances that ended where speech did, in ms."""
    found: dict[str, float] = {}
    for end_ms in speech_ends_ms:
        due_ms = end_ms + silence_ms
        late = [
            (u.item_id, u.final_at_ms - due_ms)
            for u in heard.utterances.values()
            if u.final_at_ms is not None and u.end_ms is not None and abs(u.end_ms - due_ms) < _MATCH_MS
        ]
        found.update(late[-1:])
    return found


def gaps_of(utterance: Utterance, silence_ms: int) -> list[float]:
    """Times between what is shown of an utterance while it is spoken, in ms."""
    if utterance.start_ms is None or utterance.end_ms is None:
        return []
    end_ms = max(utterance.start_ms, utterance.end_ms - silence_ms)
    times = [utterance.start_ms, *(at for at, _ in utterance.partials if at < end_ms), end_ms]
    return [after - before for before, after in pairwise(times)]


def memory_of(samples: Sequence[tuple[float, float]]) -> Memory:
    """Memory in MB over time in seconds, as a few figures; the first sample is from before the first leg."""
    last_s = samples[-1][0]
    warm_s = min(_WARM_S, last_s / 2)
    warm = [(at_s, memory_mb) for at_s, memory_mb in samples if at_s >= warm_s]
    slope = None
    if last_s - warm_s >= _TREND_S:
        times_h, values = np.array([at_s / 3600 for at_s, _ in warm]), np.array([mb for _, mb in warm])
        slope = round(float(np.polyfit(times_h, values, 1)[0]), 1)
    return Memory(
        start_mb=round(samples[0][1], 1),
        warm_mb=round(warm[0][1], 1),
        end_mb=round(samples[-1][1], 1),
        max_mb=round(max(memory_mb for _, memory_mb in samples), 1),
        slope_mb_per_h=slope,
    )


def _excess(spoken: Sequence[Spoken]) -> Spread:
    return spread(u.excess_ms for u in spoken if u.excess_ms is not None)


def _gap(spoken: Sequence[Spoken]) -> Spread:
    return spread(gap for u in spoken for gap in u.gaps_ms)


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} ms"
