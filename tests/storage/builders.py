"""Calls, entries and batches for the storage tests, with everything but the point of a test filled in."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid5

from qa_service.domain.entries import (
    Body,
    CallEnded,
    CallStarted,
    Gap,
    LegEnded,
    LegStarted,
    LegUpdated,
    LogEntry,
    Quiet,
    Redaction,
    Utterance,
)
from qa_service.domain.identities import NAMESPACE, utterance_id
from qa_service.domain.incidents import Evidence, IncidentChange
from qa_service.domain.writes import CallRow, Claim, LegRow, OutboxEvent, WriteBatch

TOPIC = "telephony.audio"
ORIGIN_TS = 1_767_225_600_000  # 2026-01-01 00:00:00 UTC


def an_id(name: str) -> UUID:
    return uuid5(NAMESPACE, name)


def a_call(call_id: str = "call-1", **changes: Any) -> CallRow:
    fields: dict[str, Any] = {
        "rule_set_hash": "abc",
        "origin_ts": ORIGIN_TS,
        "call_seq": 1,
        "control_offset": 10,
        "tenant": "acme",
        "ended": False,
    }
    return CallRow(call_id=call_id, **fields | changes)


def a_leg(leg_id: str = "customer", call_id: str = "call-1", **changes: Any) -> LegRow:
    fields: dict[str, Any] = {
        "role": "customer",
        "role_is_explicit": True,
        "emotion_policy": "on",
        "emotion_enforced_by": "none",
        "codec": "pcmu",
        "rate": 8000,
        "tenant": "acme",
        "agent_id": None,
        "queue": "billing",
        "direction": "inbound",
        "language": None,
        "subject": "s-1",
        "attributes": {"vip": True, "score": 0.5, "tries": 2, "note": "grüß Gott"},
        "origin_ms": 0,
        "covered_until": 16000,
        "ordinal": 1,
        "covered_seq": 55,
        "recogniser_state": "AbC=",
        "paused": False,
        "ended": False,
    }
    return LegRow(call_id=call_id, leg_id=leg_id, **fields | changes)


def an_entry(
    seq: int,
    body: Body,
    *,
    call_id: str = "call-1",
    leg: str | None = "customer",
    ms: tuple[int, int] = (0, 0),
) -> LogEntry:
    return LogEntry(call_id=call_id, call_seq=seq, leg_id=leg, start_ms=ms[0], end_ms=ms[1], body=body)


def a_started_leg(**changes: Any) -> LegStarted:
    fields: dict[str, Any] = {
        "role": "customer",
        "role_is_explicit": True,
        "emotion_policy": "on",
        "codec": "pcmu",
        "rate": 8000,
        "source_offset": 10,
    }
    return LegStarted(**fields | changes)


def an_utterance(
    ordinal: int = 1, *, call_id: str = "call-1", leg: str = "customer", **changes: Any
) -> Utterance:
    fields: dict[str, Any] = {
        "text": "Hello there.",
        "language": "en",
        "emotion": "neutral",
        "emotion_confidence": 0.75,
        "emotion_abstained": False,
        "start_pos": 0,
        "end_pos": 8000,
        "time_source": "server",
        "engine": "asr-server",
        "model": "base",
    }
    return Utterance(utterance_id=utterance_id(call_id, leg, ordinal), ordinal=ordinal, **fields | changes)


def every_kind_of_entry(call_id: str = "call-1") -> tuple[LogEntry, ...]:
    update = LegUpdated(
        role="customer",
        role_is_explicit=True,
        emotion_policy="off_opt_out",
        tenant="acme",
        agent_id="a-7",
        queue="billing",
        direction="inbound",
        language="de",
        subject="s-1",
        attributes={"vip": True, "score": 0.5, "tries": 2, "note": "ü"},
        source_offset=12,
    )
    redactions = (Redaction("card_number", 3, 9), Redaction("cvv", 12, 15))
    said = an_utterance(
        call_id=call_id,
        redactions=redactions,
        final_at=ORIGIN_TS + 1500,
        emotion_distribution={"neutral": 0.75, "other": 0.25},
        anger_score=-3.5,
        anger_rank=0.5,
        anger_daily=100.0,
    )
    bodies: tuple[tuple[str | None, Body], ...] = (
        (None, CallStarted("abc", ORIGIN_TS)),
        ("customer", a_started_leg(attributes={"n": 1})),
        ("customer", update),
        ("customer", said),
        ("customer", Quiet(start_pos=8000, end_pos=9000, time_source="gate")),
        ("customer", Gap(reason="lost", start_pos=9000, end_pos=9160)),
        ("customer", LegEnded("idle")),
        (None, CallEnded()),
    )
    return tuple(
        an_entry(seq, body, call_id=call_id, leg=leg, ms=(seq * 10, seq * 10 + 5))
        for seq, (leg, body) in enumerate(bodies, 1)
    )


def an_incident(n: int = 1, name: str = "incident-1", **changes: Any) -> IncidentChange:
    evidence = Evidence(
        utterance_id=utterance_id("call-1", "customer", 1),
        leg="customer",
        role="customer",
        text="Hello there.",
        start_ms=0,
        end_ms=1000,
        emotion="angry",
        emotion_confidence=0.9,
    )
    fields: dict[str, Any] = {
        "call_id": "call-1",
        "call_seq": n,
        "rule_id": "angry-customer",
        "rule_version": 1,
        "rule_set_hash": "abc",
        "severity": "high",
        "audience": "supervisor",
        "description": "The customer has been angry for a while.",
        "anchor": "customer/1",
        "state": "opened",
        "at_ms": 1000 * n,
        "opened_ms": 1000,
        "closed_ms": None,
        "evidence": (evidence,),
    }
    return IncidentChange(incident_id=an_id(name), n=n, **fields | changes)


def an_event(name: str = "event-1", call_id: str = "call-1", **changes: Any) -> OutboxEvent:
    fields: dict[str, Any] = {"call_seq": 1, "topic": "alerts", "type": "qa.alert.opened", "data": b'{"a":1}'}
    return OutboxEvent(event_id=an_id(name), call_id=call_id, **fields | changes)


def a_batch(claim: Claim, nth: int = 1, **contents: Any) -> WriteBatch:
    """The nth batch after a claim."""
    return WriteBatch(
        **{
            "topic": claim.topic,
            "partition": claim.partition,
            "epoch": claim.epoch,
            "token": claim.token,
            "write_seq": claim.write_seq + nth,
            "next_offset": 100 + nth,
        }
        | contents
    )
