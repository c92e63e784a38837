"""What any input to the protocol's two decoders must come to: a documented event or a documented error.

One input is a conversation: messages one after the other, a line each. An oracle returns if all is well and
raises otherwise, `AssertionError` for a broken promise, anything else for what a decoder let escape.
"""

from __future__ import annotations

import itertools
from typing import get_args

from qa_service.protocol import (
    LANGUAGES,
    AppendAudio,
    ClientSession,
    Command,
    Commit,
    Configure,
    ErrorEvent,
    Finish,
    MalformedMessage,
    ServerEvent,
    ServerSession,
    SessionConfig,
    SessionState,
    SessionUpdated,
    Unknown,
)
from qa_service.protocol.config import SAMPLE_RATES
from qa_service.protocol.reader import read_event


def check_client(conversation: bytes) -> None:
    """A client hears these messages: each is an event, or `MalformedMessage` and changes nothing."""
    numbers = itertools.count()
    session = ClientSession(SessionConfig(), lambda: f"event_{next(numbers)}")
    for message in conversation.split(b"\n"):
        state, unfinished = session.state, session.unfinished_items
        try:
            event = session.receive_text(message)
        except MalformedMessage as error:
            _require(str(error).endswith("."), "an error is a sentence")
            _require(
                (state, unfinished) == (session.state, session.unfinished_items), "an error changes nothing"
            )
            continue
        _require(isinstance(event, get_args(ServerEvent)), "what is read is an event")
        _require(_has_not_gone_back(state, session.state), "a session does not go back")
        if isinstance(event, SessionUpdated):
            _check_config(event.config)
            _require(session.honoured == event.config.extensions, "what is honoured is what was confirmed")


def check_server(conversation: bytes) -> None:
    """A server hears these messages: each is answered in the protocol, and the session can be ended."""
    numbers = itertools.count()
    session = ServerSession("sess_1", "m", lambda prefix: f"{prefix}_{next(numbers)}")
    session.created()
    turns: list[str] = []
    for message in conversation.split(b"\n"):
        finishing = session.finishing
        receipt = session.receive_text(message)
        replies = [read_event(reply) for reply in receipt.replies]
        errors = [reply for reply in replies if isinstance(reply, ErrorEvent)]
        _require(not any(isinstance(reply, Unknown) for reply in replies), "replies are documented events")
        _require(all(error.survivable for error in errors), "no client can make the server end the session")
        _require(not (errors and receipt.commands), "what is refused has no effect")
        _require(not finishing or not (replies or receipt.commands), "a finished session is silent")
        for command in receipt.commands:
            _check_command(command, session)
            if isinstance(command, Commit):
                turns.append(command.item_id)
    for item_id in turns:
        for text in session.completed(item_id, "words"):
            _require(not isinstance(read_event(text), Unknown | ErrorEvent), "a turn gets its result")
    if session.finishing:
        read_event(session.finished())


def _check_command(command: Command, session: ServerSession) -> None:
    match command:
        case Configure(config):
            _check_config(config)
            _require(config == session.config, "the configuration is the session's")
        case AppendAudio(audio):
            whole = session.config.input_audio_format == "opus" or len(audio) % 2 == 0
            _require(whole, "PCM comes in whole samples")
        case Finish():
            _require(session.finishing, "the session knows that it is finishing")
        case _:
            pass


def _check_config(config: SessionConfig) -> None:
    _require(config.sample_rate in SAMPLE_RATES, "the sample rate is one of the protocol's")
    _require(config.language is None or config.language in LANGUAGES, "the language is one of the protocol's")
    if (turn := config.turn_detection) is not None:
        _require(-1 <= turn.threshold <= 1, "the threshold is in its range")
        _require(200 <= turn.silence_duration_ms <= 6000, "the silence is in its range")


def _has_not_gone_back(before: SessionState, after: SessionState) -> bool:
    return before.value <= after.value or after is SessionState.FINISHED


def _require(kept: bool, promise: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not kept:
        raise AssertionError(f"broken: {promise}")
