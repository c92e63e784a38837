from __future__ import annotations

import json

import pytest
from hypothesis import example, given, strategies as st

from qa_service.protocol.config import Extensions, SessionConfig, TurnDetection
from qa_service.protocol.errors import MalformedMessage
from qa_service.protocol.events import (
    Cleared,
    Committed,
    Completed,
    ErrorEvent,
    Event,
    Failed,
    ItemCreated,
    LegStateAnswer,
    Partial,
    Progress,
    ResultDetail,
    SessionCreated,
    SessionFinished,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    Unknown,
)
from qa_service.protocol.reader import read_event
from qa_service.protocol.writer import write_event

TRANSCRIPTION = "conversation.item.input_audio_transcription"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
words = texts.filter(bool)
milliseconds = st.integers(0, 2**53)
details = st.none() | st.builds(
    ResultDetail,
    emotion_confidence=st.none() | st.floats(0, 1),
    emotion_abstained=st.booleans(),
    emotion_off=st.booleans(),
    engine=texts,
    model=texts,
)
events = st.one_of(
    st.builds(SpeechStarted, words, milliseconds),
    st.builds(SpeechStopped, words, milliseconds),
    st.builds(Committed, words, st.none() | words),
    st.builds(ItemCreated, words, st.none() | words),
    st.builds(Partial, words, texts, texts, words, words, details),
    st.builds(Completed, words, texts, words, words, details),
    st.builds(Failed, words, st.none() | texts, texts, st.none() | texts),
    st.builds(ErrorEvent, texts, st.none() | texts, texts, st.none() | texts, st.none() | texts),
    st.builds(Progress, milliseconds),
    st.builds(LegStateAnswer, st.booleans(), st.none() | st.text()),
    st.just(Cleared()),
    st.just(SessionFinished()),
)


def read(event_type, **members):
    return read_event(json.dumps({**members, "type": event_type}))


@given(events)
def test_whatever_a_server_writes_a_client_reads(event):
    """Section 4: both sides on one set of events."""
    assert event == read_event(write_event(event, "event_1"))


@given(events)
def test_text_and_its_utf_8_bytes_are_read_alike(event):
    """Section 1.4."""
    assert event == read_event(write_event(event, "event_1").encode())


@pytest.mark.parametrize(
    ("event", "event_type"),
    [
        (SpeechStarted(""), "input_audio_buffer.speech_started"),
        (SpeechStopped(""), "input_audio_buffer.speech_stopped"),
        (Committed(""), "input_audio_buffer.committed"),
        (ItemCreated(""), "conversation.item.created"),
        (Partial(""), f"{TRANSCRIPTION}.text"),
        (Completed(""), f"{TRANSCRIPTION}.completed"),
        (Failed(""), f"{TRANSCRIPTION}.failed"),
        (ErrorEvent(""), "error"),
        (SessionCreated("", "", SessionConfig()), "session.created"),
        (SessionUpdated("", "", SessionConfig()), "session.updated"),
    ],
)
def test_a_missing_member_and_null_are_the_same(event, event_type):
    """Sections 7.6 and 8.2: a client survives what a server leaves out."""
    names = (
        "item_id audio_start_ms audio_end_ms previous_item_id item text stash transcript language emotion "
        "error session qa"
    )

    assert event == read(event_type)
    assert event == read(event_type, **dict.fromkeys(names.split()))


def test_an_empty_previous_item_is_none():
    """Section 4.5: null, empty string and absence are equal."""
    assert Committed("item_1", None) == read(
        "input_audio_buffer.committed", item_id="item_1", previous_item_id=""
    )


def test_unknown_members_are_skipped():
    """Section 4.9: for example `usage`."""
    event = read(
        f"{TRANSCRIPTION}.completed", item_id="i", transcript="x", usage={"type": "duration", "seconds": 4}
    )

    assert Completed("i", "x") == event


