"""How late alerts were, and which came at all: what the benchmark of the whole chain makes of a run.

Decided here: what an alert is counted from. Of the utterance that completed its evidence, the last 20-ms
frame that can be heard in the recording (by energy, as :mod:`.recordings` finds speech); the moment at which
the player owed that frame to Kafka, plus the silence that ends an utterance. What is left until the alert
comes is the *excess*; the stamps of the alert say where it was spent.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np
import soundfile

from qa_service.bench.recordings import APPEND_MS, audible_frames
from qa_service.bench.scoring import Spread, spread
from qa_service.domain.announcements import ALERT_TYPES
from qa_service.rules.language import EmotionCondition
from qa_service.rules.ruleset import default_rule_set
from qa_service.samples import SampleCall

VERSION: Final = 1
"""Of the JSON; a key keeps its meaning within one."""
BAR_MS: Final = (500.0, 1000.0)
"""Excess that alerts on anger must keep to: median, 95th percentile."""
REACH_MS: Final = (200.0, 500.0)
"""The same, to reach for."""
OPENED: Final = ALERT_TYPES["opened"]

_PAUSE_MS: Final = 400  # a shorter pause ends no utterance, whatever silence is asked for
_NEAR_MS: Final = 500  # how far from an end of speech the end of an utterance may be to be the same


class MeasuredAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One opened incident that rests on speech; times in milliseconds."""

    call_id: str
    rule_id: str
    speech_end_ms: int
    """The last sound that it rests on, from the beginning of the call."""
    excess_ms: float
    """From that sound and the silence after it to the alert's arrival: the sum of the next four."""
    final_ms: float
    """Until the worker had the final."""
    durable_ms: float
    """From there until its row was written."""
    published_ms: float
    """From there until the relay sent the alert."""
    arrived_ms: float
    """From there until a consumer of the topic had it."""


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """How the delays of a kind of alerts are spread; the keys are those of :class:`MeasuredAlert`."""

    excess_ms: Spread
    final_ms: Spread
    durable_ms: Spread
    published_ms: Spread
    arrived_ms: Spread
    unplaced: int
    """Alerts whose evidence ends near no end of speech: not measured."""


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``qa-service bench alerts --json`` prints."""

    version: int
    cores: int | None
    load: float
    """The machine's load average over a minute at the end."""
    legs: int
    seconds: float
    silence_ms: int
    calls: int
    """Calls that were played, those cut off at the end included."""
    anger: Delays
    """Alerts of rules on anger; the bar is about these."""
    words: Delays
    """Alerts of the other rules that rest on speech."""
    bar_ms: tuple[float, float]
    meets_bar: bool | None
    """Whether median and 95th percentile of the excess on anger keep to the bar; null: nothing measured."""
    reach_ms: tuple[float, float]
    meets_reach: bool | None
    missed: tuple[str, ...]
    """Alerts that a call played to its end should have raised and did not: rule and call."""
    unexpected: tuple[str, ...]
    """Alerts that a call should not have raised: rule and call."""
    player_late_ms: float
    """How far behind its schedule the player was at worst; a part of the excess that is not the chain's."""
    alerts: tuple[MeasuredAlert, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """A call that was played; ``is_whole`` False: cut off by the end of the run."""

    call_id: str
    sample: SampleCall
    began_ts: int
    """Unix ms of its first sample."""
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event of the alerts' topic and the Unix ms at which it came."""

    event: dict[str, Any]
    at_ms: float


def make_report(
    played: Sequence[Played],
    arrivals: Iterable[Arrival],
    *,
    legs: int,
    seconds: float,
    silence_ms: int,
    player_late_ms: float,
) -> ChainReport:
    """Judge what came of the calls that were played."""
    calls = {call.call_id: call for call in played}
    opened = [a for a in arrivals if a.event["type"] == OPENED and a.event["data"]["call_id"] in calls]
    anger, words = _Tally(), _Tally()
    for arrival in opened:
        data = arrival.event["data"]
        if rests_on_speech(data):
            tally = anger if data["rule_id"] in anger_rules() else words
            tally.note(measure(arrival, calls[data["call_id"]], silence_ms))
    raised = {(a.event["data"]["call_id"], a.event["data"]["rule_id"]) for a in opened}
    expected = {(call.call_id, rule) for call in played for rule in call.sample.expected_alerts}
    due = {(call_id, rule) for call_id, rule in expected if calls[call_id].is_whole}
    delays = anger.delays()
    return ChainReport(
        version=VERSION,
        cores=os.cpu_count(),
        load=round(os.getloadavg()[0], 2),
        legs=legs,
        seconds=seconds,
        silence_ms=silence_ms,
        calls=len(played),
        anger=delays,
        words=words.delays(),
        bar_ms=BAR_MS,
        meets_bar=keeps_to(delays.excess_ms, BAR_MS),
        reach_ms=REACH_MS,
        meets_reach=keeps_to(delays.excess_ms, REACH_MS),
        missed=tuple(sorted(f"{rule} in {call}" for call, rule in due - raised)),
        unexpected=tuple(sorted(f"{rule} in {call}" for call, rule in raised - expected)),
        player_late_ms=round(player_late_ms, 1),
        alerts=tuple(anger.measured + words.measured),
    )


def measure(arrival: Arrival, call: Played, silence_ms: int) -> MeasuredAlert | None:
    """The steps from the last sound an alert rests on to its arrival; None if that sound is not found."""
    data = arrival.event["data"]
    last = max((e for e in data["evidence"] if e["utterance_id"]), key=lambda e: int(e["end_ms"]))
    end_ms = find_speech_end(call.sample, last["leg"], last["end_ms"])
    stamps = data["stamps"]
    if end_ms is None or stamps["final_at"] is None:
        return None
    moments = [
        call.began_ts + end_ms + silence_ms,
        stamps["final_at"],
        stamps["durable_at"],
        stamps["published_at"],
        arrival.at_ms,
    ]
    steps = [round(after - before, 1) for before, after in itertools.pairwise(moments)]
    return MeasuredAlert(
        call_id=call.call_id,
        rule_id=data["rule_id"],
        speech_end_ms=end_ms,
        excess_ms=round(arrival.at_ms - moments[0], 1),
        final_ms=steps[0],
        durable_ms=steps[1],
        published_ms=steps[2],
        arrived_ms=steps[3],
    )


def find_speech_end(sample: SampleCall, leg: str, near_ms: int) -> int | None:
    """The end of speech on a leg of a sample that is nearest to the end of an utterance, in ms."""
    ends = speech_ends(sample).get(leg, ())
    nearest = min(ends, key=lambda end_ms: abs(end_ms - near_ms), default=None)
    return nearest if nearest is not None and abs(nearest - near_ms) <= _NEAR_MS else None


@cache
def speech_ends(sample: SampleCall) -> dict[str, tuple[int, ...]]:
    """Where speech stops on each leg of a sample, in ms: the ends of the frames before a pause."""
    channels, rate_hz = soundfile.read(sample.path, dtype="int16", always_2d=True)
    ends: dict[str, list[int]] = {leg.leg: [] for leg in sample.legs}
    numbers = {leg.leg: channel for channel, leg in enumerate(sample.legs)}
    for line in sample.lines:
        # On the grid of the frames that are published: the end of one is when it was owed to Kafka.
        start_ms = line.start_ms // APPEND_MS * APPEND_MS
        start, end = start_ms * rate_hz // 1000, line.end_ms * rate_hz // 1000
        frames = audible_frames(channels[start:end, numbers[line.leg]].astype(np.int16))
        ends[line.leg] += (start_ms + (frame + 1) * APPEND_MS for frame in _before_pauses(frames))
    return {leg: tuple(found) for leg, found in ends.items()}


def keeps_to(excess: Spread, bounds: tuple[float, float]) -> bool | None:
    """Whether median and 95th percentile are within bounds; None of nothing."""
    if excess.median is None or excess.p95 is None:
        return None
    return excess.median <= bounds[0] and excess.p95 <= bounds[1]


@cache
def anger_rules() -> frozenset[str]:
    """Ids of the default rules that ask for an angry voice."""
    return frozenset(
        rule.id
        for rule in default_rule_set().rules
        if isinstance(rule.when, EmotionCondition) and "angry" in rule.when.emotions
    )


def rests_on_speech(data: dict[str, Any]) -> bool:
    """Whether an alert rests on utterances, not on a silence."""
    return any(evidence["utterance_id"] for evidence in data["evidence"])


class _Tally:
    """Measured alerts of one kind."""

    def __init__(self) -> None:
        self.measured: list[MeasuredAlert] = []
        self._unplaced = 0

    def note(self, alert: MeasuredAlert | None) -> None:
        if alert is None:
            self._unplaced += 1
        else:
            self.measured.append(alert)

    def delays(self) -> Delays:
        return Delays(
            excess_ms=spread(alert.excess_ms for alert in self.measured),
            final_ms=spread(alert.final_ms for alert in self.measured),
            durable_ms=spread(alert.durable_ms for alert in self.measured),
            published_ms=spread(alert.published_ms for alert in self.measured),
            arrived_ms=spread(alert.arrived_ms for alert in self.measured),
            unplaced=self._unplaced,
        )


def _before_pauses(frames: Sequence[int]) -> Iterator[int]:
    """Of frames that can be heard, those that a pause follows, and the last one."""
    for frame, following in itertools.pairwise([*frames, None]):
        if frame is not None and (following is None or (following - frame - 1) * APPEND_MS >= _PAUSE_MS):
            yield frame
