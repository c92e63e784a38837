from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from qa_service.audio.g711 import decode_ulaw
from qa_service.bench.listening import BenchError
from qa_service.bench.path.accounting import (
    Usage,
    cpu_s,
    mean_usage,
    parse_buckets,
    parse_cpu_s,
    quantile,
    resident_mb,
)
from qa_service.bench.path.capacity import judge_capacity
from qa_service.bench.path.flame import hottest, parse_folded, render
from qa_service.bench.path.load import leg_keys, partition_of
from qa_service.bench.path.measure import PathBench, Timing
from qa_service.bench.path.recogniser import ALERT_PHRASE, read_spelt, spell
from qa_service.bench.path.report import Growth, Latency, PathReport, bars
from qa_service.bench.path.rig import RigPlan, running_rig
from qa_service.bench.path.sampling import Sampler
from qa_service.bench.path.stamps import FRAME_SAMPLES, age_ms, now_ticks, write_stamp
from qa_service.bench.path.writes import UTTERANCES_A_BATCH, make_batch, measure_writes
from qa_service.bench.scoring import spread
from qa_service.kafka import KafkaConfig
from tests.domain.builders import a_claim

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = spread([])
FOLDED = ["main;read;decode 3", "main;read 1", "main;write 4", ""]


def report(**changes: object) -> PathReport:
    fields: dict[str, object] = {
        "legs": 200,
        "seconds": 60.0,
        "partitions": 8,
        "broker": "Apache Kafka",
        "tls": False,
        "extensions": True,
        "cores": 2,
        "load": 1.0,
        "worker_cpu_ms_per_leg_second": 1.0,
        "floor_cpu_ms_per_leg_second": 0.8,
        "ratio_to_floor": 1.25,
        "relay_cpu_ms_per_leg_second": 0.1,
        "worker_core_share": 0.2,
        "latency_ms": Latency(
            frame_to_append=spread([20.0, 70.0]),
            frame_to_append_floor=NOTHING,
            final_to_durable=NOTHING,
            final_to_published=NOTHING,
            final_to_alert=NOTHING,
        ),
        "rss_mb": 120.0,
        "rss_idle_mb": 100.0,
        "memory_per_leg_kb": 100.0,
        "loop_lag_ms": {"p50": 1.0, "p95": 2.0, "p99": None},
        "frames": 1,
        "audio_missing_s": 0.0,
        "finals": 1,
        "alerts": 0,
        "generator_late_ms": 0.0,
    }
    return PathReport(**fields | changes)


def test_a_stamp_survives_the_line_and_tells_the_age_of_the_newest_frame():
    old, new = (write_stamp(ticks).ljust(FRAME_SAMPLES, b"\x17") for ticks in (1_000, 2**32 - 50))

    assert age_ms(decode_ulaw(old + new).tobytes(), 2**32 + 50) == 10.0  # over the end of the counter, too
    assert age_ms(decode_ulaw(new + old).tobytes(), 1_250) == 25.0


def test_audio_without_a_stamp_has_no_age():
    assert age_ms(bytes(4), now_ticks()) is None
    assert age_ms(decode_ulaw(b"\x17" * FRAME_SAMPLES).tobytes(), now_ticks()) is None


def test_a_time_spelt_into_a_text_is_read_back():
    assert read_spelt(f"i want to {ALERT_PHRASE} {spell(123456)} now") == 123456
    assert read_spelt(f"{ALERT_PHRASE} {spell(0)}") == 0
    assert read_spelt("i want to go") is None
    assert read_spelt(f"{ALERT_PHRASE} quickly") is None


def test_processor_time_is_read_past_any_name_of_the_program():
    ticks = os.sysconf("SC_CLK_TCK")

    assert parse_cpu_s(f"7 (a) b) R 1 1 1 0 -1 0 0 0 0 0 {ticks} {2 * ticks} 0 {ticks} 20 0 1") == 4.0


def test_processor_time_and_memory_of_this_process_are_counted():
    before = cpu_s(os.getpid())
    while cpu_s(os.getpid()) <= before:
        sum(range(100_000))

    assert resident_mb(os.getpid()) > 1


def test_a_process_that_is_gone_cannot_be_watched():
    with pytest.raises(BenchError, match="cannot be watched"):
        cpu_s(2**22 + 1)


def test_turns_before_and_after_count_as_one():
    usage = mean_usage([Usage(1.0, 10.0, 1000.0), Usage(2.0, 10.0, 500.0)])

    assert usage.ms_per_leg_second == 2.0
    assert Usage(1.0, 10.0, 0.0).ms_per_leg_second == 0.0


