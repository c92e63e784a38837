"""Small makers for the tests of the core: frames, records, and rules that say nothing."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from qa_service.contract.info import LegInfo
from qa_service.contract.records import AudioFrame, CallRecord, LegStart, Record
from qa_service.domain.arrival import Arrival
from qa_service.domain.call import CallPolicy
from qa_service.domain.call_log import CallRules
from qa_service.domain.entries import LogEntry
from qa_service.domain.incidents import IncidentChange
from qa_service.domain.leg import LegLimits
from qa_service.domain.partition import Partition, RuleBook
from qa_service.domain.scores import CallScore
from qa_service.domain.writes import Claim, StoredCall
from qa_service.protocol.config import Extensions, SessionConfig
from qa_service.protocol.events import SessionUpdated
from qa_service.simulation import words

RATE = words.RATE_HZ
FRAME = 160
"""Samples of 20 ms."""
ORIGIN_TS = 1_700_000_000_000


def word(number: int, samples: int = FRAME) -> bytes:
    """Audio that says one word, as 16-bit PCM: its samples are its number."""
    return words.say(number, samples)


def hush(samples: int = FRAME) -> bytes:
    return words.hush(samples)


def arrival(index: int, audio: bytes | None = None, *, offset: int | None = None) -> Arrival:
    """The index-th of frames of 20 ms that follow each other."""
    audio = hush() if audio is None else audio
    return Arrival(
        index * FRAME, len(audio) // 2, index, index if offset is None else offset, "pcm_s16le", audio
    )


class NoRules:
    """Rules that keep what they were fed and find nothing."""

    has_early = False

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []

    def score(self) -> CallScore | None:
        return None

    def feed(self, entry: LogEntry) -> tuple[IncidentChange, ...]:
        self.entries.append(entry)
        return ()


def a_claim(*, epoch: int = 1, write_seq: int = 0, next_offset: int | None = 0, history: int = 0) -> Claim:
    """A claim; those of one ``history`` follow each other."""
    return Claim(
        topic="telephony.audio",
        partition=0,
        epoch=epoch,
        token=UUID(int=1000 * history + epoch),
        former_token=UUID(int=1000 * history + epoch - 1) if epoch > 1 else None,
        write_seq=write_seq,
        next_offset=next_offset,
    )


def a_partition(
    claim: Claim | None = None,
    stored: tuple[StoredCall, ...] = (),
    *,
    policy: CallPolicy | None = None,
    rules: Callable[[], CallRules] = NoRules,
) -> Partition:
    claim = claim or a_claim()
    return Partition(
        claim,
        stored,
        position=claim.next_offset or 0,
        rules=RuleBook(current=lambda: "hash", start=lambda _hash, _call: rules()),
        policy=policy or CallPolicy(limits=LegLimits()),
    )


def in_call(record: Record, call_id: str = "call") -> CallRecord:
    return CallRecord(call_id, record)


def start(leg: str = "customer", *, ts: int = ORIGIN_TS, rate: int = RATE, **described: object) -> LegStart:
    info = LegInfo(**({"role": "customer"} | described))  # type: ignore[arg-type]
    return LegStart(leg, ts, "pcm_s16le", rate, info)


def frame(
    index: int, audio: bytes | None = None, *, leg: str = "customer", rate: int | None = None
) -> AudioFrame:
    """The index-th of a leg's frames of 20 ms."""
    audio = hush() if audio is None else audio
    return AudioFrame(leg, index * FRAME, index, ORIGIN_TS + 20 * index, audio, "pcm_s16le", rate)


def session_updated(*, extensions: bool, emotion: bool = True) -> SessionUpdated:
    config = SessionConfig(
        sample_rate=RATE,
        extensions=Extensions(progress=extensions, emotion=emotion or not extensions),
    )
    return SessionUpdated("sess_1", "a model", config)
