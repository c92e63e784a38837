from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, strategies as st

from qa_service.asr_server.engines.cutting import pieces

RATE = 16_000


def sound(seconds: float) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def test_a_short_segment_is_one_piece() -> None:
    assert pieces(sound(5), 10) == [(0, 5 * RATE)]


def test_a_long_segment_is_cut_in_its_quietest_moment() -> None:
    samples = sound(15)
    samples[round(8.4 * RATE) : round(8.6 * RATE)] *= 0.01
    (first, second) = pieces(samples, 10)

    assert abs(first[1] / RATE - 8.5) < 0.06
    assert second == (first[1], len(samples))


@given(st.floats(0.5, 40), st.floats(1, 12))
def test_pieces_follow_on_each_other_and_none_is_too_long(seconds: float, max_s: float) -> None:
    samples = sound(seconds)
    spans = pieces(samples, max_s)

    assert spans[0][0] == 0
    assert spans[-1][1] == len(samples)
    assert all(end == start for (_, end), (start, _) in pairwise(spans))
    assert all(0 < (end - start) / RATE <= max_s + 1e-3 for start, end in spans)


@given(st.floats(20, 40))
def test_cuts_stay_where_they_are_as_a_segment_grows(seconds: float) -> None:
    whole = sound(40)
    grown = pieces(whole[: round(seconds * RATE)], 8)

    assert grown[:-1] == pieces(whole, 8)[: len(grown) - 1]
