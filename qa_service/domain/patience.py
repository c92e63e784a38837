"""How long a leg waits for a recogniser session, and what it does when that was too long.

Decided here: when a session has failed (a final is overdue, speech brings no word, its end does not come);
when an utterance has gone on for so long that the session is finished to end it; how soon another session is
tried; and after how many attempts a stretch is given up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

from qa_service.domain.entries import GapReason
from qa_service.domain.hearing import MUTE_AFTER_S, MUTE_SPEECH_MS, Hearing
from qa_service.domain.recognition import Recognition

OVERDUE_S: Final = 2.0
"""A later item's final makes an earlier one overdue after this (design, 3.1)."""
FINISH_TIMEOUT_S: Final = 30.0
"""Wait for ``session.finished`` or any sign of it; vendors' clients give up after 20 s (protocol 6.4)."""
LONG_UTTERANCE_S: Final = 60
"""An utterance that goes on for so long is ended at the next quiet point (design, 3.1) ..."""
LONGEST_UTTERANCE_S: Final = 75
"""... and past this anywhere. Our own server does it at 60 s, and is not to be disturbed."""
LEAST_HEARING_S: Final = 20
"""An utterance that was replayed has to go on for so long after that, since audio is read faster than it is
heard; no longer, or what comes meanwhile would not fit into the buffer."""
MAX_ATTEMPTS: Final = 3
"""Sessions that may fail on the same stretch before it becomes a gap."""
RETRY_BASE_S: Final = 0.5
RETRY_MAX_S: Final = 3.0
"""Exponential back-off between sessions of one leg that are lost. A recogniser that is back should have all
legs again within 5 s; that many legs do not storm it is the business of the gate of new sessions."""


class Failure(Struct, frozen=True):
    """Why a session is replaced."""

    why: str
    """For people."""
    reason: GapReason
    """What becomes of the stretch if it fails again and again."""


UNFINISHED: Final = Failure("session.finished is missing", "recogniser_failed")
FINISHED_TOO_EARLY: Final = Failure("session.finished came before a final", "recogniser_failed")
MISSING_FINAL: Final = Failure("a final result is missing", "recogniser_failed")
MUTE: Final = Failure("there is speech and no answer", "recogniser_mute")


@dataclass(slots=True)
class Tries:
    """How often something failed while coverage stood at one position."""

    position: int = -1
    count: int = 0

    def note(self, position: int) -> int:
        """Count one more; return how many there were at this position."""
        self.count = self.count + 1 if position == self.position else 1
        self.position = position
        return self.count


def retry_delay_s(losses: int) -> float:
    """Seconds until the next session, after so many losses without progress (1, 2 ...)."""
    return float(min(RETRY_BASE_S * 2 ** min(losses - 1, 16), RETRY_MAX_S))


def find_failure(
    recognition: Recognition, hearing: Hearing, *, final_timeout_s: float, now: float
) -> Failure | None:
    """Tell whether a session has let its leg down, and how."""
    if recognition.finish_sent_at is not None:
        waited_s = now - max(recognition.finish_sent_at, recognition.heard_at)
        return UNFINISHED if waited_s > FINISH_TIMEOUT_S else None
    if _is_final_overdue(recognition, final_timeout_s=final_timeout_s, now=now):
        return MISSING_FINAL
    if _is_mute(recognition, hearing, now=now):
        return MUTE
    return None


def is_endless(recognition: Recognition, hearing: Hearing, *, sent_until: int, now: float) -> bool:
    """Whether an utterance should have ended long ago, and here is the place to end it."""
    item = recognition.first
    if item is None or item.end is not None:
        return False
    is_bad_place = recognition.honours_extensions or hearing.hears_speech
    most_s = LONGEST_UTTERANCE_S if is_bad_place else LONG_UTTERANCE_S
    sent = sent_until - item.start
    return sent > recognition.timeline.samples(most_s * 1000) and now - item.begun_at > LEAST_HEARING_S


def _is_final_overdue(recognition: Recognition, *, final_timeout_s: float, now: float) -> bool:
    item = recognition.first
    if item is None:
        return False
    if recognition.overtaken_at is not None and now - recognition.overtaken_at > OVERDUE_S:
        return True
    return item.ended_at is not None and now - item.ended_at > final_timeout_s


def _is_mute(recognition: Recognition, hearing: Hearing, *, now: float) -> bool:
    if recognition.items or recognition.honours_extensions is None:
        return False
    if recognition.honours_extensions:  # one that tells of its progress is never without a word for long
        return (
            recognition.unanswered >= recognition.timeline.samples(MUTE_SPEECH_MS)
            and now - recognition.unanswered_since > MUTE_AFTER_S
        )
    return hearing.misses_answer(heard_at=recognition.heard_at, now=now)
