from __future__ import annotations

from uuid import UUID

import msgspec

from qa_service.domain.announcements import AlertData, UtteranceData, announce_incident, announce_utterance
from qa_service.domain.entries import LogEntry, Utterance
from qa_service.domain.identities import event_id
from qa_service.domain.incidents import Evidence, IncidentChange

SPOKEN = Utterance(
    utterance_id=UUID(int=1),
    ordinal=1,
    text="hello",
    language="en",
    emotion=None,
    emotion_confidence=None,
    emotion_abstained=False,
    start_pos=0,
    end_pos=8000,
    time_source="server",
    engine=None,
    model=None,
    final_at=5,
)
ENTRY = LogEntry(call_id="call", call_seq=7, leg_id="agent", start_ms=1000, end_ms=2000, body=SPOKEN)


def a_change(n: int = 1, call_id: str = "call") -> IncidentChange:
    return IncidentChange(
        incident_id=UUID(int=2),
        call_id=call_id,
        call_seq=7,
        rule_id="rule",
        rule_version=1,
        rule_set_hash="hash",
        severity="high",
        audience="supervisor",
        description="",
        anchor="a",
        state="updated",
        n=n,
        at_ms=2500,
        opened_ms=61_000,
        closed_ms=None,
        evidence=(
            Evidence(utterance_id=None, leg=None, role=None, text=None, start_ms=61_500, end_ms=64_000),
        ),
    )


def test_an_utterance_is_announced_with_its_stamps() -> None:
    event = announce_utterance(ENTRY, SPOKEN, role="agent")
    data = msgspec.json.decode(event.data, type=UtteranceData)

    assert (event.topic, event.type, event.call_seq) == ("transcripts", "qa.utterance", 7)
    assert (data.leg, data.role, data.text) == ("agent", "agent", "hello")
    assert (data.stamps.speech_end_ms, data.stamps.final_at, data.stamps.durable_at) == (2000, 5, None)


def test_each_state_of_an_incident_has_an_event_of_its_own() -> None:
    first, second = (
        announce_incident(a_change(n), recording_template=None, final_at=None).event_id for n in (1, 2)
    )

    assert first != second
    assert first == event_id(UUID(int=2), "updated", 1)


def test_a_recording_link_leads_to_the_evidence() -> None:
    event = announce_incident(
        a_change(call_id="c-1"), recording_template="https://rec/{call_id}?t={start_s}", final_at=9
    )
    data = msgspec.json.decode(event.data, type=AlertData)

    assert data.recording_url == "https://rec/c-1?t=61"
    assert (data.stamps.speech_end_ms, data.stamps.final_at) == (64_000, 9)
