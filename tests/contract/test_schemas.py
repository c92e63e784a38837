from __future__ import annotations

import importlib.resources
import json

import pytest
import yaml
from hypothesis import given
from jsonschema import Draft202012Validator, ValidationError

from qa_service.contract import (
    AudioFrame,
    ContractViolation,
    LegStart,
    LegUpdate,
    Reason,
    decode_record,
    encode_record,
)
from qa_service.domain.announcements import AlertData, PartialData, Stamps, UtteranceData
from qa_service.domain.incidents import Evidence
from qa_service.protocol.events import EMOTIONS
from tests.contract import strategies

SCHEMAS = importlib.resources.files("qa_service.contract") / "schemas"
NAMES = ["leg-start", "leg-update", "alert", "utterance", "partial"]
START_HEADERS = encode_record("call-1", AudioFrame("customer", 0, 0, 0, b"\x7f", "pcmu", 8000)).headers


def schema_of(name: str) -> dict:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


def validator_of(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema_of(name), format_checker=Draft202012Validator.FORMAT_CHECKER)


VALIDATORS = {name: validator_of(name) for name in NAMES}


def asyncapi() -> dict:
    return yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_sound_and_its_examples_satisfy_it(name):
    schema = schema_of(name)
    Draft202012Validator.check_schema(schema)

    assert schema["examples"]
    for example in schema["examples"]:
        VALIDATORS[name].validate(example)


@given(strategies.records)
def test_every_value_that_is_encoded_satisfies_its_schema(record):
    value = encode_record("call-1", record).value
    if isinstance(record, LegStart):
        VALIDATORS["leg-start"].validate(json.loads(value))
    elif isinstance(record, LegUpdate):
        VALIDATORS["leg-update"].validate(json.loads(value))


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"role": "boss"},
        {"role": "agent", "tenant": ""},
        {"role": "agent", "direction": "sideways"},
        {"role": "agent", "language": "english language"},
        {"role": "agent", "call_start": -1},
        {"role": "agent", "consent": {"emotion": "no"}},
        {"role": "agent", "attributes": {"a": None}},
        {"role": "agent", "attributes": {"a": []}},
    ],
)
def test_the_schema_and_the_decoder_refuse_the_same_starts(document):
    with pytest.raises(ValidationError):
        VALIDATORS["leg-start"].validate(document)
    headers = [*START_HEADERS, ("type", b"start")]
    with pytest.raises(ContractViolation) as caught:
        decode_record(b"call-1", headers, json.dumps(document).encode())

    assert caught.value.reason == Reason.BAD_JSON


def test_asyncapi_refers_to_the_schemas_that_are_shipped():
    messages = asyncapi()["components"]["messages"]
    referred = {message["payload"].get("$ref") for message in messages.values()} - {None}

    assert {f"./{name}.schema.json" for name in NAMES} == referred
    assert {f"{name}.schema.json" for name in NAMES} | {"asyncapi.yaml"} == {
        file.name for file in SCHEMAS.iterdir()
    }


def test_asyncapi_knows_every_topic_and_every_record_type():
    document = asyncapi()

    assert {channel["address"] for channel in document["channels"].values()} == {
        "telephony.audio",
        "telephony.audio.dlq",
        "qa.alerts",
        "qa.transcripts",
        "qa.partials",
    }
    assert set(document["channels"]["audio"]["messages"]) == {
        "start",
        "update",
        "audio",
        "pause",
        "resume",
        "stop",
        "call_end",
    }


def test_asyncapi_lists_every_reason_for_a_dead_letter():
    headers = asyncapi()["components"]["messages"]["dead_letter"]["headers"]

    assert [reason.value for reason in Reason] == headers["properties"]["qa-dlq-reason"]["enum"]


@pytest.mark.parametrize("name", ["alert", "utterance", "partial"])
def test_the_schemas_know_the_emotions_of_the_domain(name):
    schema = json.dumps(schema_of(name))

    assert json.dumps([*EMOTIONS, None]) in schema


@pytest.mark.parametrize(
    ("name", "data"), [("alert", AlertData), ("utterance", UtteranceData), ("partial", PartialData)]
)
def test_the_schemas_describe_what_the_service_sends(name, data):
    schema = schema_of(name)

    assert set(data.__struct_fields__) == set(schema["required"])
    assert set(data.__struct_fields__) == set(schema["properties"])


def test_the_schemas_describe_evidence_and_stamps():
    alert = schema_of("alert")["properties"]

    assert set(Evidence.__struct_fields__) == set(alert["evidence"]["items"]["properties"])
    assert set(Stamps.__struct_fields__) == set(alert["stamps"]["properties"])
    assert alert["stamps"] == schema_of("utterance")["properties"]["stamps"]