def test_a_fractional_time_is_taken_as_whole_milliseconds():
    """Section 8.2.5: time values are nothing to fail over."""
    assert SpeechStarted("i", 640) == read(
        "input_audio_buffer.speech_started", item_id="i", audio_start_ms=640.5
    )


def test_an_unknown_type_is_an_unknown_event():
    """Section 4: clients must ignore unknown types."""
    assert Unknown("response.created") == read("response.created", response={"id": 3})


def test_the_left_over_defaults_of_the_documentation_are_read():
    """Section 4.1: `pcm16`, 0.5 and 200, with members of another service."""
    session = {
        "id": "sess_1",
        "model": "gpt-4o",
        "modalities": ["text", "audio"],
        "input_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "silence_duration_ms": 200,
            "create_response": True,
        },
    }
    turn = TurnDetection(threshold=0.5, silence_duration_ms=200)

    assert SessionCreated("sess_1", "gpt-4o", SessionConfig(turn_detection=turn)) == read(
        "session.created", session=session
    )


def test_values_of_a_session_that_the_protocol_does_not_have_are_read_as_defaults():
    """Section 8.2: what a server reports about itself need not make sense."""
    session = {
        "input_audio_format": "flac",
        "sample_rate": 24000,
        "input_audio_transcription": {"language": "auto", "corpus": None},
        "turn_detection": {"threshold": 7},
        "qa": "something else",
    }

    assert SessionConfig() == read("session.updated", session=session).config


def test_a_session_object_is_read_whole():
    """Section 4.2, and the echo of our extensions."""
    session = {
        "input_audio_format": "opus",
        "sample_rate": 8000,
        "input_audio_transcription": {"language": "yue", "corpus": {"text": "Leeds"}},
        "turn_detection": None,
        "qa": {"progress": True, "emotion": False},
    }
    expected = SessionConfig(
        input_audio_format="opus",
        sample_rate=8000,
        language="yue",
        corpus_text="Leeds",
        turn_detection=None,
        extensions=Extensions(progress=True, emotion=False),
    )

    assert expected == read("session.updated", session=session).config


def test_a_foreign_qa_member_of_a_result_is_no_detail():
    """Extension: another server may use the name for something of its own."""
    assert read(f"{TRANSCRIPTION}.completed", qa=[1]).detail is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "{}",
        '{"type": 5}',
        '{"type": "error", "error": "text"}',
        '{"type": "error", "error": {"code": 4}}',
        '{"type": "session.finished"',
        '{"type": "qa.progress"}',
        "[" * 100_000,
        '{"type": "x", "deep": ' + "[" * 100_000,
        "\ud800",
        b"\xff",
        b'{"type": "\xff"}',
    ],
)
def test_garbage_is_a_malformed_message(text):
    """Section 4: the one documented error."""
    with pytest.raises(MalformedMessage):
        read_event(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=6,
)
members = st.sampled_from(
    "item_id item text stash transcript language emotion error session qa processed_ms audio_start_ms".split()
)
event_types = st.sampled_from(
    [
        "session.created",
        "session.updated",
        "error",
        "qa.progress",
        "input_audio_buffer.speech_started",
        "conversation.item.created",
        *(f"{TRANSCRIPTION}.{name}" for name in ("text", "completed", "failed")),
    ]
)
near_events = st.builds(
    lambda event_type, rest: json.dumps({**rest, "type": event_type}),
    event_types,
    st.dictionaries(members, json_values, max_size=4),
)


@given(st.text() | st.binary() | near_events | json_values.map(json.dumps))
@example('{"type": "session.created", "session": {"sample_rate": 1e400}}')
def test_any_text_is_an_event_or_a_malformed_message(text):
    """Section 4: nothing a server sends has another outcome."""
    try:
        event = read_event(text)
    except MalformedMessage as fault:
        assert str(fault).endswith(".")  # noqa: PT017 - either outcome is right
    else:
        assert isinstance(event, Event)
