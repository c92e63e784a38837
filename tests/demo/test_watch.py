"""An alert is shown after the utterances that it rests on, in whatever order the two topics are read."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from qa_service.demo.watch import HOLD_S, Sequence


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
