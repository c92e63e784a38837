"""The list of metrics is complete, named by one convention, and cheap to use."""

from __future__ import annotations

import re

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest

from qa_service import metrics


def _declared_in_module() -> set[object]:
    values = list(vars(metrics).values())
    families = {value._metric for value in values if isinstance(value, metrics.Family)}
    return families | {value for value in values if isinstance(value, Counter | Gauge | Histogram)}


def test_the_documentation_table_lists_every_metric_of_the_registry():
    exposed = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.REGISTRY.collect()
        if family.name.startswith("qa_")
    }

    assert exposed == {row.name for row in metrics.describe()}
    assert len(_declared_in_module()) == len(metrics.describe())


@pytest.mark.parametrize("row", metrics.describe(), ids=lambda row: row.name)
def test_each_metric_says_in_a_sentence_what_it_tells(row: metrics.MetricRow):
    assert re.fullmatch(r"qa_[a-z_]+[a-z]", row.name)
    assert row.help[0].isupper()
    assert row.help.endswith(".")
    assert len(row.help.split()) >= 3


def test_times_are_in_seconds_and_counters_end_in_total():
    for row in metrics.describe():
        if row.type == "counter":
            assert row.name.endswith("_total")
        if row.type == "histogram":
            assert row.name.endswith("_seconds")


def test_known_label_values_are_exposed_before_anything_happened():
    text = generate_latest(metrics.REGISTRY).decode()

    assert 'qa_gaps_total{reason="recogniser_mute"}' in text
    assert 'qa_redactions_total{kind="card_number"}' in text


def test_a_family_looks_a_child_up_once():
    family = metrics.ALERTS

    assert family["angry-customer", "opened"] is family["angry-customer", "opened"]


def test_a_forgotten_partition_is_exposed_no_longer():
    metrics.PARTITION_LAG["17"].set(3)
    assert metrics.REGISTRY.get_sample_value("qa_partition_lag_records", {"partition": "17"}) == 3

    metrics.PARTITION_LAG.forget("17")
    metrics.PARTITION_LAG.forget("17")

    assert metrics.REGISTRY.get_sample_value("qa_partition_lag_records", {"partition": "17"}) is None
