from __future__ import annotations

from qa_service.domain.arrival import Arrival, Hole
from qa_service.domain.coverage import Coverage, Release, ReleasedQuiet, ReleasedUtterance
from qa_service.protocol.events import Completed
from tests.domain.builders import FRAME, RATE, arrival

SPOKEN = Completed("item_1", "hello")


def covering(*pieces: object) -> tuple[Coverage, list[Release]]:
    released: list[Release] = []
    coverage = Coverage(RATE, until=0, newest_seq=None, emit=released.append)
    for piece in pieces:
        coverage.retained.push(piece)  # type: ignore[arg-type]
    return coverage, released


def a_hole(first: int, frames: int, reason: str = "not_sent") -> Hole:
    return Hole(first * FRAME, frames * FRAME, reason)  # type: ignore[arg-type]


def shown(released: list[Release]) -> list[tuple[str, int, int]]:
    names = {ReleasedUtterance: "utterance", ReleasedQuiet: "quiet"}
    return [
        (names.get(type(each)) or each.reason, each.start // FRAME, each.end // FRAME)  # type: ignore[union-attr]
        for each in released
    ]


def say(coverage: Coverage, start: float, end: float) -> None:
    coverage.release_utterance(
        int(start * FRAME), int(end * FRAME), SPOKEN, time_source="server", final_at_ms=0
    )


def test_quiet_covers_audio_and_forgets_it() -> None:
    coverage, released = covering(arrival(0), arrival(1))

    coverage.release_quiet(2 * FRAME, "progress")

    assert shown(released) == [("quiet", 0, 2)]
    assert (coverage.until, coverage.newest_seq, coverage.retained.samples) == (2 * FRAME, 1, 0)


def test_a_hole_in_quiet_is_a_gap_and_a_short_one_is_nothing() -> None:
    coverage, released = covering(arrival(0), a_hole(1, 10), arrival(11), a_hole(12, 20), arrival(32))

    coverage.release_quiet(33 * FRAME, "gate")

    assert shown(released) == [("not_sent", 12, 32), ("quiet", 32, 33)]


def test_quiet_that_ends_inside_a_hole_covers_it_whole() -> None:
    coverage, released = covering(arrival(0), a_hole(1, 50))

    coverage.release_quiet(9 * FRAME, "progress")

    assert shown(released) == [("not_sent", 1, 51)]


def test_an_utterance_ends_where_a_hole_begins() -> None:
    coverage, released = covering(arrival(0), a_hole(1, 50, "paused"), arrival(51))

    say(coverage, 0, 30)
    coverage.release_quiet(52 * FRAME, "progress")

    assert shown(released) == [("utterance", 0, 1), ("paused", 1, 51), ("quiet", 51, 52)]


def test_an_utterance_begins_where_a_hole_ends() -> None:
    coverage, released = covering(arrival(0), a_hole(1, 50), arrival(51))

    say(coverage, 40, 52)

    assert shown(released) == [("not_sent", 1, 51), ("utterance", 51, 52)]


def test_a_hole_that_was_talked_across_is_a_gap_inside_the_utterance() -> None:
    coverage, released = covering(arrival(0), a_hole(1, 20, "lost"), arrival(21))

    say(coverage, 0, 22)

    assert shown(released) == [("utterance", 0, 22), ("lost", 1, 21)]


def test_words_whose_place_is_covered_are_kept() -> None:
    coverage, released = covering(arrival(0), arrival(1))
    coverage.release_quiet(2 * FRAME, "gate")

    say(coverage, 0, 1)

    assert shown(released) == [("quiet", 0, 2), ("utterance", 2, 2)]


def test_giving_up_leaves_holes_their_own_reasons() -> None:
    coverage, released = covering(arrival(0), a_hole(1, 50, "paused"), arrival(51))

    coverage.give_up(52 * FRAME, "recogniser_failed")

    assert shown(released) == [("recogniser_failed", 0, 1), ("paused", 1, 51), ("recogniser_failed", 51, 52)]


def test_what_is_not_covered_comes_again_without_what_is() -> None:
    coverage, _ = covering(arrival(0), arrival(1), a_hole(2, 3), arrival(5))
    coverage.release_quiet(FRAME // 2, "progress")

    first, hole, last = coverage.uncovered(chunk_samples=8000)

    assert [(piece.pos, piece.samples) for piece in first] == [(80, 80), (160, 160)]  # type: ignore[union-attr]
    assert hole == a_hole(2, 3)
    assert [piece.pos for piece in last] == [5 * FRAME]  # type: ignore[union-attr]


def test_loudness_is_that_of_the_utterance_alone_however_its_audio_came() -> None:
    def level_of(*cuts: int) -> float | None:
        tone = [6000, -6000] * FRAME * 5
        samples = [*[20000, -20000] * FRAME, *tone, *[20000, -20000] * FRAME]
        coverage, released = covering()
        for seq, (first, last) in enumerate(zip((0, *cuts), (*cuts, len(samples)), strict=True)):
            audio = b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples[first:last])
            coverage.retained.push(Arrival(first, last - first, seq, seq, "pcm_s16le", audio))
        say(coverage, 2, 12)
        (utterance,) = released
        assert isinstance(utterance, ReleasedUtterance)
        return utterance.loudness_dbfs

    assert level_of() == level_of(3 * FRAME, 5 * FRAME + 7) == -14.7  # 20 log10(6000 / 32768)
