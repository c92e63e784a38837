"""The vendor's own SDKs, unmodified, in small programs of ours, against our server."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from qa_service.asr_server import AsrServer
from tests.clients.conftest import JavaProgram
from tests.clients.expectations import assert_whole_session
from tests.clients.matrix import (
    AUDIOS,
    JAVA_SDKS,
    MODES,
    NESTED,
    NESTING_SDKS,
    PYTHON_SDKS,
    REPEATS,
    Audio,
    PythonSdk,
)
from tests.clients.running import Run, reports, run_client
from tests.clients.speech import UTTERANCES, conversation, turns

PROGRAMS = Path(__file__).parent / "programs"

# The first to run builds its environment within its time.
pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

each_audio = pytest.mark.parametrize("audio", AUDIOS.values(), ids=AUDIOS)
each_mode = pytest.mark.parametrize("mode", MODES)


@each_audio
@each_mode
@pytest.mark.parametrize("sdk", PYTHON_SDKS.values(), ids=PYTHON_SDKS)
async def test_the_python_sdk_is_served(
    *,
    server: AsrServer,
    python: Callable[[str], Path],
    sdk: PythonSdk,
    mode: str,
    audio: Audio,
    tmp_path: Path,
) -> None:
    command = [python(sdk.package), PROGRAMS / sdk.program]
    run = await hold_conversation(command, server, mode=mode, audio=audio, folder=tmp_path)

    assert_served(run, mode=mode, audio=audio)


@pytest.mark.parametrize("audio", NESTED.values(), ids=NESTED)
@pytest.mark.parametrize("sdk", [PYTHON_SDKS[name] for name in NESTING_SDKS], ids=NESTING_SDKS)
async def test_the_nested_audio_format_is_honoured_section_3_1_rule_6(
    *, server: AsrServer, python: Callable[[str], Path], sdk: PythonSdk, audio: Audio, tmp_path: Path
) -> None:
    """The SDK then leaves out the flat members, which would win, and would have other values here."""
    command = [python(sdk.package), PROGRAMS / sdk.program]
    run = await hold_conversation(command, server, mode="vad", audio=audio, folder=tmp_path)

    assert_served(run, mode="vad", audio=audio)


@pytest.mark.parametrize("repeat", range(REPEATS))
@each_audio
@each_mode
@pytest.mark.parametrize("version", JAVA_SDKS)
async def test_the_java_sdk_is_served(
    *,
    server: AsrServer,
    jars: Callable[..., Path],
    java_program: JavaProgram,
    version: str,
    mode: str,
    audio: Audio,
    tmp_path: Path,
    repeat: int,
) -> None:
    sdk = jars("pom-dashscope.xml", dashscope_version=version)
    command = java_program(PROGRAMS / "DashscopeConversation.java", sdk)
    run = await hold_conversation(command, server, mode=mode, audio=audio, folder=tmp_path)

    assert_served(run, mode=mode, audio=audio)
    assert [told[:2] for told in reports(run)][-2:] == [["closed", 1000], ["done"]]
    assert "already closed" not in run.output


async def hold_conversation(
    command: Sequence[str | Path], server: AsrServer, *, mode: str, audio: Audio, folder: Path
) -> Run:
    """Run one of our programs on what is said."""
    files = audio_files(folder, mode, audio)
    return await run_client([*command, server.url, audio.told, str(audio.rate_hz), mode, *files], folder)


def audio_files(folder: Path, mode: str, audio: Audio) -> list[Path]:
    """What is said, in one file, or in one for each turn of the manual mode: an append in base64 a line."""
    sounds = turns(audio.rate_hz) if mode == "manual" else [conversation(audio.rate_hz)]
    files = [folder / f"{number}.appends" for number in range(len(sounds))]
    for file, sound in zip(files, sounds, strict=True):
        appends = audio.cut(sound, audio.rate_hz)
        file.write_bytes(b"".join(base64.b64encode(append) + b"\n" for append in appends))
    return files


def assert_served(run: Run, *, mode: str, audio: Audio) -> None:
    """The program came to its end, and saw a whole session."""
    assert run.exit_code == 0, run.output
    assert reports(run)[-1] == ["done"], run.output
    assert run.close_codes == (1000,)
    assert_whole_session(
        [told[1] for told in reports(run) if told[0] == "event"],
        transcripts=UTTERANCES,
        manual=mode == "manual",
        audio_format=audio.kept,
        rate_hz=audio.rate_hz,
        language=None if audio.told == "default" else "en",
    )
