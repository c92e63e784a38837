from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from qa_service.domain.timeline import SessionTimeline


def test_without_audio_every_time_is_the_beginning() -> None:
    assert SessionTimeline(8000).position_at(5000) == 0


def test_audio_that_goes_on_is_one_segment() -> None:
    timeline = SessionTimeline(8000)
    for index in range(1000):
        timeline.append(4000 + index * 160, 160)

    assert len(timeline._sent) == 1
    assert timeline.sent_ms == 20_000
    assert timeline.position_at(10_000) == 84_000


def test_silence_for_a_long_hole_is_short_in_the_session() -> None:
    timeline = SessionTimeline(8000)
    timeline.append(0, 8000)
    timeline.append(8000, 8000, stands_for=80_000)
    timeline.append(88_000, 8000)

    assert timeline.position_at(1500) == 12_000
    assert timeline.position_at(2000) == 88_000
    assert timeline.position_at(2500) == 92_000


def test_silence_for_a_stall_takes_no_time_of_the_leg() -> None:
    timeline = SessionTimeline(8000)
    timeline.append(0, 8000)
    timeline.append(8000, 8000, stands_for=0)
    timeline.append(8000, 8000)

    assert timeline.position_at(1700) == 8000
    assert timeline.position_at(2500) == 12_000


def test_times_beyond_the_end_are_clamped() -> None:
    timeline = SessionTimeline(8000)
    timeline.append(0, 8000)

    assert timeline.position_at(60_000) == 8000


@given(st.lists(st.tuples(st.integers(1, 4000), st.sampled_from(["audio", "hole", "stall"]))))
def test_positions_never_run_backwards(segments: list[tuple[int, str]]) -> None:
    timeline = SessionTimeline(8000)
    position = 0
    for samples, kind in segments:
        length = {"audio": samples, "hole": samples * 3, "stall": 0}[kind]
        timeline.append(position, samples, stands_for=length)
        position += length
    positions = [timeline.position_at(ms) for ms in range(0, timeline.sent_ms + 2, 7)]

    assert positions == sorted(positions)
    assert all(0 <= found <= position for found in positions)


def test_only_the_newest_segments_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qa_service.domain.timeline.MOST_SEGMENTS", 4)
    timeline = SessionTimeline(1000)
    for number in range(7):
        timeline.append(10_000 * number, 100)

    assert timeline.position_at(650) == 60_050
    assert timeline.position_at(50) > 0  # clamped to the oldest that is remembered
