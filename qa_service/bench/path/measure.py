"""One run: the floor, the worker, the floor again, each under the same load; then what else was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from qa_service.alerts.following import follow
from qa_service.bench.delays import OPENED
from qa_service.bench.listening import BenchError
from qa_service.bench.path.accounting import (
    Usage,
    cpu_s,
    mean_usage,
    parse_buckets,
    quantile,
    resident_mb,
)
from qa_service.bench.path.load import FRAME_MS, leg_keys
from qa_service.bench.path.recogniser import Heard, read_spelt
from qa_service.bench.path.report import Growth, Latency, PathReport
from qa_service.bench.path.rig import Rig, RunningWorker
from qa_service.bench.path.stamps import TICKS_A_MS, now_ticks
from qa_service.bench.scoring import spread

Tell = Callable[[str, float], None]
"""Told what is done and how many seconds of it are over since the last time."""

SPREAD_S: Final = 5.0
"""Over which the legs of a load begin."""
WARM_S: Final = 8.0
"""From there to the first measurement: every leg has spoken once."""
STALL_S: Final = 30.0
CATCH_UP_S: Final = 20.0
"""For making up for a stall, at most; then it is told how far it got."""
_CAUGHT_UP_MS: Final = 500.0
_SETTLE_S: Final = 20.0
_LOOK_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Timing:
    """How long to measure, and how long to wait before."""

    seconds: float
    spread_s: float = SPREAD_S
    warm_s: float = WARM_S


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRun:
    """What one stretch of a worker's life was like."""

    worker: Usage
    relay: Usage
    heard: Heard
    rss_idle_mb: float
    rss_mb: float
    lag_buckets: list[tuple[float, float]]
    frames: int
    late_ms: float
    missing_s: float
    alerts: _Alerts


@dataclass(slots=True)
class _Alerts:
    """Delays of the alerts that came, in milliseconds."""

    whole: list[float] = field(default_factory=list)
    durable: list[float] = field(default_factory=list)
    published: list[float] = field(default_factory=list)


