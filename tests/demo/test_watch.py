"""An alert is shown after the utterances that it rests on, in whatever order the two topics are read."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from qa_service.demo import watch as watch_module
from qa_service.demo.screen import Screen
from qa_service.demo.watch import HOLD_S, Sequence, watching
from qa_service.kafka import KafkaConfig, KafkaUnavailable

WITHIN_S = 30.0


def utterance(utterance_id: str) -> dict[str, Any]:
    return {"type": "qa.utterance", "data": {"utterance_id": utterance_id}}


def alert(incident_id: str, *evidence: str | None) -> dict[str, Any]:
    pieces = [{"utterance_id": utterance_id} for utterance_id in evidence]
    return {"type": "qa.alert.opened", "data": {"incident_id": incident_id, "evidence": pieces}}


def test_an_alert_waits_for_the_last_utterance_that_it_rests_on():
    sequence = Sequence()

    assert sequence.arrive(alert("i", "u1", "u2"), now=0) == []
    assert sequence.arrive(utterance("u2"), now=0) == [utterance("u2")]
    assert sequence.arrive(utterance("u1"), now=0) == [utterance("u1"), alert("i", "u1", "u2")]


def test_an_alert_whose_utterances_are_there_passes():
    sequence = Sequence()
    sequence.arrive(utterance("u1"), now=0)

    assert sequence.arrive(alert("i", "u1"), now=0) == [alert("i", "u1")]


def test_an_alert_about_silence_waits_for_nothing():
    assert Sequence().arrive(alert("i", None), now=0) == [alert("i", None)]


def test_an_utterance_that_never_comes_keeps_an_alert_no_longer_than_the_bound():
    sequence = Sequence()
    sequence.arrive(alert("i", "u1"), now=5)

    assert sequence.release(5 + HOLD_S - 0.01) == []
    assert sequence.release(5 + HOLD_S) == [alert("i", "u1")]
    assert sequence.release(5 + HOLD_S) == []


def test_a_change_does_not_overtake_an_earlier_one_of_its_incident():
    sequence = Sequence()
    sequence.arrive(utterance("u2"), now=0)

    assert sequence.arrive(alert("i", "u1"), now=0) == []
    assert sequence.arrive(alert("i", "u2"), now=0) == []
    assert sequence.arrive(alert("other", "u2"), now=0) == [alert("other", "u2")]
    assert sequence.arrive(utterance("u1"), now=0)[1:] == [alert("i", "u1"), alert("i", "u2")]


IDS = st.sampled_from(["u1", "u2", "u3"])
EVENTS = st.lists(
    st.one_of(
        st.builds(utterance, IDS),
        st.builds(
            lambda incident, evidence: alert(incident, *evidence),
            st.sampled_from("ij"),
            st.sets(IDS, min_size=1),
        ),
    )
)


@given(EVENTS)
def test_every_event_passes_once_and_those_of_an_incident_in_order(events: list[dict[str, Any]]):
    sequence = Sequence()

    passed = [event for come in events for event in sequence.arrive(come, now=0)]
    passed += sequence.release(HOLD_S)

    def of_incident(name: str, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in listed if event["data"].get("incident_id") == name]

    assert len(passed) == len(events)
    for name in "ij":
        assert of_incident(name, passed) == of_incident(name, events)


class RecordingScreen(Screen):
    """Keeps what it is told to show."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))
        self.shown: list[str] = []

    def utterance(self, data: dict[str, Any]) -> None:
        self.shown.append(data["utterance_id"])

    def alert(self, data: dict[str, Any]) -> None:
        self.shown.append(data["incident_id"])


def let_topics_hold(monkeypatch: pytest.MonkeyPatch, *events: dict[str, Any]) -> None:
    async def follow(*_topics: object) -> AsyncIterator[dict[str, Any]]:
        for event in events:
            yield event
        await asyncio.Event().wait()  # a topic has no end

    monkeypatch.setattr(watch_module, "follow", follow)


async def test_what_comes_is_shown_in_sequence(monkeypatch: pytest.MonkeyPatch):
    let_topics_hold(monkeypatch, alert("i", "u1"), utterance("u1"))
    screen = RecordingScreen()

    async with watching(KafkaConfig(bootstrap=""), "topic", screen=screen) as watch:
        await watch.wait_until_shown(2, within_s=WITHIN_S)

    assert screen.shown == ["u1", "i"]


async def test_an_overdue_alert_is_shown_though_nothing_else_comes(monkeypatch: pytest.MonkeyPatch):
    let_topics_hold(monkeypatch, alert("i", "u1"))
    screen = RecordingScreen()

    async with watching(KafkaConfig(bootstrap=""), "topic", screen=screen) as watch:
        await watch.wait_until_shown(1, within_s=WITHIN_S)

    assert screen.shown == ["i"]


async def test_waiting_for_what_does_not_come_ends(monkeypatch: pytest.MonkeyPatch):
    let_topics_hold(monkeypatch)
    screen = RecordingScreen()

    async with watching(KafkaConfig(bootstrap=""), "topic", screen=screen) as watch:
        await watch.wait_until_shown(1, within_s=0.01)

    assert screen.shown == []


async def test_the_topics_failure_reaches_whoever_waits(monkeypatch: pytest.MonkeyPatch):
    async def follow(*_topics: object) -> AsyncIterator[dict[str, Any]]:
        raise KafkaUnavailable("the broker is gone")
        yield {}

    monkeypatch.setattr(watch_module, "follow", follow)

    async with watching(KafkaConfig(bootstrap=""), "topic", screen=RecordingScreen()) as watch:
        with pytest.raises(KafkaUnavailable, match="the broker is gone"):
            await watch.wait_until_shown(1, within_s=WITHIN_S)
