"""What of a session's results, and of the quiet between them, is certain enough to be released.

Results go strictly in order: one that waits for its text holds back everything after it. Quiet is certain up
to where our own server says it has processed, or, with any other, up to where our voice gate heard nothing
for a while; never beyond the beginning of an item that is open. :mod:`.coverage` keeps what is released in
order and apart from the holes.
"""

from __future__ import annotations

from qa_service.domain.coverage import Coverage
from qa_service.domain.entries import GapReason, TimeSource
from qa_service.domain.hearing import Hearing
from qa_service.domain.recognition import Item, Recognition
from qa_service.protocol.events import Completed, Failed


def release(recognition: Recognition, coverage: Coverage, hearing: Hearing) -> str | None:
    """Release what has become certain: results in order, then quiet.

    Returns what the recogniser had learnt of the leg with the newest of these results, if it tells.
    """
    learnt: str | None = None
    while (item := recognition.take_first()) is not None:
        end = item.start if item.end is None else item.end
        _release_item(item, end, coverage)
        hearing.forget_until(end)
        if isinstance(item.result, Completed) and item.result.detail is not None:
            learnt = item.result.detail.leg_state or learnt
    release_quiet(recognition, coverage, hearing)
    return learnt


def release_quiet(recognition: Recognition, coverage: Coverage, hearing: Hearing) -> None:
    """Release the quiet before the first item that is open, as far as it is certain."""
    certain, source = _quiet_until(recognition, coverage, hearing)
    if recognition.first is not None:
        certain = min(certain, recognition.first.start)
    coverage.advance_through_quiet(certain, source)


def give_up(
    recognition: Recognition, coverage: Coverage, hearing: Hearing, *, sent_until: int, reason: GapReason
) -> None:
    """Let what fails again and again be a gap; what was heard to be quiet before it stays so."""
    first = recognition.first
    if first is not None:
        coverage.release_quiet(first.start, first.time_source)
    elif (speech := hearing.first_unanswered) is not None:
        coverage.release_quiet(speech, "gate")
    end = recognition.end_of_first
    coverage.give_up(sent_until if end is None else end, reason)


def _release_item(item: Item, end: int, coverage: Coverage) -> None:
    match item.result:
        case Completed(transcript=transcript) if transcript.strip():
            coverage.release_utterance(
                item.start,
                end,
                item.result,
                time_source=item.time_source,
                final_at_ms=item.result_at_ms,
            )
        case Failed():
            coverage.release_quiet(item.start, item.time_source)
            coverage.give_up(end, "recogniser_failed")
        case _:
            coverage.release_quiet(end, item.time_source)


def _quiet_until(recognition: Recognition, coverage: Coverage, hearing: Hearing) -> tuple[int, TimeSource]:
    match recognition.honours_extensions:
        case True:
            return recognition.certain_until or coverage.until, "progress"
        case False:
            return hearing.quiet_until(), "gate"
        case None:
            return coverage.until, "gate"
