"""The bench of the rules measures what it says."""

from __future__ import annotations

from qa_service.bench.rules import TIMES_OVER, measure_rules, take_times_over
from qa_service.rules.library import excerpt


def test_a_few_calls_are_judged_by_the_set_four_times_over() -> None:
    once, _ = take_times_over(excerpt(), 1)
    report = measure_rules(calls=3, rounds=1)

    assert report.rules == TIMES_OVER * len(once.rules)
    assert report.languages == ("en", "zh", "ja")
    assert report.matching_share >= 0.1
    assert report.state_bytes > 0
    assert report.events > report.utterances == 180
    assert report.events_per_second > report.utterances_per_second > 0
