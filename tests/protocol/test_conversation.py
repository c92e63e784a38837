"""Both sides of a session talking to each other, and a server talking to anything."""

from __future__ import annotations

import itertools
import json

from hypothesis import example, given, strategies as st

from qa_service.protocol.client import ClientSession, SessionState
from qa_service.protocol.config import LANGUAGES, Extensions, SessionConfig, TurnDetection
from qa_service.protocol.events import (
    AppendAudio,
    Commit,
    Committed,
    Completed,
    Configure,
    ErrorEvent,
    Finish,
    ItemCreated,
    Partial,
    ResultDetail,
    SessionCreated,
    SessionFinished,
    SpeechStarted,
    SpeechStopped,
    Unknown,
)
from qa_service.protocol.reader import read_event
from qa_service.protocol.server import ServerSession

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
configs = st.builds(
    SessionConfig,
    input_audio_format=st.sampled_from(["pcm", "opus"]),
    sample_rate=st.sampled_from([8000, 16000]),
    language=st.none() | st.sampled_from(sorted(LANGUAGES)),
    corpus_text=st.none() | texts,
    turn_detection=st.none()
    | st.builds(
        TurnDetection,
        threshold=st.floats(-1, 1),
        silence_duration_ms=st.integers(200, 6000),
        prefix_padding_ms=st.integers(0, 5000),
    ),
    extensions=st.builds(
        Extensions,
        progress=st.booleans(),
        emotion=st.booleans(),
        emotion_detail=st.booleans(),
        leg_state=st.booleans(),
    ),
)


def pair(config):
    numbers = itertools.count()
    client = ClientSession(config, lambda: f"event_{next(numbers)}")
    server = ServerSession("sess_1", "m", lambda prefix: f"{prefix}_{next(numbers)}")
    assert isinstance(client.receive_text(server.created()), SessionCreated)
    return client, server


@given(configs)
def test_a_configuration_arrives_and_is_confirmed_unchanged(config):
    """Sections 3.1 and 4.2."""
    client, server = pair(config)

    receipt = server.receive_text(client.update())
    (updated,) = map(client.receive_text, receipt.replies)

    assert receipt.commands == (Configure(config),)
    assert updated.config == config == server.config
    assert (client.honoured, client.state) == (config.extensions, SessionState.READY)


@given(st.lists(st.binary(min_size=1, max_size=99)), st.booleans())
def test_audio_arrives_unchanged(pieces, as_bytes):
    """Section 3.2."""
    client, server = pair(SessionConfig(input_audio_format="opus"))
    server.receive_text(client.update())
    messages = [client.append(piece) for piece in pieces]

    receipts = [server.receive_text(message.encode() if as_bytes else message) for message in messages]

    assert [(AppendAudio(piece),) for piece in pieces] == [receipt.commands for receipt in receipts]


def test_an_utterance_is_told_from_its_start_to_the_end_of_the_session():
    """Section 5.1, the full example."""
    client, server = pair(SessionConfig(language="en", extensions=Extensions(emotion_detail=True)))
    detail = ResultDetail(emotion_confidence=0.9, engine="whisper", model="base")
    server.receive_text(client.update())
    server.receive_text(client.append(bytes(3200 * 40)))
    item_id, started = server.speech_started(640)
    sent = [
        started,
        *server.partial(item_id, "", "The train"),
        *server.speech_stopped(item_id, 3980),
        *server.completed(item_id, "The train to Leeds.", "en", "happy", detail=detail),
    ]
    assert server.receive_text(client.finish()).commands == (Finish(),)
    sent.append(server.finished())

    assert [client.receive_text(text) for text in sent] == [
        SpeechStarted(item_id, 640),
        Partial(item_id, "", "The train", "en", "neutral", ResultDetail()),
        SpeechStopped(item_id, 3980),
        Committed(item_id),
        ItemCreated(item_id),
        Completed(item_id, "The train to Leeds.", "en", "happy", detail),
        SessionFinished(),
    ]
    assert client.state is SessionState.FINISHED


def test_manual_turns_are_told_in_order_though_the_second_is_ready_first():
    """Section 5.2: `commit`, `commit` and `finish` back to back."""
    client, server = pair(SessionConfig(turn_detection=None))
    server.receive_text(client.update())
    committed = []
    for _ in range(2):
        server.receive_text(client.append(b"\1\2"))
        (command,) = server.receive_text(client.commit()).commands
        assert isinstance(command, Commit)
        committed.append(command.item_id)
    server.receive_text(client.finish())

    sent = [*server.completed(committed[1], "two"), *server.completed(committed[0], ""), server.finished()]

    assert [client.receive_text(text) for text in sent] == [
        Completed(committed[0], "", None, "neutral"),
        Completed(committed[1], "two", None, "neutral"),
        SessionFinished(),
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=6,
)
session_members = st.sampled_from(
    "modalities input_audio_format sample_rate input_audio_transcription turn_detection audio qa".split()
)
near_updates = st.builds(
    lambda session: json.dumps({"type": "session.update", "session": session}),
    json_values | st.dictionaries(session_members, json_values, max_size=4),
)
client_types = st.sampled_from(
    [
        "session.update",
        "session.finish",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "response.create",
    ]
)
near_events = st.builds(
    lambda event_type, rest: json.dumps({**rest, "type": event_type}),
    client_types,
    st.dictionaries(st.sampled_from(["audio", "session", "event_id"]), json_values, max_size=3),
)
messages = st.text() | st.binary() | near_updates | near_events | json_values.map(json.dumps)


@given(st.lists(messages, max_size=8), st.booleans())
@example(
    sent=['{"type": "session.update", "session": {"sample_rate": 1e400}}', "[" * 99_999, "\ud800"],
    manual=False,
)
def test_whatever_a_client_sends_a_server_answers_in_the_protocol(sent, manual):
    """Sections 3.6, 6.2 and 7.6: known events or a survivable error, and nothing at all after finish."""
    server = ServerSession("s", "m", "{}_1".format, SessionConfig(turn_detection=None) if manual else None)
    server.created()
    for message in sent:
        finishing = server.finishing
        receipt = server.receive_text(message)

        assert not finishing or not (receipt.commands or receipt.replies)
        for reply in map(read_event, receipt.replies):
            assert not isinstance(reply, Unknown)
            assert not isinstance(reply, ErrorEvent) or (reply.survivable and not receipt.commands)
