"""What a fault file may say, and how it is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qa_service.testing.fault_file import KINDS, FaultFileError, load_faults, read_fault_file
from qa_service.testing.faults import (
    FINAL,
    Close,
    DelayHandshake,
    Drop,
    FallSilent,
    FaultRule,
    Mishandle,
    Moment,
    ReadSlowly,
    Refuse,
    SendBinary,
    SendError,
    SendGarbage,
    Strike,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


def load(*faults: str):
    return load_faults("version: 1\nfaults:\n" + "".join(f"- {fault}\n" for fault in faults), "f.yaml")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("refuse: {status: 429}", Refuse(429)),
        ("delay_handshake: {by: 2s}", DelayHandshake(2000)),
        ("drop:", Strike(deed=Drop())),
        ("drop: {after_audio: 1500ms}", Strike(deed=Drop(), moment=Moment(after_audio_ms=1500))),
        ("close:", Strike(deed=Close(1011))),
        (
            "close: {code: 4000, before: session.finished}",
            Strike(deed=Close(4000), moment=Moment(before="session.finished")),
        ),
        (
            "silence: {before: qa.progress, number: 3}",
            Strike(deed=FallSilent(), moment=Moment(before="qa.progress", number=3)),
        ),
        ("garbage:", Strike(deed=SendGarbage())),
        ("garbage: {text: huh}", Strike(deed=SendGarbage("huh"))),
        ("binary: {}", Strike(deed=SendBinary())),
        ("error:", Strike(deed=SendError())),
        (
            "error: {type: invalid_request_error, code: c, message: m}",
            Strike(deed=SendError("invalid_request_error", "c", "m")),
        ),
        ("slow_reads: {bytes_per_second: 9}", Strike(deed=ReadSlowly(9))),
        ("slow_reads: {bytes_per_second: 0, lasting: 1s}", Strike(deed=ReadSlowly(0, 1000))),
        ("missing:", Mishandle(how="missing", event=FINAL)),
        ("repeated: {numbers: [1, 4]}", Mishandle(how="repeated", numbers=frozenset({1, 4}))),
        ("reordered: {event: error}", Mishandle(how="reordered", event="error")),
        ("late: {by: 3s}", Mishandle(how="late", late_by_ms=3000)),
    ],
)
def test_a_fault_is_read_as(text, fault):
    assert load(text).rules == (FaultRule(fault=fault),)


def test_whom_a_fault_strikes_is_read():
    plan = load_faults(
        "version: 1\nseed: 9\nfaults: [{drop: , sessions: [2, 5], probability: 0.25}]", "f.yaml"
    )

    assert plan.seed == 9
    assert plan.rules == (FaultRule(fault=Strike(deed=Drop()), sessions=frozenset({2, 5}), probability=0.25),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("drop: {after: 2s}", "f.yaml:3:10: unknown key 'after' in a fault 'drop', did you mean 'after_aud"),
        ("refuse:", "f.yaml:3:10: expected a fault 'refuse', with 'status'; found nothing"),
        ("refuse: {status: 200}", "f.yaml:3:20: 200 is no status; expected 400 to 599"),
        ("refuse: {status: 429, before: error}", "unknown key 'before'"),
        ("close: {code: 1006}", "f.yaml:3:17: 1006 is no close code; expected 1000 to 1003"),
        ("drop: {number: 2}", "'number' counts events: expected 'before' beside it"),
        ("drop: {before: error, after_audio: 1s}", "expected either 'after_audio' or 'before', found both"),
        ("drop: {before: sesion.finished}", "did you mean 'session.finished'?"),
        ("late:", "found nothing"),
        ("late: {by: 0s}", "by must be longer than nothing"),
        ("late: {by: 5}", "by: a duration such as 500ms"),
        ("slow_reads: {lasting: 1s}", "lacks 'bytes_per_second'"),
        ("error: {type: fatal}", "an error type: 'server_error' or 'invalid_request_error'; found 'fatal'"),
        ("{drop: , close: }", "f.yaml:3:3: a fault needs exactly one of refuse, "),
        ("sessions: [1]", "a fault needs exactly one of refuse, "),
        ("dorp:", "unknown key 'dorp' in a fault, did you mean 'drop'?"),
        ("drop", "expected a fault, with 'refuse'"),
        ("{drop: , sessions: 1}", "expected a list of session numbers; found the number '1'"),
        ("{drop: , sessions: [0]}", "one of the session numbers: a whole number from 1 on"),
        ("{drop: , probability: 2}", "probability: a number from 0 to 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(text, message):
    with pytest.raises(FaultFileError, match=re.escape(message)):
        load(text)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "f.yaml:1:1: the file is empty: expected version: 1 and faults:"),
        ("version: 2\nfaults: [drop: ]", "f.yaml:1:10: this release reads version 1"),
        ("faults: [drop: ]", "a fault file lacks 'version'"),
        ("version: 1\nfaults: []", "f.yaml:2:9: this list of faults is empty"),
        ("version: 1\nfaults: {", "f.yaml:2:10: not YAML"),
    ],
)
def test_what_is_no_fault_file_is_refused(source, message):
    with pytest.raises(FaultFileError, match=re.escape(message)):
        load_faults(source, "f.yaml")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(FaultFileError) as refusal:
        load("dorp:", "late:", "close: {code: 1}")

    assert len(str(refusal.value).splitlines()) == 3


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FaultFileError, match=str(tmp_path / "none.yaml")):
        read_fault_file(tmp_path / "none.yaml")


def test_the_documented_example_is_read(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "faults.yaml"
    path.write_text(example, encoding="utf-8")

    assert len(read_fault_file(path).rules) == 5


def test_every_kind_of_fault_is_documented():
    rows = re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)

    assert tuple(rows) == KINDS
