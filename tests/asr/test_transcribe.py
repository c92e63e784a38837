"""A file goes through a recogniser, and its events come out as dictionaries."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
import soundfile

from qa_service.asr import transcribe
from qa_service.asr.transcribe import TranscriptionFailed, transcribe_file
from qa_service.protocol.config import SessionConfig

CONFIG = SessionConfig(sample_rate=8000)


@pytest.fixture
def tone(tmp_path):
    """0.55 s of a tone, in stereo, at 44.1 kHz."""
    time = np.arange(int(0.55 * 44_100)) / 44_100
    left = 0.5 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / "tone.flac"
    soundfile.write(path, np.stack([left, left], axis=1), 44_100)
    return path


@pytest.mark.parametrize("realtime", [True, False])
async def test_all_of_a_file_is_sent_and_all_events_are_told(scripted, tone, realtime):
    received = bytearray()

    async def script(connection):
        await connection.greet()
        while (message := await connection.socket.receive_json(timeout=10))["type"] != "session.finish":
            received.extend(transcribe_audio(message))
        await connection.say("i1", "a tone")
        await connection.send("session.finished")
        await connection.await_close()

    events = []
    clock = asyncio.get_running_loop().time
    async with scripted(script) as endpoint:
        began = clock()
        await transcribe_file(tone, endpoint, CONFIG, realtime=realtime, emit=events.append)
        took = clock() - began

    samples = np.frombuffer(bytes(received), "<i2") / 32767
    assert len(samples) == pytest.approx(0.55 * 8000, abs=2)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)
    assert [event["event"] for event in events] == [
        "session_created",
        "session_updated",
        "completed",
        "session_finished",
    ]
    assert (events[2]["transcript"], events[2]["emotion"], events[2]["language"]) == ("a tone", "angry", "en")
    assert json.dumps(events)
    assert not realtime or took >= 0.5


def transcribe_audio(message: dict) -> bytes:
    import base64  # noqa: PLC0415 - only here

    return base64.b64decode(message["audio"])


async def test_a_lost_session_is_one_line_that_names_the_file(answering, tone):
    async with answering(401) as endpoint:
        with pytest.raises(TranscriptionFailed) as caught:
            await transcribe_file(tone, endpoint, CONFIG, realtime=False, emit=print)

    assert str(caught.value).startswith(f"{tone}: recogniser refused the API key (401)")


@pytest.mark.parametrize("content", [None, b"this is no audio"])
def test_a_file_that_is_no_audio_is_named(tmp_path, content):
    path = tmp_path / "notes.wav"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(TranscriptionFailed, match=r"cannot read .*notes\.wav"):
        transcribe.read_pcm(path, 8000)
