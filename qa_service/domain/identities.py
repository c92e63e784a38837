"""Deterministic identities: from structure, never from text or wall time (UUIDv5, RFC 9562 5.5)."""

from __future__ import annotations

from uuid import UUID, uuid5

NAMESPACE = UUID("6d3f6b0a-5f2e-5b7e-9c55-0f4c7d0a2f11")
"""Root of all identities of this service; chosen once, never to change."""


def _identity(kind: str, *parts: str | int) -> UUID:
    # A unit separator cannot occur in ids, so ("a", "bc") and ("ab", "c") stay apart.
    return uuid5(NAMESPACE, "\x1f".join((kind, *map(str, parts))))


def utterance_id(call_id: str, leg_id: str, ordinal: int) -> UUID:
    """Identify the n-th released utterance of a leg."""
    return _identity("utterance", call_id, leg_id, ordinal)


def incident_id(call_id: str, rule_id: str, rule_version: int, anchor: str) -> UUID:
    """Identify an incident by the rule and the place in the call where it began."""
    return _identity("incident", call_id, rule_id, rule_version, anchor)


def event_id(subject: UUID, state: str, n: int) -> UUID:
    """Identify the n-th announcement of an incident or utterance in a state."""
    return _identity("event", str(subject), state, n)
