"""Events keep the form that CloudEvents and its Kafka binding ask for."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from qa_service.alerts.cloudevents import decode_event, encode_event

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def _encode(**changes):
    values = {
        "event_id": "e-1",
        "type": "qa.alert.opened",
        "call_id": "call-ü",
        "call_seq": 7,
        "time": AT,
        "data": b'{"rule_id": "angry", "text": "\xc3\xbc"}',
    }
    return encode_event(**(values | changes))


def test_attributes_are_headers_and_data_is_the_value():
    record = _encode()

    assert dict(record.headers) == {
        "ce_id": b"e-1",
        "ce_source": b"/qa-service",
        "ce_type": b"qa.alert.opened",
        "ce_specversion": b"1.0",
        "ce_subject": "call-ü".encode(),
        "ce_time": b"2026-01-02T03:04:05.678000Z",
        "ce_callseq": b"7",
        "content-type": b"application/json",
    }
    assert (record.key, record.value) == ("call-ü".encode(), b'{"rule_id": "angry", "text": "\xc3\xbc"}')


def test_an_event_without_a_place_in_the_log_has_no_callseq():
    assert "ce_callseq" not in dict(_encode(call_seq=None).headers)


def test_a_record_is_read_back_as_one_json_object():
    record = _encode()

    event = decode_event(record.key, record.headers, record.value)

    assert event["data"] == {"rule_id": "angry", "text": "ü"}
    assert (event["id"], event["type"], event["callseq"]) == ("e-1", "qa.alert.opened", "7")
    assert (event["subject"], event["partitionkey"], event["specversion"]) == ("call-ü", "call-ü", "1.0")
    assert json.dumps(event)


@pytest.mark.parametrize("value", [None, b"", b"garbage", b"{}"])
def test_what_is_no_cloudevent_is_refused(value):
    with pytest.raises(ValueError, match="not a CloudEvent"):
        decode_event(None, [], value)
