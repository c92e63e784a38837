from __future__ import annotations

from uuid import UUID

from hypothesis import given, strategies as st

from qa_service.domain.identities import event_id, incident_id, utterance_id

ids = st.text(st.characters(blacklist_categories=["Cc", "Cs"]), max_size=8)


def test_identities_never_change() -> None:
    assert utterance_id("call", "customer", 1) == UUID("bd001a9b-c79e-52f0-97ba-37a9b108ed15")


@given(ids, ids, ids, ids)
def test_borders_between_parts_count(call: str, leg: str, other_call: str, other_leg: str) -> None:
    same = utterance_id(call, leg, 1) == utterance_id(other_call, other_leg, 1)

    assert same == ((call, leg) == (other_call, other_leg))


def test_kinds_of_things_do_not_meet() -> None:
    subject = utterance_id("a", "b", 1)

    assert len({subject, incident_id("a", "b", 1, ""), event_id(subject, "utterance", 1)}) == 3
