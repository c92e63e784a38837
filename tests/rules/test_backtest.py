"""Which alerts of two rule sets are the same, and what judgements say of the rules."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from qa_service.rules.backtest import Alert, Precision, compare, pair, thresholds_of, vary_thresholds
from qa_service.rules.ruleset import load_rule_set
from tests.storage.builders import an_id, an_incident


def an_alert(rule_id: str, start_ms: int, end_ms: int) -> Alert:
    return Alert(
        incident_id=UUID(int=start_ms),
        rule_id=rule_id,
        rule_version=1,
        severity="low",
        opened_ms=start_ms,
        start_ms=start_ms,
        end_ms=end_ms,
        words=None,
    )


def shown(pairs) -> list[tuple[int | None, int | None]]:
    return [tuple(None if alert is None else alert.start_ms for alert in each) for each in pairs]


def test_alerts_of_one_rule_whose_times_overlap_are_the_same():
    would = [an_alert("a", 0, 10), an_alert("a", 50, 60), an_alert("b", 0, 10)]
    raised = [an_alert("a", 10, 30), an_alert("a", 61, 70)]

    assert shown(pair(would, raised)) == [(0, 10), (0, None), (50, None), (None, 61)]


def test_one_alert_is_the_same_as_one_other_alone():
    would = [an_alert("a", 0, 100)]
    raised = [an_alert("a", 10, 20), an_alert("a", 30, 40)]

    assert shown(pair(would, raised)) == [(0, 10), (None, 30)]


@pytest.mark.parametrize(
    ("right", "wrong", "low", "high"),
    # Wilson's interval, worked out by hand for 8 of 10, and known at the ends.
    [(8, 2, 0.490, 0.943), (0, 10, 0.0, 0.278), (10, 0, 0.722, 1.0)],
)
def test_the_interval_of_a_precision_is_wilsons(right, wrong, low, high):
    precision = Precision(right, wrong)

    assert precision.value == right / 10
    assert precision.interval == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_nothing_judged_is_no_precision():
    assert (Precision(0, 0).value, Precision(0, 0).interval) == (None, None)


def test_a_difference_names_the_incident_and_the_field():
    stored = [an_incident(2, "one", state="closed", closed_ms=9000), an_incident(1, "only stored")]
    recomputed = [an_incident(2, "one", state="closed", closed_ms=8000), an_incident(1, "only raised")]

    found = {
        (each.incident_id, each.field): (each.stored, each.recomputed) for each in compare(stored, recomputed)
    }

    assert found == {
        (an_id("one"), "closed_ms"): (9000, 8000),
        (an_id("only stored"), "stored"): ("opened", None),
        (an_id("only raised"), "raised"): (None, "opened"),
    }
    assert compare(stored, stored) == []


def test_a_rule_of_added_evidence_is_tried_at_each_sum_above_zero_and_others_not_at_all():
    rules = load_rule_set(Path(__file__).with_name("everything.yaml").read_text(), "rules")

    tried = {rule.id: thresholds for rule in rules.rules if (thresholds := thresholds_of(rule))}

    assert tried == {"h": [0.5, 1.0, 1.5]}  # of the weights 1, 0.5 and -1
    varied = [(at, *((r.id, r.when.at_least) for r in each.rules)) for at, each in vary_thresholds(rules)]
    assert varied == [({"h": 0.5}, ("h", 0.5)), ({"h": 1.0}, ("h", 1.0)), ({"h": 1.5}, ("h", 1.5))]
