from __future__ import annotations

from typing import get_args

from hypothesis import given, strategies as st

from qa_service.contract.info import Role
from qa_service.domain.emotions import decide_emotion_policy, known_emotion
from qa_service.protocol.events import EMOTIONS

roles = st.sampled_from(get_args(Role))
consents = st.sampled_from([True, False, None])


@given(role=roles, explicit=st.booleans(), consent=consents)
def test_only_an_explicit_customer_who_has_not_opted_out_is_on(
    *, role: Role, explicit: bool, consent: bool | None
) -> None:
    policy = decide_emotion_policy(role=role, role_is_explicit=explicit, emotion_consent=consent)

    assert (policy == "on") == (role == "customer" and explicit and consent is not False)


@given(role=roles, explicit=st.booleans(), consent=consents)
def test_the_policy_alone_tells_of_a_refusal(*, role: Role, explicit: bool, consent: bool | None) -> None:
    policy = decide_emotion_policy(role=role, role_is_explicit=explicit, emotion_consent=consent)

    assert (policy == "off_opt_out") == (consent is False)


def test_only_labels_of_the_protocol_are_taken() -> None:
    assert [known_emotion(label) for label in EMOTIONS] == list(EMOTIONS)
    assert known_emotion("bored") is None
    assert known_emotion(None) is None
