from __future__ import annotations

import pytest
from click.testing import CliRunner

from qa_service.bench.asr import AsrPlan, AsrReport
from qa_service.bench.legs import Legs, Memory, Minute, Overload
from qa_service.bench.scoring import spread
from qa_service.cli import bench
from qa_service.cli.bench import asr

LATE, APART = spread([100.0, 1500.0]), spread([900.0, 1100.0])


def report(overload: Overload | None = None) -> AsrReport:
    memory = Memory(start_mb=400.0, warm_mb=520.0, end_mb=530.0, max_mb=540.0, slope_mb_per_h=3.0)
    legs = Legs(
        legs=12,
        seconds=600.0,
        finals=700,
        finals_expected=710,
        finals_received=710,
        excess_ms=LATE,
        partial_gap_ms=APART,
        errors=0,
        loop_lag_ms=spread([1.0]),
        memory_mb=530.0,
        memory=memory,
        server_cores=1.5,
        by_minute=(Minute(minute=1, finals=70, excess_ms=LATE, partial_gap_ms=APART, memory_mb=520.0),),
        overload=overload,
    )
    return AsrReport(version=1, cores=2, emotion=True, legs=legs, memory_mb=530.0)


def measured(monkeypatch: pytest.MonkeyPatch, found: AsrReport | BaseException) -> None:
    async def measure_asr(_plan: AsrPlan, _tell: object, tell_progress: object) -> AsrReport:
        assert callable(tell_progress)
        tell_progress("minute 1, 60 s: 70 finals")
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(bench, "measure_asr", measure_asr)


def test_figures_stand_beside_their_bars_and_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, report())
    result = CliRunner().invoke(asr, ["--legs", "12"])
    rows = [line.split("  ") for line in result.stdout.splitlines()]

    assert result.exit_code == 0, result.output
    assert "minute 1, 60 s: 70 finals" in result.stderr
    assert "530 at the end, 540 at most; +3 MB an hour since then" in result.stdout
    assert [row[-1] for row in rows if row[0] in ("excess, p95", "between partials, p95")] == ["NO", "yes"]


def test_an_overload_is_shown_before_during_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    overload = Overload(
        legs=36,
        refused=9,
        partial_gap_before_ms=APART,
        partial_gap_during_ms=spread([4000.0]),
        partial_gap_after_ms=APART,
        excess_before_ms=APART,
        excess_during_ms=LATE,
        excess_after_ms=APART,
    )
    measured(monkeypatch, report(overload))
    result = CliRunner().invoke(asr, ["--legs", "12", "--overload"])

    assert "of 36 legs 9 were refused" in result.stdout
    assert "710 of 710 utterances got their final" in result.stdout
    assert "during: 4000 ms median" in result.stdout


def test_an_overload_needs_legs() -> None:
    result = CliRunner().invoke(asr, ["--overload"])

    assert result.exit_code == 2
    assert "--overload needs --legs" in result.output


def test_an_interrupted_measurement_says_so_and_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, KeyboardInterrupt())
    result = CliRunner().invoke(asr, ["--legs", "12"])

    assert result.exit_code == 130
    assert "interrupted; nothing is reported" in result.stderr
    assert result.stdout == ""
