from __future__ import annotations

from qa_service.domain.recognition import Recognition
from qa_service.domain.timeline import SessionTimeline
from qa_service.protocol.events import (
    Committed,
    Completed,
    Failed,
    Partial,
    Progress,
    ServerEvent,
    SpeechStarted,
    SpeechStopped,
)
from tests.domain.builders import RATE, session_updated

SECOND = RATE


def a_recognition(*, extensions: bool = False, sent_s: int = 20, floor: int = 0) -> Recognition:
    timeline = SessionTimeline(RATE)
    timeline.append(floor, sent_s * SECOND)
    recognition = Recognition(1, timeline, silence_ms=800, padding_ms=300, floor=floor)
    hear(recognition, session_updated(extensions=extensions))
    return recognition


def hear(recognition: Recognition, *events: ServerEvent, now: float = 0.0) -> None:
    for event in events:
        recognition.note(event, now=now, at_ms=7)


def places(recognition: Recognition) -> list[tuple[float, float | None, str]]:
    """Start and end in seconds, and where they come from."""
    return [
        (item.start / RATE, None if item.end is None else item.end / RATE, item.time_source)
        for item in recognition.items.values()
    ]


def test_our_own_servers_times_lose_padding_and_silence() -> None:
    recognition = a_recognition(extensions=True)

    hear(recognition, SpeechStarted("a", 1700), SpeechStopped("a", 4800))

    assert places(recognition) == [(2.0, 4.0, "server")]


def test_another_servers_times_are_taken_as_they_are() -> None:
    recognition = a_recognition(extensions=False)

    hear(recognition, SpeechStarted("a", 1700), SpeechStopped("a", 4800))

    assert places(recognition) == [(1.7, 4.8, "server")]


def test_where_there_was_no_room_for_padding_none_is_taken_off() -> None:
    recognition = a_recognition(extensions=True)

    hear(recognition, SpeechStarted("a", 0), SpeechStopped("a", 4800), SpeechStarted("b", 4800))

    assert places(recognition) == [(0.0, 4.0, "server"), (4.8, None, "server")]


def test_a_turn_that_was_cut_has_no_silence_at_its_end() -> None:
    recognition = a_recognition(extensions=True, sent_s=70)

    hear(recognition, SpeechStarted("a", 0), SpeechStopped("a", 59_000))

    assert places(recognition) == [(0.0, 59.0, "server")]


def test_a_turn_ended_by_finishing_has_no_silence_at_its_end() -> None:
    recognition = a_recognition(extensions=True)
    recognition.finish_sent_at = 0.0

    hear(recognition, SpeechStarted("a", 1700), SpeechStopped("a", 4800))

    assert places(recognition) == [(2.0, 4.8, "server")]


def test_times_beyond_what_was_sent_or_before_the_last_item_are_not_believed() -> None:
    recognition = a_recognition(sent_s=5)

    hear(recognition, SpeechStarted("a", 1000), SpeechStopped("a", 3000))
    hear(recognition, SpeechStarted("b", 2000), SpeechStopped("b", 99_000))

    assert places(recognition) == [(1.0, 3.0, "server"), (3.0, 5.0, "appends")]


def test_a_server_without_times_is_placed_by_what_was_sent() -> None:
    recognition = a_recognition(sent_s=5)

    hear(recognition, Committed("a"), Completed("a", "x"), Completed("b", "y"))

    assert places(recognition) == [(0.0, 5.0, "appends"), (5.0, 5.0, "appends")]


def test_an_item_of_unknown_end_reaches_to_the_next_at_most() -> None:
    recognition = a_recognition()

    hear(recognition, SpeechStarted("a", 1000), SpeechStarted("b", 5000), Completed("a", "x"))

    assert places(recognition) == [(1.0, 5.0, "appends"), (5.0, None, "server")]


def test_what_is_said_of_a_released_item_changes_nothing() -> None:
    recognition = a_recognition()
    hear(recognition, SpeechStarted("a", 1000), SpeechStopped("a", 3000), Completed("a", "x"))
    recognition.take_first()

    hear(recognition, Completed("a", "x"), Partial("a", "x"), SpeechStopped("a", 3000), Committed("a"))

    assert recognition.items == {}


def test_the_first_final_of_an_item_counts() -> None:
    recognition = a_recognition()

    hear(recognition, SpeechStarted("a", 0), Completed("a", "x"), Failed("a"), Completed("a", "y"))

    assert recognition.take_first().result == Completed("a", "x")  # type: ignore[union-attr]


def test_results_are_taken_in_the_order_of_speech() -> None:
    recognition = a_recognition()
    hear(recognition, SpeechStarted("a", 0), SpeechStarted("b", 5000))
    hear(recognition, Completed("b", "y"), now=3.0)

    assert recognition.take_first() is None
    assert recognition.overtaken_at == 3.0
    assert recognition.awaits_result is False  # "a" has not even ended

    hear(recognition, Completed("a", "x"))

    assert [recognition.take_first().item_id for _ in "ab"] == ["a", "b"]  # type: ignore[union-attr]


def test_progress_never_falls() -> None:
    recognition = a_recognition(extensions=True, floor=SECOND)

    hear(recognition, Progress(4000), Progress(2000))

    assert recognition.certain_until == 5 * SECOND
