"""What a leg asks of its recogniser sessions, and what it passes on of what it heard."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from qa_service.domain.coverage import Release
from qa_service.protocol.events import Partial


class OpenSession(Struct, frozen=True):
    """Open a recogniser session for the leg."""

    number: int


class Append(Struct, frozen=True):
    """Send audio (16-bit PCM at the leg's rate) to the session."""

    number: int
    pcm: bytes


class FinishSession(Struct, frozen=True):
    """Tell the session that no more audio comes; its last results follow."""

    number: int


class AbandonSession(Struct, frozen=True):
    """Drop the session without waiting; whatever it still says is void."""

    number: int
    reason: str


Action: TypeAlias = OpenSession | Append | FinishSession | AbandonSession


class HeardPartial(Struct, frozen=True, kw_only=True):
    """An intermediate result; best effort, never part of the log."""

    start: int
    event: Partial


class DamagedPackets(Struct, frozen=True):
    """Opus packets could not be decoded; a guess is sent in their place."""

    packets: int
    is_first: bool
    """Whether the leg had none before."""


Output: TypeAlias = Action | Release | HeardPartial | DamagedPackets
"""Whatever a leg decides; the order in which it does is the order of the leg's log."""
