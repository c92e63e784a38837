from __future__ import annotations

import msgspec
import pytest

from qa_service.asr.session import make_http_session
from qa_service.asr_server import ServerConfig
from qa_service.bench.legs import Legs, LegsBench, excesses_of, gaps_of, memory_of, script_of
from qa_service.bench.listening import Heard, Utterance
from qa_service.bench.recordings import sample_recordings
from qa_service.bench.serving import measured_server
from qa_service.protocol.events import Completed, Partial

SPOKEN = [r for r in sample_recordings() if r.text and 1 <= r.seconds < 3]


def test_a_script_is_as_long_as_asked_and_knows_where_speech_ends() -> None:
    script = script_of(SPOKEN, 20.0, seed=1)

    seconds = len(script.pcm) / 16_000
    assert 22 <= seconds < 40
    assert list(script.speech_ends_ms) == sorted(script.speech_ends_ms)
    assert script.speech_ends_ms[-1] < seconds * 1000
    assert script == script_of(SPOKEN, 20.0, seed=1)
    assert script != script_of(SPOKEN, 20.0, seed=2)


def test_gaps_are_counted_from_the_beginning_over_the_partials_to_the_last_sound() -> None:
    partial = Partial(item_id="1", text="")
    utterance = Utterance(
        "1", start_ms=1000, end_ms=5800, partials=[(1700.0, partial), (3500.0, partial), (5100.0, partial)]
    )

    assert gaps_of(utterance, silence_ms=800) == [700, 1800, 1500]
    assert gaps_of(Utterance("2", start_ms=1000), silence_ms=800) == []


def test_a_final_is_late_by_what_it_comes_after_the_silence_that_follows_speech() -> None:
    def utterance(item_id: str, end_ms: int, final_at_ms: float) -> Utterance:
        final = Completed(item_id=item_id, transcript="yes")
        return Utterance(item_id, start_ms=0, end_ms=end_ms, final=final, final_at_ms=final_at_ms)

    heard = Heard({"a": utterance("a", 2800, 2900.0), "b": utterance("b", 9000, 9050.0)})

    assert excesses_of((2000.0, 5000.0), heard, silence_ms=800) == {"a": 100.0}


def test_memory_that_grows_has_a_slope_after_it_is_warm() -> None:
    samples = [(0.0, 100.0), *((float(at_s), 500.0 + at_s / 36) for at_s in range(60, 3600, 60))]
    memory = memory_of(samples)

    assert (memory.start_mb, memory.warm_mb, memory.max_mb) == (100.0, 503.3, 598.3)
    assert memory.slope_mb_per_h == pytest.approx(100.0)


def test_less_than_five_minutes_are_no_trend() -> None:
    samples = [(float(at_s), 500.0 + at_s) for at_s in range(0, 400, 5)]

    assert memory_of(samples).slope_mb_per_h is None


async def test_an_overload_is_measured_before_during_and_after_and_no_final_is_missing() -> None:
    told: list[str] = []
    config = ServerConfig(port=0, no_auth=True, engine="scripted", max_sessions=2)
    async with measured_server(config) as server, make_http_session() as http:
        bench = LegsBench(server, http, silence_ms=400, emotion=False, tell=told.append)
        result = await bench.measure(SPOKEN, legs=1, seconds=12.0, overload=True)

    figures = result.figures
    assert msgspec.json.decode(msgspec.json.encode(figures), type=Legs) == figures
    assert figures.overload is not None
    assert (figures.overload.legs, figures.overload.refused) == (3, 1)
    assert figures.finals_received == figures.finals_expected > 0
    assert figures.errors == 0
    assert figures.overload.partial_gap_after_ms.count > 0
    assert [minute.minute for minute in figures.by_minute] == [1]
    assert told == []
