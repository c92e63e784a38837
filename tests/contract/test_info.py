from __future__ import annotations

from qa_service.contract import Consent, ConsentChange, LegChange, LegInfo, apply_change

INFO = LegInfo(
    role="customer",
    queue="billing",
    language="en",
    consent=Consent(recording=True),
    attributes={"product": "fibre", "vip": True},
)


def test_an_empty_change_changes_nothing():
    assert apply_change(INFO, LegChange()) == INFO


def test_a_change_sets_what_it_names_and_keeps_the_rest():
    changed = apply_change(INFO, LegChange(queue="retention", agent_id="a-23"))

    assert changed == LegInfo(
        role="customer",
        queue="retention",
        agent_id="a-23",
        language="en",
        consent=INFO.consent,
        attributes=INFO.attributes,
    )


def test_none_clears_a_member():
    assert apply_change(INFO, LegChange(queue=None)).queue is None


def test_consent_is_merged_by_member():
    changed = apply_change(INFO, LegChange(consent=ConsentChange(emotion=False)))

    assert changed.consent == Consent(recording=True, emotion=False)


def test_attributes_are_merged_by_name_and_none_removes_one():
    changed = apply_change(INFO, LegChange(attributes={"vip": None, "product": "mobile", "age": 3}))

    assert changed.attributes == {"product": "mobile", "age": 3}
