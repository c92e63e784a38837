"""Whose emotion may be recognised at all, and which labels are taken from a recogniser."""

from __future__ import annotations

from typing import Literal, TypeAlias

from qa_service.contract.info import Role
from qa_service.protocol.events import EMOTIONS, Emotion


def known_emotion(label: str | None) -> Emotion | None:
    """Take a label of the protocol; a vendor may send others some day, which count as none."""
    return next((emotion for emotion in EMOTIONS if emotion == label), None)


EmotionPolicy: TypeAlias = Literal["on", "off_role", "off_unknown_role", "off_opt_out"]
"""Why the emotion of a leg is recognised or not; stored with the leg.

``on``: an explicit customer who has not opted out. ``off_opt_out``: the caller refused, in whatever role;
``off_role``: an agent or another employee. ``off_unknown_role``: nobody said who speaks, so the leg counts as
an agent's.
"""


def decide_emotion_policy(
    *, role: Role, role_is_explicit: bool, emotion_consent: bool | None
) -> EmotionPolicy:
    """Decide whether a leg's emotion may be inferred.

    Art. 5(1)(f) of the EU AI Act prohibits inferring employees' emotions at work, so everything but
    an explicit customer is off, whatever a configuration says. A refusal comes first, so that the policy
    alone tells of it: it is all that is stored of the consent.
    """
    if emotion_consent is False:
        return "off_opt_out"
    if not role_is_explicit:
        return "off_unknown_role"
    if role != "customer":
        return "off_role"
    return "on"