class PathBench:
    """Runs loads through a rig."""

    def __init__(self, rig: Rig, tell: Tell) -> None:
        self._rig = rig
        self._tell = tell
        self._numbers = itertools.count(1)

    async def measure(self, legs: int, timing: Timing, profile: Path | None = None) -> PathReport:
        """Floor, worker, floor."""
        half = Timing(timing.seconds / 2, timing.spread_s, timing.warm_s)
        before, ages = await self.measure_floor(legs, half)
        run = await self.measure_worker(legs, timing, profile)
        after, more_ages = await self.measure_floor(legs, half)
        floor = mean_usage([before, after]).ms_per_leg_second
        worker = run.worker.ms_per_leg_second
        plan = self._rig.plan
        return PathReport(
            legs=legs,
            seconds=timing.seconds,
            partitions=plan.partitions,
            broker=self._rig.broker,
            tls=plan.tls,
            extensions=plan.extensions,
            cores=os.cpu_count() or 1,
            load=round(os.getloadavg()[0], 2),
            worker_cpu_ms_per_leg_second=round(worker, 3),
            floor_cpu_ms_per_leg_second=round(floor, 3),
            ratio_to_floor=round(worker / floor, 3) if floor else 0.0,
            relay_cpu_ms_per_leg_second=round(run.relay.ms_per_leg_second, 3),
            worker_core_share=round(run.worker.cpu_s / run.worker.seconds, 3),
            latency_ms=Latency(
                frame_to_append=spread(run.heard.ages_ms),
                frame_to_append_floor=spread([*ages, *more_ages]),
                final_to_durable=spread(run.alerts.durable),
                final_to_published=spread(run.alerts.published),
                final_to_alert=spread(run.alerts.whole),
            ),
            rss_mb=round(run.rss_mb, 1),
            rss_idle_mb=round(run.rss_idle_mb, 1),
            memory_per_leg_kb=round((run.rss_mb - run.rss_idle_mb) * 1024 / legs, 1),
            loop_lag_ms=_lags(run.lag_buckets),
            frames=run.frames,
            audio_missing_s=round(run.missing_s, 2),
            finals=run.heard.finals,
            alerts=len(run.alerts.whole),
            generator_late_ms=round(run.late_ms, 1),
        )

    async def measure_floor(self, legs: int, timing: Timing) -> tuple[Usage, list[float]]:
        """Processor time of the floor under the load, and how late its appends were."""
        rig = self._rig
        topic, prefix = await rig.make_topic(), f"floor{next(self._numbers)}"
        await rig.floor.ask("begin", topic, rig.plan.partitions, leg_keys(prefix, legs))
        try:
            await self._begin_load(topic, legs, prefix, timing)
            begun, used = time.monotonic(), cpu_s(rig.floor.pid)
            await self._wait("floor", timing.seconds)
            used, seconds = cpu_s(rig.floor.pid) - used, time.monotonic() - begun
            heard: Heard = await rig.recogniser.ask("report")
            await rig.load.ask("end")
        finally:
            await rig.floor.ask("end")
        return Usage(used, seconds, heard.audio_s), heard.ages_ms

    async def measure_worker(self, legs: int, timing: Timing, profile: Path | None = None) -> WorkerRun:
        """A fresh worker under the load."""
        rig = self._rig
        topic, prefix = await rig.make_topic(), f"call{next(self._numbers)}"
        alerts = _Alerts()
        async with self._listening(alerts), rig.running_worker(topic, profile) as worker:
            await asyncio.sleep(1)  # what starting costs is over
            rss_idle = resident_mb(worker.pid)
            before = await self._begin_load(topic, legs, prefix, timing)
            if profile is not None:
                os.kill(worker.pid, signal.SIGUSR1)
            for delays in (alerts.whole, alerts.durable, alerts.published):
                delays.clear()
            buckets = await _lag_buckets(worker)
            begun = time.monotonic()
            used, used_by_relay = cpu_s(worker.pid), cpu_s(rig.relay.process.pid)
            await self._wait("worker", timing.seconds)
            seconds = time.monotonic() - begun
            used = cpu_s(worker.pid) - used
            used_by_relay = cpu_s(rig.relay.process.pid) - used_by_relay
            heard: Heard = await rig.recogniser.ask("report")
            lags = [
                (bound, count - old)
                for (bound, count), (_, old) in zip(await _lag_buckets(worker), buckets, strict=True)
            ]
            rss = resident_mb(worker.pid)
            sent = await rig.load.ask("end")
            missing_s = await self._await_audio(sent.frames * FRAME_MS / 1000 - before.audio_s)
        return WorkerRun(
            worker=Usage(used, seconds, heard.audio_s),
            relay=Usage(used_by_relay, seconds, heard.audio_s),
            heard=heard,
            rss_idle_mb=rss_idle,
            rss_mb=rss,
            lag_buckets=lags,
            frames=sent.frames,
            late_ms=sent.late_ms,
            missing_s=missing_s,
            alerts=alerts,
        )

    async def measure_growth(self, counts: tuple[int, ...], timing: Timing) -> tuple[Growth, ...]:
        """What a leg costs at several numbers of legs."""
        found: list[Growth] = []
        for legs in counts:
            run = await self.measure_worker(legs, timing)
            found.append(
                Growth(
                    legs=legs,
                    worker_cpu_ms_per_leg_second=round(run.worker.ms_per_leg_second, 3),
                    rss_mb=round(run.rss_mb, 1),
                )
            )
        return tuple(found)

    async def measure_catch_up(self, legs: int, stall_s: float = STALL_S) -> float:
        """Let calls go on while no worker is there, then start one: audio a second while it catches up."""
        rig = self._rig
        topic, prefix = await rig.make_topic(), f"stall{next(self._numbers)}"
        await rig.recogniser.ask("reset")
        await rig.load.ask("begin", topic, rig.plan.partitions, legs, prefix, 1.0)
        await self._wait("a stall", stall_s)
        async with rig.running_worker(topic):
            begun = await self._first_arrival()
            while True:
                await self._wait("catching up", 0.5)
                arrivals = await rig.recogniser.ask("arrivals")
                last = [age for at, age in arrivals if at > arrivals[-1][0] - 0.2]
                if max(last) < _CAUGHT_UP_MS or time.monotonic() - begun > CATCH_UP_S:
                    break
            caught_up = next((at for at, age in reversed(arrivals) if age > _CAUGHT_UP_MS), begun)
            heard: Heard = await rig.recogniser.ask("report")
            await rig.load.ask("end")
        # What came after catching up came in real time.
        late_s = heard.audio_s - legs * (arrivals[-1][0] - caught_up)
        return float(round(late_s / legs / max(caught_up - begun, 0.1), 1))

    async def _first_arrival(self) -> float:
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline:
            arrivals = await self._rig.recogniser.ask("arrivals")
            if arrivals:
                return float(arrivals[0][0])
            await asyncio.sleep(_LOOK_S / 5)
        raise BenchError(f"no audio came to the recogniser within {_SETTLE_S:g} s of the worker's start")

    async def _begin_load(self, topic: str, legs: int, prefix: str, timing: Timing) -> Heard:
        """Begin a load and wait until it is measured from; what was heard before that."""
        rig = self._rig
        await rig.recogniser.ask("reset")
        await rig.load.ask("begin", topic, rig.plan.partitions, legs, prefix, timing.spread_s)
        await self._wait("legs begin", timing.spread_s + timing.warm_s)
        heard: Heard = await rig.recogniser.ask("reset")
        return heard

    async def _await_audio(self, due_s: float) -> float:
        """Seconds of the audio that is due that have not come to the recogniser when nothing more comes."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            heard: Heard = await self._rig.recogniser.ask("report")
            missing_s = due_s - heard.audio_s
            if abs(missing_s) < 0.01 or time.monotonic() > deadline:  # noqa: PLR2004 - half a frame
                return missing_s
            await asyncio.sleep(_LOOK_S)

    async def _wait(self, what: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            step = min(left, _LOOK_S)
            await asyncio.sleep(step)
            self._tell(what, step)
        await self._rig.load.ask("report")  # tells if the load has broken down

    @contextlib.asynccontextmanager
    async def _listening(self, alerts: _Alerts) -> AsyncIterator[None]:
        task = asyncio.create_task(_listen(self._rig, alerts))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def _listen(rig: Rig, alerts: _Alerts) -> None:
    """Note how late alerts are, for good."""
    async for event in follow(rig.kafka, rig.alerts_topic, from_start=False):
        data: dict[str, Any] = event["data"]
        sent = next((t for e in data["evidence"] if (t := read_spelt(e.get("text") or "")) is not None), None)
        if event["type"] != OPENED or sent is None:
            continue
        stamps = data["stamps"]
        alerts.whole.append((now_ticks() - sent) / TICKS_A_MS)
        alerts.durable.append(stamps["durable_at"] - stamps["final_at"])
        alerts.published.append(stamps["published_at"] - stamps["final_at"])


async def _lag_buckets(worker: RunningWorker) -> list[tuple[float, float]]:
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{worker.port}/metrics") as answer:
        return parse_buckets(await answer.text(), "qa_event_loop_lag_seconds")


def _lags(buckets: list[tuple[float, float]]) -> dict[str, float | None]:
    found = {name: quantile(buckets, share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {name: None if lag is None else round(lag * 1000, 1) for name, lag in found.items()}
