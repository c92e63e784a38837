"""Sample calls to try the service on: real and synthetic voices through a telephone line.

Each is a stereo FLAC file at 8 kHz (left customer, right agent) and an entry of ``manifest.json``: who
speaks, what is said when, which alerts the default rules raise, and where every voice comes from. README.md
beside them tells how they were made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from qa_service.contract import LegInfo, Role
from qa_service.telephony.publish import CallAudio, read_call

_FOLDER = Path(__file__).parent


class SampleLeg(Struct, frozen=True, kw_only=True):
    """One side of a sample call; ``agent_id`` for agents, the pseudonymous ``subject`` for customers."""

    leg: str
    role: Role
    agent_id: str | None
    subject: str | None


class SpokenLine(Struct, frozen=True, kw_only=True):
    """One turn as it was spoken: the reference for a transcript of it."""

    leg: str
    start_ms: int
    end_ms: int
    text: str
    source: str
    """The voice or recording: a key of the provenance, ``/`` and the clip for a recording."""
    contains: Literal["card_number", "cvv"] | None
    """What redaction removes of it: such a line never appears whole in a transcript."""


class Silence(Struct, frozen=True, kw_only=True):
    """A stretch in which neither side makes a sound."""

    start_ms: int
    end_ms: int


class Provenance(Struct, frozen=True, kw_only=True):
    """What a voice is, and under which licence its sound may be passed on."""

    what: str
    licence: str


class SampleCall(Struct, frozen=True, kw_only=True):
    """A sample call; times in milliseconds from its first sample."""

    id: str
    title: str
    file: str
    sha256: str
    rate_hz: int
    duration_ms: int
    language: str
    queue: str
    legs: tuple[SampleLeg, ...]
    expected_alerts: tuple[str, ...]
    """Ids of the default rules that this call sets off."""
    silences: tuple[Silence, ...]
    lines: tuple[SpokenLine, ...]

    @property
    def path(self) -> Path:
        """The audio file."""
        return _FOLDER / self.file

    def call_audio(self, call_id: str | None = None) -> CallAudio:
        """The call as a telephony platform would send it: µ-law at 8 kHz, ``call_id`` or else its own id."""
        infos = {
            leg.leg: LegInfo(
                role=leg.role,
                agent_id=leg.agent_id,
                queue=self.queue,
                direction="inbound",
                language=self.language,
                subject=leg.subject,
            )
            for leg in self.legs
        }
        return read_call(self.path, call_id=call_id or self.id, infos=infos)


class _Manifest(Struct, frozen=True):
    calls: tuple[SampleCall, ...]
    sources: dict[str, Provenance]


def load_samples() -> tuple[SampleCall, ...]:
    """All sample calls, without their audio."""
    return _read_manifest().calls


def load_provenance() -> dict[str, Provenance]:
    """Where the voices come from, by the first part of a line's ``source``."""
    return _read_manifest().sources


def _read_manifest() -> _Manifest:
    return msgspec.json.decode((_FOLDER / "manifest.json").read_bytes(), type=_Manifest)