def test_a_quantile_lies_inside_its_bucket():
    text = 'lag_bucket{le="0.1"} 50.0\nlag_bucket{le="0.2"} 100.0\nlag_bucket{le="+Inf"} 100.0\nlag_sum 9'
    buckets = parse_buckets(text, "lag")

    assert quantile(buckets, 0.5) == pytest.approx(0.1)
    assert quantile(buckets, 0.75) == pytest.approx(0.15)
    assert quantile([(0.1, 1.0), (float("inf"), 2.0)], 0.99) == 0.1
    assert quantile([(0.1, 0.0)], 0.5) is None


def test_legs_of_a_call_share_a_key_and_so_a_partition():
    keys = leg_keys("call", 4)

    assert keys == [
        (b"call-0", b"customer"),
        (b"call-0", b"agent"),
        (b"call-1", b"customer"),
        (b"call-1", b"agent"),
    ]
    assert {partition_of(key, 8) for key, _ in leg_keys("call", 200)} == set(range(8))


def test_a_flame_graph_is_drawn_from_folded_stacks():
    root = parse_folded(FOLDED)
    picture = ET.fromstring(render(root, "what & where"))  # noqa: S314 - it is ours
    titles = [title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")]

    assert titles == ["all 100.0%", "main 100.0%", "read 50.0%", "decode 37.5%", "write 50.0%"]
    assert hottest(root) == [("write", 0.5), ("decode", 0.375), ("read", 0.125)]


def test_a_sampler_sees_what_computes():
    sampler = Sampler()
    sampler.start()
    try:
        while not sampler.stacks:
            sum(range(100_000))
    finally:
        sampler.stop()

    assert "test_path:test_a_sampler_sees_what_computes" in sampler.folded()
    sampler.clear()
    assert not sampler.folded()


def test_figures_are_held_to_their_bars():
    few, many = (
        Growth(legs=legs, worker_cpu_ms_per_leg_second=cost, rss_mb=1)
        for legs, cost in ((100, 1.0), (400, 1.1))
    )
    found = {
        bar.measure: bar.reached
        for bar in bars(report(growth=(few, many), catch_up=6.0, utterances_per_second=4000.0))
    }

    assert found == {
        "ratio to the floor": True,
        "worker CPU per leg-second": True,
        "added, frame to append, p99": False,
        "final to alert, p50": None,
        "final to alert, p99": None,
        "memory per leg": True,
        "CPU per leg-second, 400 legs over 100": False,
        "catch-up, times real time": True,
        "utterances a second written": False,
    }


def test_capacity_names_what_gives_out_first():
    by_cpu = judge_capacity(report(utterances_per_second=5000.0))
    by_writes = judge_capacity(report(utterances_per_second=100.0))

    assert by_cpu.legs_per_core == 600
    assert by_cpu.limit.startswith("The workers' processor limits first: 600 legs a core")
    assert by_writes.limit == "The database limits first: it takes the utterances of 400 legs."
    assert next(name for name, _, _ in by_cpu.lines()) == "legs a core"


def test_a_batch_of_the_write_bench_goes_on_from_the_one_before():
    batch = make_batch(a_claim(epoch=2, write_seq=5, next_offset=None), 3)

    assert batch.write_seq == 8
    assert {entry.call_seq for entry in batch.entries} == {3}
    assert len(batch.entries) == len(batch.outbox) == UTTERANCES_A_BATCH


async def test_utterances_go_through_the_real_write_path(database_url: str):
    assert await measure_writes(database_url, 0.2) > 0


@pytest.mark.kafka
async def test_a_short_run_finds_every_second_of_audio_and_a_figure_for_everything(
    kafka_bootstrap: str, cache_dir: Path, tmp_path: Path
):
    plan = RigPlan(
        cache_dir=cache_dir, partitions=2, existing_kafka=KafkaConfig(bootstrap=kafka_bootstrap, gather_ms=20)
    )
    told: list[str] = []
    async with running_rig(plan, told.append) as rig:
        bench = PathBench(rig, lambda what, _seconds: told.append(what))
        found = await bench.measure(4, Timing(2.0, 0.2, 1.0), tmp_path / "folded")

    assert abs(found.audio_missing_s) < 0.01
    assert found.worker_cpu_ms_per_leg_second > 0
    assert found.floor_cpu_ms_per_leg_second > 0
    assert found.latency_ms.frame_to_append.count > 0
    assert found.latency_ms.frame_to_append_floor.count > 0
    assert "Worker.run" in (tmp_path / "folded").read_text()
    assert not [line for line in told if "not removed" in line]
