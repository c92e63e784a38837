from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, strategies as st

from qa_service.protocol.config import Extensions, SessionConfig, TurnDetection
from qa_service.protocol.events import (
    Cleared,
    Committed,
    Completed,
    ErrorEvent,
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
)
from qa_service.protocol.writer import write_append, write_bare, write_event, write_update

SESSION = {
    "id": "sess_1",
    "object": "realtime.session",
    "model": "m",
    "modalities": ["text"],
    "input_audio_format": "pcm",
    "sample_rate": 16000,
    "input_audio_transcription": None,
    "turn_detection": {
        "type": "server_vad",
        "threshold": 0.2,
        "silence_duration_ms": 800,
        "prefix_padding_ms": 300,
    },
}
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def written(event, **options):
    """The members of a written event, but for the id that all have."""
    members = json.loads(write_event(event, "event_1", **options))
    assert members.pop("event_id") == "event_1"
    return members


@pytest.mark.parametrize(
    ("event", "members"),
    [
        pytest.param(
            SessionCreated("sess_1", "m", SessionConfig()),
            {"type": "session.created", "session": SESSION},
            id="4.1",
        ),
        pytest.param(
            SessionUpdated(
                "sess_1", "m", SessionConfig(turn_detection=None, language="en", corpus_text="Leeds")
            ),
            {
                "type": "session.updated",
                "session": SESSION
                | {
                    "turn_detection": None,
                    "input_audio_transcription": {"language": "en", "corpus": {"text": "Leeds"}},
                },
            },
            id="4.2",
        ),
        pytest.param(
            SpeechStarted("item_1", 640),
            {"type": "input_audio_buffer.speech_started", "audio_start_ms": 640, "item_id": "item_1"},
            id="4.3",
        ),
        pytest.param(
            SpeechStopped("item_1", 3980),
            {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 3980, "item_id": "item_1"},
            id="4.4",
        ),
        pytest.param(
            Committed("item_1"),
            {"type": "input_audio_buffer.committed", "previous_item_id": None, "item_id": "item_1"},
            id="4.5",
        ),
        pytest.param(
            ItemCreated("item_2", "item_1"),
            {
                "type": "conversation.item.created",
                "previous_item_id": "item_1",
                "item": {
                    "id": "item_2",
                    "object": "realtime.item",
                    "type": "message",
                    "status": "completed",
                    "role": "user",
                    "content": [{"type": "input_audio", "transcript": None}],
                },
            },
            id="4.6",
        ),
        pytest.param(Cleared(), {"type": "input_audio_buffer.cleared"}, id="4.7"),
        pytest.param(
            Partial("item_1", "The train to", " Leeds", "en", "happy"),
            {
                "type": f"{TRANSCRIPTION}.text",
                "item_id": "item_1",
                "content_index": 0,
                "language": "en",
                "emotion": "happy",
                "text": "The train to",
                "stash": " Leeds",
            },
            id="4.8",
        ),
        pytest.param(
            Completed("item_1", "The train to Leeds."),
            {
                "type": f"{TRANSCRIPTION}.completed",
                "item_id": "item_1",
                "content_index": 0,
                "language": "",
                "emotion": "neutral",
                "transcript": "The train to Leeds.",
            },
            id="4.9",
        ),
        pytest.param(
            Failed("item_1", "audio_unintelligible", "No words."),
            {
                "type": f"{TRANSCRIPTION}.failed",
                "item_id": "item_1",
                "content_index": 0,
                "error": {"code": "audio_unintelligible", "message": "No words.", "param": None},
            },
            id="4.10",
        ),
        pytest.param(SessionFinished(), {"type": "session.finished"}, id="4.11"),
        pytest.param(
            ErrorEvent("invalid_request_error", "invalid_value", "Bad.", None, "event_c1"),
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "code": "invalid_value",
                    "message": "Bad.",
                    "param": None,
                    "event_id": "event_c1",
                },
            },
            id="4.12",
        ),
        pytest.param(Progress(1200), {"type": "qa.progress", "processed_ms": 1200}, id="extension"),
        pytest.param(
            LegStateAnswer(accepted=False, reason="other_model"),
            {"type": "qa.leg_state", "accepted": False, "reason": "other_model"},
            id="extension-leg-state",
        ),
    ],
)
def test_each_server_event_has_the_members_of_its_section(event, members):
    """Sections 4.1 to 4.12."""
    assert members == written(event)


