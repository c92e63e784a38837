"""The command: bring everything up, play the calls, show what comes, judge it, say how to go on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from qa_service import logs
from qa_service.alerts.following import follow
from qa_service.cli.configuration import cache_dir
from qa_service.cli.running import run, stop_event
from qa_service.demo.hints import hints, write_environment
from qa_service.demo.screen import Screen
from qa_service.demo.stack import Stack, running_stack
from qa_service.demo.watch import HOLD_S, Watch, watching
from qa_service.samples import SampleCall, load_samples
from qa_service.settings import Settings
from qa_service.storage.database import Database
from qa_service.storage.transcripts import are_settled, read_origins, read_utterances
from qa_service.telephony.producer import connect_publisher
from qa_service.telephony.publish import publish_calls

SETTLE_WITHIN_S = 90.0
"""From the last frame to everything stored and published; seconds on an idle machine."""
SHOWN_WITHIN_S = HOLD_S + 1.0
"""From everything published to everything on the screen; what comes later is shown under the verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the demo has seen."""

    utterances: list[dict[str, Any]]
    alerts: list[dict[str, Any]]
    missing: list[str]
    unexpected: list[str]
    timings: dict[str, Any]


@click.command(
    epilog="""\b
Examples:
  qa-service demo
  qa-service demo --speed 2
  qa-service demo --exit-when-done --json result.json      for scripts"""
)
@click.option("--speed", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="1: real time.")
@click.option("--exit-when-done", is_flag=True, help="Exit after the calls: 0 if the expected alerts came.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write what came to a file."
)
def demo(*, speed: float, exit_when_done: bool, json_file: Path | None) -> None:
    """Run the whole service on this machine on sample calls, on embedded parts.

    Starts PostgreSQL, a Kafka-protocol broker, the asr-server, a worker and a relay, plays the sample calls
    as a telephony platform would, and shows transcripts and alerts as they come.
    """
    settings = Settings()
    logs.configure("console", "warning")
    outcome = run(_demonstrate(settings, speed, Screen(Console()), json_file, stay=not exit_when_done))
    if outcome is None:
        sys.exit(130)  # interrupted before anything could be judged
    if outcome.missing or (exit_when_done and outcome.unexpected):
        sys.exit(1)


async def _demonstrate(
    settings: Settings, speed: float, screen: Screen, json_file: Path | None, *, stay: bool
) -> Outcome | None:
    stop, is_only_open = stop_event(), asyncio.Event()
    work = asyncio.create_task(
        _run(settings, speed, screen, json_file, stop, is_only_open=is_only_open, stay=stay)
    )
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not work.done():
        screen.line("stopping …")
        if not is_only_open.is_set():
            work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        return await work
    return None


async def _run(
    settings: Settings,
    speed: float,
    screen: Screen,
    json_file: Path | None,
    stop: asyncio.Event,
    *,
    is_only_open: asyncio.Event,
    stay: bool,
) -> Outcome:
    began = time.monotonic()
    screen.headline("Starting")
    async with running_stack(settings, cache_dir(settings), screen.step) as stack:
        ready_s = time.monotonic() - began
        screen.line(f"  ready after {ready_s:.1f} s")
        samples = load_samples()
        screen.headline(f"Playing {len(samples)} calls at once{_pace(samples, speed)}")
        screen.legend()
        topics = settings.transcripts_topic, settings.alerts_topic
        async with watching(stack.kafka, *topics, screen=screen) as watch:
            outcome = await _play(settings, stack, samples, speed, watch)
            outcome.timings.update(ready_s=round(ready_s, 1), total_s=round(time.monotonic() - began, 1))
            _write_json(json_file, outcome)
            _judge(screen, outcome)
            if stay:
                _explain(screen, settings, stack)
                is_only_open.set()
                await _stay(stop, watch)
    return outcome


async def _stay(stop: asyncio.Event, watch: Watch) -> None:
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, watch.task], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    watch.check()


async def _play(
    settings: Settings, stack: Stack, samples: Sequence[SampleCall], speed: float, watch: Watch
) -> Outcome:
    began = time.monotonic()
    database = Database(stack.database_url)
    try:
        calls = [sample.call_audio() for sample in samples]
        async with connect_publisher(stack.kafka, settings.audio_topic) as publisher:
            await publish_calls(calls, publisher=publisher, speed=speed)
        played_s = time.monotonic() - began
        call_ids = [call.call_id for call in calls]
        await _settle(database, call_ids, watch)
        settled_s = time.monotonic() - began - played_s
        alerts = [
            event
            async for event in follow(stack.kafka, settings.alerts_topic, from_start=True, until_end=True)
        ]
        utterances = await read_utterances(database, call_ids)
        origins = await read_origins(database, call_ids)
        await watch.wait_until_shown(len(utterances) + len(alerts), within_s=SHOWN_WITHIN_S)
    finally:
        await database.close()
    expected = {
        (call.call_id, rule)
        for call, sample in zip(calls, samples, strict=True)
        for rule in sample.expected_alerts
    }
    opened = {(a["data"]["call_id"], a["data"]["rule_id"]) for a in alerts if a["data"]["state"] == "opened"}
    return Outcome(
        utterances=utterances,
        alerts=alerts,
        missing=sorted(f"{rule} in {call}" for call, rule in expected - opened),
        unexpected=sorted(f"{rule} in {call}" for call, rule in opened - expected),
        timings={
            "played_s": round(played_s, 1),
            "settled_s": round(settled_s, 1),
            "speech_end_to_alert_ms": _delays(alerts, origins) if speed == 1.0 else None,
        },
    )


async def _settle(database: Database, call_ids: Sequence[str], watch: Watch) -> None:
    """Wait until everything of the calls is stored and published."""
    deadline = time.monotonic() + SETTLE_WITHIN_S
    while not await are_settled(database, call_ids):
        watch.check()
        if time.monotonic() > deadline:
            raise click.ClickException(
                f"waited {SETTLE_WITHIN_S:.0f} s for the calls to be stored and published, in vain"
            )
        await asyncio.sleep(0.2)


def _delays(alerts: Sequence[dict[str, Any]], origins: dict[str, int]) -> dict[str, int]:
    """From the end of the deciding speech to the alert on its topic, per incident."""
    delays = {}
    for alert in alerts:
        data = alert["data"]
        stamps = data["stamps"]
        if data["state"] == "opened" and stamps["final_at"] is not None:
            ended_at = origins[data["call_id"]] + stamps["speech_end_ms"]
            delays[f"{data['rule_id']} in {data['call_id']}"] = stamps["published_at"] - ended_at
    return delays


def _pace(samples: Sequence[SampleCall], speed: float) -> str:
    spoken_s = max(sample.duration_ms for sample in samples) / 1000
    lasts_s = math.ceil(spoken_s / speed / 5) * 5
    if math.isclose(speed, 1.0):
        return f", in real time: about {lasts_s} s (--speed 4 is quicker)"
    return f", {speed:g} times as fast as they were spoken: about {lasts_s} s"


def _write_json(path: Path | None, outcome: Outcome) -> None:
    if path is None:
        return
    content = {"utterances": outcome.utterances, "alerts": outcome.alerts, "timings": outcome.timings}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _judge(screen: Screen, outcome: Outcome) -> None:
    opened = sum(alert["data"]["state"] == "opened" for alert in outcome.alerts)
    screen.headline("Done")
    screen.line(f"  {len(outcome.utterances)} utterances, {opened} alerts")
    for name, delay in (outcome.timings["speech_end_to_alert_ms"] or {}).items():
        screen.line(f"  {delay / 1000:5.2f} s from the last word to the alert on its topic: {name}")
    for alert in outcome.missing:
        screen.line(f"  expected and not raised: {alert}", style="red")
    for alert in outcome.unexpected:
        screen.line(f"  raised and not expected: {alert}", style="red")
    if not outcome.missing and not outcome.unexpected:
        screen.line("  exactly the expected alerts were raised", style="green")


def _explain(screen: Screen, settings: Settings, stack: Stack) -> None:
    environment_file = write_environment(stack.log_dir, stack.environment)
    screen.headline("Everything is still running. To look around, paste into another terminal:")
    for line in hints(environment_file, alerts_topic=settings.alerts_topic):
        screen.line(f"  {line}", style="dim" if line.startswith("#") else "")
    screen.line()
    screen.line(f"The parts log to {stack.log_dir}. Ctrl-C ends the demo and deletes its data.")
