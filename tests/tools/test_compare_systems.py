"""What clients have of each server's messages: ours by its events, WhisperLive's by a recorded session."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

from qa_service.audio.line import LINE_RATE_HZ
from qa_service.bench.listening import Heard
from qa_service.bench.recordings import Recording
from qa_service.protocol.events import Completed, Partial
from tools.compare.captions import Caption, Said, last_text, settled_ms
from tools.compare.conversations import converse
from tools.compare.processor import ProcessorTime
from tools.compare.whisper_live_messages import Message, completed, options, parse, shown
from tools.compare.whisperlive import captions_of

# A leg of some prompts, as WhisperLive 0.10.0 answered it with Whisper base on a busy machine: a line of what
# was said and when, then each message with the time of the leg at which it came.
RECORDED = Path(__file__).with_name("whisper_live_session.jsonl")


@pytest.fixture
def english() -> list[Recording]:
    """Five recordings, of one to five seconds."""
    times = np.arange(5 * LINE_RATE_HZ) / LINE_RATE_HZ
    tone = (8000 * np.sin(2 * np.pi * 500 * times)).astype(np.int16)
    return [Recording(f"{n}", "tones", "en", f"beep {n}", tone[: n * LINE_RATE_HZ]) for n in range(1, 6)]


def recorded() -> tuple[list[Said], list[tuple[float, Message]]]:
    """What was said, and what came."""
    first, *lines = (json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines())
    said = [Said(*utterance) for utterance in first["said"]]
    return said, [(line["at_ms"], parse(json.dumps(line["message"]))) for line in lines]


def segments(*texts: str, finished: int) -> str:
    """A message of WhisperLive with the first ``finished`` segments complete."""
    found = [{"start": "0.000", "end": "1.000", "text": text} for text in texts]
    return json.dumps(
        {"uid": "a", "segments": [{**s, "completed": n < finished} for n, s in enumerate(found)]}
    )


def test_a_recorded_session_gives_its_text_and_the_times_at_which_it_had_settled() -> None:
    said, messages = recorded()

    text = shown(messages)
    settled = settled_ms(said, text)
    complete = settled_ms(said, completed(messages))

    assert [utterance.text for utterance in said] != []
    assert all(at_ms is not None and at_ms > s.start_ms for at_ms, s in zip(settled, said, strict=True))
    # What is complete does not change, so it had settled by then.
    pairs = [(a, b) for a, b in zip(settled, complete, strict=True) if a is not None and b is not None]
    assert pairs != []
    assert all(a <= b for a, b in pairs)
    assert last_text(completed(messages)) in last_text(text)


def test_text_that_whisper_live_calls_complete_is_kept_apart_from_all_that_it_shows() -> None:
    texts = [segments("Good", finished=0), segments("Good", " day", finished=1)]
    messages = [(100.0 * number, parse(text)) for number, text in enumerate(texts, start=1)]

    assert shown(messages) == [Caption(100, "Good"), Caption(200, "Good day")]
    assert completed(messages) == [Caption(100, ""), Caption(200, "Good")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"uid": "a", "message": "SERVER_READY", "backend": "faster_whisper"}',
            Message("a", "SERVER_READY"),
        ),
        ('{"uid": "a", "status": "WAIT", "message": 9.5}', Message("a", 9.5, "WAIT")),
        ('{"uid": "a", "message": "DISCONNECT"}', Message("a", "DISCONNECT")),
        ('{"uid": "a", "language": "en", "language_prob": 0.9}', Message("a")),
    ],
)
def test_what_else_whisper_live_says_is_read(text: str, message: Message) -> None:
    assert parse(text) == message
    assert shown([(0.0, message)]) == []


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        parse("[]")


def test_whisper_live_is_asked_for_its_voice_activity_and_all_segments() -> None:
    asked = json.loads(options("a", "en"))

    assert asked["use_vad"] is True
    assert asked["send_last_n_segments"] == 500


def test_captions_of_our_server_are_its_partials_until_the_final() -> None:
    heard = Heard()
    heard.take(Partial(item_id="1", text="good", stash=" mourning"), 100.0)
    heard.take(Partial(item_id="2", text="", stash="how"), 300.0)
    heard.take(Completed(item_id="1", transcript="Good morning."), 400.0)
    heard.take(Completed(item_id="2", transcript="How?"), 500.0)

    every, final = captions_of(heard)

    assert every == [
        Caption(100, "good mourning "),
        Caption(300, "good mourning how"),
        Caption(400, "Good morning. how"),
        Caption(500, "Good morning. How?"),
    ]
    assert [caption.text.strip() for caption in final] == ["Good morning.", "Good morning. How?"]


def test_a_conversation_says_each_recording_once_before_any_comes_again(english: list[Recording]) -> None:
    conversation = converse(english, 60, seed=1)
    texts = [utterance.text for utterance in conversation.said]

    assert len(set(texts[: len(english)])) == min(len(texts), len(english))
    assert conversation == converse(english, 60, seed=1)
    assert len(conversation.pcm) / 16_000 >= 60
    pauses = [after.start_ms - before.end_ms for before, after in pairwise(conversation.said)]
    assert min(pauses) >= 1200
    assert all(s.start_ms < s.end_ms for s in conversation.said)


def test_what_other_work_took_is_all_but_the_server_and_its_client() -> None:
    before = ProcessorTime(at_s=10, server_s=1, client_s=2, machine_s=100)
    after = ProcessorTime(at_s=20, server_s=6, client_s=3, machine_s=120)

    assert after.server_cores(before) == 0.5
    assert after.other_cores(before) == 1.4


def test_the_processor_time_of_the_machine_goes_on() -> None:
    before = ProcessorTime.read(0)
    after = ProcessorTime.read(0)

    assert after.machine_s >= before.machine_s > 0
    assert after.at_s >= before.at_s
