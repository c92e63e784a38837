"""The vendor's own SDKs, unmodified, in small programs of ours, against our server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from qa_service.asr_server import AsrServer
from tests.clients.conftest import JavaProgram
from tests.clients.expectations import assert_whole_session
from tests.clients.running import Run, reports, run_client
from tests.clients.speech import UTTERANCES, conversation, turns

PROGRAMS = Path(__file__).parent / "programs"

# The oldest that the vendor's page names, and the newest on Maven Central in November 2026.
JAVA_SDKS = ("2.22.5", "2.22.13")
# More than one: a race between closing sides shows itself only now and then.
REPEATS = int(os.environ.get("QA_TEST_CLIENT_REPEATS", "1"))

# The first to run builds its environment within its time.
pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

# Opus, when it comes, gets its line here, and its files in `audio_files`. By default, with nothing said about
# audio or language, the SDKs call the format pcm16 and leave out its rate.
each_format = pytest.mark.parametrize(
    ("audio_format", "rate_hz"),
    [("pcm", 8000), ("pcm", 16000), ("default", 16000)],
    ids=["pcm-8k", "pcm-16k", "default"],
)
each_mode = pytest.mark.parametrize("mode", ["vad", "manual"])


@each_format
@each_mode
@pytest.mark.parametrize(
    ("package", "program"),
    [
        ("dashscope-1.25.6", "dashscope_conversation.py"),
        ("dashscope-2.0.2", "dashscope_conversation.py"),
        ("dashscope-2.0.2", "dashscope_client.py"),
    ],
    ids=["1.25.6-conversation", "2.0.2-conversation", "2.0.2-client"],
)
async def test_the_python_sdk_is_served(
    *,
    server: AsrServer,
    python: Callable[[str], Path],
    package: str,
    program: str,
    mode: str,
    audio_format: str,
    rate_hz: int,
    tmp_path: Path,
) -> None:
    command = [python(package), PROGRAMS / program]
    run = await hold_conversation(
        command, server, mode=mode, audio_format=audio_format, rate_hz=rate_hz, folder=tmp_path
    )

    assert_served(run, mode=mode, audio_format=audio_format, rate_hz=rate_hz)


@pytest.mark.parametrize("repeat", range(REPEATS))
@each_format
@each_mode
@pytest.mark.parametrize("version", JAVA_SDKS)
async def test_the_java_sdk_is_served(
    *,
    server: AsrServer,
    jars: Callable[..., Path],
    java_program: JavaProgram,
    version: str,
    mode: str,
    audio_format: str,
    rate_hz: int,
    tmp_path: Path,
    repeat: int,
) -> None:
    sdk = jars("pom-dashscope.xml", dashscope_version=version)
    command = java_program(PROGRAMS / "DashscopeConversation.java", sdk)
    run = await hold_conversation(
        command, server, mode=mode, audio_format=audio_format, rate_hz=rate_hz, folder=tmp_path
    )

    assert_served(run, mode=mode, audio_format=audio_format, rate_hz=rate_hz)
    assert [told[:2] for told in reports(run)][-2:] == [["closed", 1000], ["done"]]
    assert "already closed" not in run.output


async def hold_conversation(
    command: Sequence[str | Path],
    server: AsrServer,
    *,
    mode: str,
    audio_format: str,
    rate_hz: int,
    folder: Path,
) -> Run:
    """Run one of our programs on what is said."""
    files = audio_files(folder, mode, rate_hz)
    return await run_client([*command, server.url, audio_format, str(rate_hz), mode, *files], folder)


def audio_files(folder: Path, mode: str, rate_hz: int) -> list[Path]:
    """What is said, in one file, or in one for each turn of the manual mode."""
    sounds = turns(rate_hz) if mode == "manual" else [conversation(rate_hz)]
    files = [folder / f"{number}.pcm" for number in range(len(sounds))]
    for file, sound in zip(files, sounds, strict=True):
        file.write_bytes(sound)
    return files


def assert_served(run: Run, *, mode: str, audio_format: str, rate_hz: int) -> None:
    """The program came to its end, and saw a whole session."""
    assert run.exit_code == 0, run.output
    assert reports(run)[-1] == ["done"], run.output
    assert run.close_codes == (1000,)
    assert_whole_session(
        [told[1] for told in reports(run) if told[0] == "event"],
        transcripts=UTTERANCES,
        manual=mode == "manual",
        rate_hz=rate_hz,
        language=None if audio_format == "default" else "en",
    )
