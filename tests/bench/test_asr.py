from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from qa_service.asr_server import ServerConfig
from qa_service.bench.asr import AsrPlan, AsrReport, measure_asr
from qa_service.bench.listening import BenchError
from qa_service.bench.recordings import Recording
from qa_service.bench.serving import measured_server


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    config = ServerConfig(port=0, engine="scripted", cache_dir=tmp_path)

    with pytest.raises(BenchError, match="no API keys"):
        async with measured_server(config):
            pass


async def test_the_vitals_of_a_server_are_read_from_its_process() -> None:
    async with measured_server(ServerConfig(port=0, no_auth=True, engine="scripted")) as server:
        first, second = await server.read_vitals(), await server.read_vitals()

    assert first.memory_mb > 10
    assert second.cpu_s >= first.cpu_s > 0


@pytest.mark.models
@pytest.mark.timeout(240)
async def test_the_samples_are_measured_and_the_report_survives_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qa_service.bench.asr.sample_recordings", one_sample)
    told: list[str] = []
    plan = AsrPlan(silences_ms=(400,), unspoken_s=10.0)
    report = await measure_asr(plan, told.append)

    assert msgspec.json.decode(msgspec.json.encode(report), type=AsrReport) == report
    (accuracy,) = report.accuracy
    assert (accuracy.group, accuracy.recordings) == ("samples en", 1)
    assert accuracy.wer <= 0.1
    assert accuracy.direct_wer is not None
    (latency,) = report.latency
    assert (latency.excess_ms.count, latency.missed) == (1, 0)
    assert report.language is not None
    assert report.language.share == 1.0
    assert [u.texts for u in report.unspoken] == [()] * 5
    assert report.revisions == 0
    assert report.memory_mb is not None
    assert told


@pytest.mark.models
@pytest.mark.timeout(240)
async def test_live_legs_are_measured_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qa_service.bench.asr.sample_recordings", one_sample)
    report = await measure_asr(AsrPlan(legs=2, legs_s=8.0, emotion=False), lambda _line: None)

    assert report.legs is not None
    assert report.legs.errors == 0
    assert report.legs.excess_ms.count >= 2
    assert report.legs.finals_received == report.legs.finals_expected
    assert report.legs.memory.max_mb >= report.legs.memory.start_mb > 10
    assert report.legs.server_cores > 0


def one_sample() -> list[Recording]:
    from qa_service.bench.recordings import sample_recordings  # noqa: PLC0415 - the one not replaced

    return [r for r in sample_recordings() if r.group == "samples en" and r.seconds > 4][:1]
