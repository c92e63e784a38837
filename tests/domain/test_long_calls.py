"""A call that goes on all day costs no more memory than a short one, and its positions stay exact."""

from __future__ import annotations

from qa_service.domain.actions import OpenSession
from qa_service.domain.arrival import Arrival
from qa_service.domain.coverage import ReleasedGap, ReleasedUtterance
from qa_service.domain.leg import Leg
from qa_service.domain.recognition import MOST_RELEASED
from qa_service.protocol.events import Completed, Progress, SpeechStarted, SpeechStopped
from tests.domain.builders import RATE, session_updated

FRAME_MS = 200
"""The longest that the contract allows."""
FRAME = RATE * FRAME_MS // 1000
HOURS = 10
TURN_S = 20
HOLD_S = 1800
"""Of each hour, in one piece: nothing is sent."""


def test_a_call_of_ten_hours_keeps_little_state_and_exact_positions() -> None:
    leg = Leg(codec="pcmu", rate=RATE)
    audio = bytes([0xFF]) * FRAME
    position = seq = session_ms = 0
    now = 0.0
    expected, utterances, gaps = [], [], []
    most_kept = 0

    def take() -> None:
        for output in leg.take_outputs():
            if isinstance(output, OpenSession):
                leg.receive(output.number, session_updated(extensions=True), now=now, at_ms=0)
            elif isinstance(output, ReleasedUtterance):
                utterances.append((output.start, output.end))
            elif isinstance(output, ReleasedGap):
                gaps.append((output.reason, output.start, output.end))

    for hour in range(HOURS):
        for turn in range((3600 - HOLD_S) // TURN_S):
            for _ in range(TURN_S * 1000 // FRAME_MS):
                leg.accept(Arrival(position, FRAME, seq, seq, "pcmu", audio), now=now)
                position, seq, session_ms, now = position + FRAME, seq + 1, session_ms + FRAME_MS, now + 0.2
            take()
            # Speech from ten to five seconds ago, with the padding and the silence that a server counts in.
            item = f"{hour}/{turn}"
            for event in (
                SpeechStarted(item, session_ms - 10_300),
                SpeechStopped(item, session_ms - 4_200),
                Completed(item, "so it goes"),
                Progress(session_ms),
            ):
                leg.receive(1, event, now=now, at_ms=0)
            leg.tick(now=now, read_until=now)
            expected.append((position - 10 * RATE, position - 5 * RATE))
            take()
            most_kept = max(most_kept, leg._coverage.retained.samples)
        position, now = position + HOLD_S * RATE, now + HOLD_S
        # What is fed for the hold: as much silence as surely ends an utterance.
        leg.accept(Arrival(position, FRAME, seq, seq, "pcmu", audio), now=now)
        position, seq, now = position + FRAME, seq + 1, now + 0.2
        session_ms += 1300 + FRAME_MS

    assert position / RATE > HOURS * 3600
    assert utterances == expected
    assert [reason for reason, _, _ in gaps] == ["not_sent"] * (HOURS - 1)  # the last one is not over yet
    assert {end - start for _, start, end in gaps} == {HOLD_S * RATE}
    recognition = leg.recognition
    assert recognition is not None
    assert most_kept <= TURN_S * RATE
    assert recognition.items == {}
    assert len(recognition.released) <= MOST_RELEASED
    assert len(recognition.timeline._sent) <= 2 * HOURS + 1
