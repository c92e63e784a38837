"""Both decoders against whole conversations gone wrong: a documented event or a documented error.

The oracles are those of the coverage-guided fuzzers (tools/fuzz), whose corpus has to pass them here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from qa_service.protocol import ErrorEvent, ServerSession, Unknown
from qa_service.protocol.reader import read_event
from tools.fuzz import oracles

CORPUS = Path(oracles.__file__).with_name("corpus")
SERVER_EVENTS = sorted((CORPUS / "server_events").iterdir())
CLIENT_EVENTS = sorted((CORPUS / "client_events").iterdir())

DICTIONARY = [
    line[1:-1].replace('\\"', '"').replace("\\\\", "\\").encode()
    for line in (CORPUS / "../protocol.dict").read_text(encoding="utf-8").splitlines()
    if line.startswith('"')
]
# Cuts inside characters are wanted too, so all of this is about bytes.
words = st.sampled_from(DICTIONARY) | st.binary(max_size=4)


@st.composite
def mutations(draw, files):
    """A conversation of the corpus, with pieces of it replaced, moved, doubled or cut out."""
    text = draw(st.sampled_from(files)).read_bytes()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 40, len(text))))
        piece = draw(words | st.just(text[start:end] * 2) | st.just(b"") | st.just(text))
        text = text[:start] + piece + text[end:]
    return text


@given(mutations(SERVER_EVENTS))
def test_a_client_takes_any_conversation(conversation):
    oracles.check_client(conversation)


@given(mutations(CLIENT_EVENTS))
def test_a_server_takes_any_conversation(conversation):
    oracles.check_server(conversation)


@pytest.mark.parametrize("path", SERVER_EVENTS, ids=lambda path: path.stem)
def test_what_the_protocol_documents_is_read_as_events(path):
    conversation = path.read_bytes()
    events = [read_event(line) for line in conversation.splitlines()]

    oracles.check_client(conversation)
    assert not any(isinstance(event, Unknown) for event in events)


@pytest.mark.parametrize("path", CLIENT_EVENTS, ids=lambda path: path.stem)
def test_what_the_protocol_documents_is_taken_without_an_error(path):
    conversation = path.read_bytes()
    session = ServerSession("sess_1", "m", "{}_1".format)
    session.created()
    replies = [reply for line in conversation.splitlines() for reply in session.receive_text(line).replies]
    # Commit without audio is the one documented refusal of the examples; here audio precedes it.
    errors = [json.loads(reply) for reply in replies if isinstance(read_event(reply), ErrorEvent)]

    oracles.check_server(conversation)
    assert errors == []


@pytest.mark.parametrize(
    ("check", "conversation"),
    [
        (oracles.check_client, b'{"type": "session.updated"}'),
        (oracles.check_server, b'{"type": "session.update", "session": {}}'),
    ],
)
def test_an_oracle_notices_a_broken_promise(check, conversation, monkeypatch):
    check(conversation)
    monkeypatch.setattr(oracles, "SAMPLE_RATES", (3,))

    with pytest.raises(AssertionError, match="broken: the sample rate"):
        check(conversation)
