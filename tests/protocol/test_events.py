from __future__ import annotations

import pytest

from qa_service.protocol.events import (
    EMOTIONS,
    NEUTRAL,
    Completed,
    ErrorEvent,
    ErrorType,
    Partial,
    ResultDetail,
)


@pytest.mark.parametrize(
    ("error_type", "survivable"),
    [(ErrorType.INVALID_REQUEST, True), (ErrorType.SERVER, False), ("", False), ("rate_limit_error", False)],
)
def test_only_a_fault_of_the_request_is_survivable(error_type, survivable):
    """Section 8.2.8."""
    assert survivable == ErrorEvent(error_type).survivable


@pytest.mark.parametrize("result", [Partial, Completed])
@pytest.mark.parametrize(
    ("detail", "judged"),
    [
        (None, "neutral"),
        (ResultDetail(emotion_confidence=0.7), "neutral"),
        (ResultDetail(emotion_abstained=True), None),
        (ResultDetail(emotion_off=True), None),
    ],
)
def test_abstention_and_refusal_are_kept_apart_from_neutral(result, detail, judged):
    """Extension: `neutral` on the wire is a judgement only if nothing says otherwise."""
    assert judged == result("item_1", emotion="neutral", detail=detail).judged_emotion


def test_the_seven_emotions_include_the_one_that_stands_for_none():
    """Section 4.8."""
    assert len(EMOTIONS) == 7
    assert NEUTRAL in EMOTIONS


def test_events_are_values():
    """Section 2: both sides use the same types, so equal content is equal."""
    assert Completed("item_1", "hello", "en", "happy") == Completed("item_1", "hello", "en", "happy")
    with pytest.raises(AttributeError):
        Completed("item_1").transcript = "other"
