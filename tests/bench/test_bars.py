from __future__ import annotations

from qa_service.bench.asr import Accuracy, AsrReport, Latency
from qa_service.bench.bars import Bar, bars, table
from qa_service.bench.scoring import spread


def test_a_figure_stands_beside_its_bar() -> None:
    late = Latency(
        silence_ms=800, excess_ms=spread([20.0, 500.0]), first_partial_ms=spread([]), missed=0, load=0.5
    )
    rows = {row.measure: row for row in bars(AsrReport(version=1, cores=2, emotion=True, latency=(late,)))}

    assert rows["excess at 800 ms, median"].reached is True
    assert rows["excess at 800 ms, p95"] == Bar("excess at 800 ms, p95", "500 ms", "<= 150 ms", reached=False)
    assert rows["first partial at 800 ms, p95"].reached is None


def test_other_languages_are_compared_with_the_direct_run() -> None:
    group = Accuracy(
        group="fr", recordings=1, words=100, errors=20, wer=0.20, direct_errors=17, direct_wer=0.17
    )
    (row, _) = bars(AsrReport(version=1, cores=2, emotion=True, accuracy=(group,)))

    assert row == Bar("WER fr over direct", "+3.0%", "<= +2.0%", reached=False)


def test_the_table_is_aligned() -> None:
    memory = Bar("memory", "500 MB", "<= 700 MB", reached=True)
    lines = table([memory, Bar("confirmed text taken back", "0", "<= 0", reached=None)])

    assert lines == [
        "measure                    figure  bar        reached",
        "memory                     500 MB  <= 700 MB  yes",
        "confirmed text taken back  0       <= 0       not measured",
    ]
