"""The figures of the asr bench beside what is wanted of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from qa_service.bench.asr import AsrReport
from qa_service.bench.legs import Legs

_WER: Final = {"en prompts": 0.045, "en read": 0.055}
_WER_OVER_DIRECT: Final = 0.02
_LANGUAGE_SHARE: Final = 0.95
_EXCESS_MS: Final = {800: (50.0, 150.0), 400: (150.0, 300.0)}  # by silence: median, p95
_FIRST_PARTIAL_MS: Final = 1200.0
_LEGS_EXCESS_MS: Final = 1000.0
_PARTIAL_GAP_MS: Final = 2000.0
_LOOP_LAG_MS: Final = 20.0
_MEMORY_MB: Final = 700.0
_UNSPOKEN: Final = 2  # utterances in ten minutes of a sound that nobody spoke; none in silence


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure, the most (or least) that it may be, and whether it is; None: nothing was measured."""

    measure: str
    figure: str
    bar: str
    reached: bool | None


def bars(report: AsrReport) -> list[Bar]:
    """All figures of a report that something is wanted of, in its order."""
    found = [*_accuracy(report), *_latency(report), *_unspoken(report)]
    if report.legs is not None:
        found += _legs(report.legs)
    elif report.loop_lag_ms is not None:
        found.append(_at_most("event loop late, p99", report.loop_lag_ms.p99, _LOOP_LAG_MS, "ms"))
    found.append(_at_most("confirmed text taken back", report.revisions, 0))
    return found


def table(rows: list[Bar]) -> list[str]:
    """The rows as lines of aligned columns, with a head."""
    cells = [
        ("measure", "figure", "bar", "reached"),
        *((row.measure, row.figure, row.bar, _WORDS[row.reached]) for row in rows),
    ]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    return [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in cells
    ]


_WORDS: Final = {True: "yes", False: "NO", None: "not measured"}


def _accuracy(report: AsrReport) -> Iterator[Bar]:
    for group in report.accuracy:
        if (bar := _WER.get(group.group)) is not None:
            yield Bar(f"WER {group.group}", f"{group.wer:.1%}", f"<= {bar:.1%}", group.wer <= bar)
        elif group.direct_wer is not None:
            over = group.wer - group.direct_wer
            yield Bar(
                f"WER {group.group} over direct",
                f"{over:+.1%}",
                f"<= {_WER_OVER_DIRECT:+.1%}",
                over <= _WER_OVER_DIRECT,
            )
    if report.language is not None:
        share = report.language.share
        yield Bar("language right", f"{share:.1%}", f">= {_LANGUAGE_SHARE:.0%}", share >= _LANGUAGE_SHARE)


def _latency(report: AsrReport) -> Iterator[Bar]:
    for latency in report.latency:
        if (limits := _EXCESS_MS.get(latency.silence_ms)) is not None:
            name = f"excess at {latency.silence_ms} ms"
            yield _at_most(f"{name}, median", latency.excess_ms.median, limits[0], "ms")
            yield _at_most(f"{name}, p95", latency.excess_ms.p95, limits[1], "ms")
        name = f"first partial at {latency.silence_ms} ms, p95"
        yield _at_most(name, latency.first_partial_ms.p95, _FIRST_PARTIAL_MS, "ms")


def _unspoken(report: AsrReport) -> Iterator[Bar]:
    for sound in report.unspoken:
        limit = 0 if sound.sound == "silence" else _UNSPOKEN
        yield _at_most(f"utterances in {sound.seconds:g} s of {sound.sound}", sound.utterances, limit)


def _legs(legs: Legs) -> Iterator[Bar]:
    if legs.overload is None:
        yield _at_most("excess, p95", legs.excess_ms.p95, _LEGS_EXCESS_MS, "ms")
        yield _at_most("between partials, p95", legs.partial_gap_ms.p95, _PARTIAL_GAP_MS, "ms")
    else:
        after = legs.overload
        yield _at_most("excess after the overload, p95", after.excess_after_ms.p95, _LEGS_EXCESS_MS, "ms")
        yield _at_most(
            "between partials after it, p95", after.partial_gap_after_ms.p95, _PARTIAL_GAP_MS, "ms"
        )
    yield _at_most("finals lost", legs.finals_expected - legs.finals_received, 0)
    yield _at_most("errors", legs.errors, 0)
    yield _at_most("event loop late, p99", legs.loop_lag_ms.p99, _LOOP_LAG_MS, "ms")
    yield _at_most("memory", legs.memory.max_mb, _MEMORY_MB, "MB")


def _at_most(measure: str, figure: float | None, limit: float, unit: str = "") -> Bar:
    bar = f"<= {limit:g} {unit}".rstrip()
    if figure is None:
        return Bar(measure, "", bar, None)
    return Bar(measure, f"{figure:.0f} {unit}".rstrip(), bar, figure <= limit)