def test_the_extension_object_is_in_the_session_only_for_a_client_that_asked():
    """Extension: the echo in `session.updated`."""
    event = SessionUpdated("sess_1", "m", SessionConfig(extensions=Extensions(progress=True)))

    assert "qa" not in written(event)["session"]
    assert written(event, extensions_asked=True)["session"]["qa"] == {
        "progress": True,
        "emotion": True,
        "emotion_detail": False,
        "leg_state": False,
    }
    assert "session" not in written(Cleared(), extensions_asked=True)


@pytest.mark.parametrize("result", [Partial, Completed])
def test_the_detail_of_a_result_stands_under_qa(result):
    """Extension: `emotion_detail`."""
    detail = ResultDetail(emotion_confidence=None, emotion_abstained=True, engine="whisper", model="base")

    assert written(result("item_1", detail=detail))["qa"] == {
        "emotion_confidence": None,
        "emotion_abstained": True,
        "emotion_off": False,
        "emotion_distribution": None,
        "anger_score": None,
        "anger_rank": None,
        "anger_daily": None,
        "engine": "whisper",
        "model": "base",
        "leg_state": None,
    }


def test_a_completed_event_has_neither_text_nor_usage():
    """Section 4.9: one client prefers `text`, and no source documents `usage`."""
    assert not {"text", "usage"} & written(Completed("item_1", "words")).keys()


def test_an_update_is_a_complete_snapshot():
    """Section 8.2.2: explicit modalities, format, rate, transcription and turn detection."""
    config = SessionConfig(
        sample_rate=8000,
        language="en",
        corpus_text="Okafor",
        turn_detection=TurnDetection(threshold=0.0, silence_duration_ms=400),
    )
    session = json.loads(write_update(config, "event_1", with_extensions=False))

    assert session == {
        "event_id": "event_1",
        "type": "session.update",
        "session": {
            "modalities": ["text"],
            "input_audio_format": "pcm",
            "sample_rate": 8000,
            "input_audio_transcription": {"language": "en", "corpus": {"text": "Okafor"}},
            "turn_detection": {
                "type": "server_vad",
                "threshold": 0.0,
                "silence_duration_ms": 400,
                "prefix_padding_ms": 300,
            },
        },
    }


def test_an_update_says_null_for_manual_mode_and_an_empty_object_for_no_wishes():
    """Sections 3.1 and 7.1: `turn_detection` is null, the transcription object is always there."""
    session = json.loads(write_update(SessionConfig(turn_detection=None), "event_1", with_extensions=True))[
        "session"
    ]

    assert session["turn_detection"] is None
    assert session["input_audio_transcription"] == {}
    assert session["qa"] == {
        "progress": False,
        "emotion": True,
        "emotion_detail": False,
        "leg_state": False,
    }


@given(st.binary(max_size=4000))
def test_an_append_carries_the_audio_in_padded_base64(audio):
    """Section 3.2."""
    append = json.loads(write_append(audio, "event_7"))

    assert append == {
        "event_id": "event_7",
        "type": "input_audio_buffer.append",
        "audio": base64.b64encode(audio).decode(),
    }


def test_a_bare_event_has_only_its_type_and_id():
    """Sections 3.3 to 3.5."""
    assert json.loads(write_bare("session.finish", "event_9")) == {
        "event_id": "event_9",
        "type": "session.finish",
    }
