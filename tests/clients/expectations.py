"""What every client has to see of a session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

from qa_service.metrics import REGISTRY
from tests.clients.running import Event

_RESULT = "conversation.item.input_audio_transcription"
_AFTER_SPEECH = (
    "input_audio_buffer.committed",
    "conversation.item.created",
    f"{_RESULT}.completed",
)
_VAD_ORDER = ("input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", *_AFTER_SPEECH)
# What the scripted engine claims to hear where no language is asked for.
_DETECTED = "en"


def assert_whole_session(
    events: Sequence[Event],
    *,
    transcripts: Sequence[str],
    manual: bool,
    audio_format: str = "pcm",
    rate_hz: int,
    language: str | None,
) -> None:
    """A session from its creation to its end, with these transcripts and nothing amiss.

    ``language`` is what the client asked for.
    """
    kinds = [event["type"] for event in events]

    assert kinds[:2] == ["session.created", "session.updated"]
    assert kinds.index("session.finished") == len(kinds) - 1
    assert "error" not in kinds
    session = events[1]["session"]
    assert session["input_audio_format"] == audio_format
    assert session["sample_rate"] == rate_hz
    assert (session["input_audio_transcription"] or {}).get("language") == language
    assert (session["turn_detection"] is None) == manual

    items = list(dict.fromkeys(_item(event) for event in events[2:-1]))
    assert len(items) == len(transcripts)
    for item, transcript in zip(items, transcripts, strict=True):
        _assert_utterance(
            [event for event in events[2:-1] if _item(event) == item],
            transcript=transcript,
            order=_AFTER_SPEECH if manual else _VAD_ORDER,
            language=language or _DETECTED,
        )


@contextmanager
def one_refusal() -> Iterator[None]:
    """A block in which the server refuses one handshake for its key, and lets none through."""
    refused, accepted = _handshakes()
    yield
    assert _handshakes() == (refused + 1, accepted)


def _handshakes() -> tuple[float, float]:
    refused = REGISTRY.get_sample_value("qa_server_sessions_refused_total", {"reason": "unauthorised"})
    accepted = REGISTRY.get_sample_value("qa_server_sessions_total")
    return refused or 0.0, accepted or 0.0


def _assert_utterance(
    events: Sequence[Event], *, transcript: str, order: Sequence[str], language: str
) -> None:
    """The events of one item: in order, partials that only grow, the words that were said."""
    partials = [event for event in events if event["type"] == f"{_RESULT}.text"]
    others = [event for event in events if event not in partials]
    final = events[-1]

    assert [event["type"] for event in others] == list(order)
    assert final["transcript"] == transcript
    assert {event["language"] for event in (*partials, final)} == {language}
    assert all(event["emotion"] for event in (*partials, final))

    stable = [event["text"] for event in (*partials, {"text": transcript})]
    assert all(later.startswith(earlier) for earlier, later in pairwise(stable)), stable
    shown = [event["text"] + event["stash"] for event in partials]
    assert all(text for text in shown), shown


def _item(event: Event) -> str:
    """Which utterance an event is about; `conversation.item.created` says it in another place."""
    return event["item"]["id"] if "item" in event else event["item_id"]
