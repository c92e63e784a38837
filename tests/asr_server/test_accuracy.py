"""How well the whole server recognises recorded speech: voice activity, endpointing and Whisper together.

The project's own sample calls are always at hand. For the larger corpus, set QA_TEST_SPEECH_DATA to a folder
that holds ``speech/manifest.jsonl`` (one JSON object a line: file, language, source, text) and the recordings
beside it. They are too large, and some not free enough, to be in the repository.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

import qa_service.samples
from qa_service.asr_server import AsrServer, ServerConfig, serve
from qa_service.audio.line import through_line
from qa_service.bench.scoring import edits
from tests.asr_server.support import Client, connected, silence, update

pytestmark = pytest.mark.models

MAX_WER = 0.06
# The protocol's own defaults, and those of the service.
BALANCED_8K = update(input_audio_format="pcm", sample_rate=8000)
SAMPLES = Path(qa_service.samples.__file__).parent
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


@dataclass(frozen=True)
class Recording:
    path: Path
    text: str

    def over_the_line(self) -> bytes:
        """The recording as 16-bit PCM that has been through a telephone line."""
        samples, rate_hz = soundfile.read(self.path, dtype="float32")
        return through_line(np.asarray(samples), rate_hz).tobytes()


@pytest.fixture
async def whisper_server(cache_dir: Path) -> AsyncIterator[AsrServer]:
    config = ServerConfig(port=0, no_auth=True, cache_dir=cache_dir, emotion=False)
    async with await serve(config) as server:
        await server.wait_ready()
        yield server


async def transcribe(server: AsrServer, pcm: bytes) -> Client:
    """A client whose session heard ``pcm`` at 8 kHz and is finished."""
    async with connected(server.url, BALANCED_8K) as client:
        await client.append(pcm, size=1600)
        await client.finish()
        return client


@pytest.mark.parametrize(
    ("call", "language", "max_wer"), [("en-cancellation", "en", 0.05), ("de-calm-customer", "de", 0.15)]
)
async def test_the_sample_calls_are_recognised_in_their_language(
    whisper_server: AsrServer, call: str, language: str, max_wer: float
) -> None:
    calls = {entry["id"]: entry for entry in json.loads((SAMPLES / "manifest.json").read_text())["calls"]}
    legs, _ = soundfile.read(SAMPLES / calls[call]["file"], dtype="int16")
    errors = words = 0
    for leg, samples in zip(calls[call]["legs"], legs.T, strict=True):
        client = await transcribe(whisper_server, samples.tobytes())
        lines = [line["text"] for line in calls[call]["lines"] if line["leg"] == leg["leg"]]
        said, heard = plain_words(" ".join(lines)), plain_words(" ".join(client.transcripts))
        errors += edits(said, heard)
        words += len(said)

        assert {event["language"] for event in client.of_type(".completed")} == {language}
    assert errors / words <= max_wer


@pytest.mark.shared_data
async def test_english_prompts_over_the_telephone_are_recognised(
    whisper_server: AsrServer, english_prompts: list[Recording]
) -> None:
    errors = words = 0
    for recording in english_prompts:
        pcm = silence(0.5) + recording.over_the_line() + silence(1.0)
        client = await transcribe(whisper_server, pcm)
        said, heard = plain_words(recording.text), plain_words(" ".join(client.transcripts))
        errors += edits(said, heard)
        words += len(said)

    print(f"word error rate {errors / words:.1%} ({errors} of {words})")  # noqa: T201 - the figure is the point
    assert errors / words <= MAX_WER


@pytest.fixture(scope="module")
def english_prompts() -> list[Recording]:
    folder = os.environ.get("QA_TEST_SPEECH_DATA")
    if not folder:
        pytest.skip("QA_TEST_SPEECH_DATA names no folder with speech recordings")
    speech = Path(folder) / "speech"
    entries = [json.loads(line) for line in (speech / "manifest.jsonl").read_text().splitlines()]
    return [
        Recording(speech / entry["file"], entry["text"])
        for entry in entries
        if entry["language"] == "en" and "asterisk" in entry["source"]
    ]


def plain_words(text: str) -> list[str]:
    spelt = re.sub(r"\d+", lambda number: _spell(number.group()), text.lower())
    return re.sub(r"[^\w\s']", " ", spelt).split()


def _spell(digits: str) -> str:
    number = int(digits)
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
    return " ".join(_ONES[int(digit)] for digit in digits)
