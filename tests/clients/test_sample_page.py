"""The five programs of the vendor's product page, as they stand there, against our server."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Protocol

import pytest

from qa_service.asr_server import AsrServer
from tests.clients.conftest import JavaProgram
from tests.clients.expectations import assert_whole_session
from tests.clients.running import Run, events_after, run_client
from tests.clients.sample_page import (
    AUDIO_NAME,
    JAVA_SDK,
    PAGE_VARIABLE,
    PYTHON_SDK,
    RAW_JAVA,
    RAW_NODE,
    RAW_PYTHON,
    Sample,
    extract,
)
from tests.clients.speech import UTTERANCES, conversation
from tests.clients.test_sdks import JAVA_SDKS, REPEATS

RATE_HZ = 16000  # is what all samples ask for

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

each_mode = pytest.mark.parametrize("manual", [False, True], ids=["vad", "manual"])


class SaveSample(Protocol):
    """Puts a sample of the page, and its audio, into the test's folder."""

    def __call__(self, sample: Sample, *, manual: bool) -> Path: ...


@pytest.fixture
def save_sample(server: AsrServer, tmp_path: Path) -> SaveSample:
    page = os.environ.get(PAGE_VARIABLE)
    if page is None:
        pytest.skip(f"{PAGE_VARIABLE} names no copy of the vendor's product page")

    def save(sample: Sample, *, manual: bool) -> Path:
        (tmp_path / AUDIO_NAME).write_bytes(conversation(RATE_HZ))
        file = tmp_path / sample.file_name
        file.write_text(extract(sample, Path(page), url=server.url, manual=manual), encoding="utf-8")
        return file

    return save


@each_mode
@pytest.mark.parametrize("package", ["dashscope-1.25.6", "dashscope-2.0.2"])
async def test_the_python_sdk_sample_is_served(
    *, save_sample: SaveSample, python: Callable[[str], Path], package: str, manual: bool, tmp_path: Path
) -> None:
    run = await run_client([python(package), save_sample(PYTHON_SDK, manual=manual)], tmp_path)

    assert_ended(run)
    finals = said_after("Final recognized text: ", run.stdout)
    assert finals == expected(manual=manual)
    assert len(said_after("Start session: ", run.stdout)) == 1
    assert run.stdout.count("======Speech Start======") == (0 if manual else 2)
    assert run.stdout.count("======Speech Stop======") == (0 if manual else 2)
    assert not said_after("Error occurred: ", run.stdout)
    assert "[Error]" not in run.stdout
    assert "Audio processing completed." in run.stdout


@pytest.mark.parametrize("repeat", range(REPEATS))
@each_mode
@pytest.mark.parametrize("version", JAVA_SDKS)
async def test_the_java_sdk_sample_is_served(
    *,
    save_sample: SaveSample,
    jars: Callable[..., Path],
    java_program: JavaProgram,
    version: str,
    manual: bool,
    tmp_path: Path,
    repeat: int,
) -> None:
    sdk = jars("pom-dashscope.xml", dashscope_version=version)
    run = await run_client(java_program(save_sample(JAVA_SDK, manual=manual), sdk), tmp_path)

    # It may exit before its close is sent, but is not to give up waiting, which it would close with 1011 for.
    assert_ended(run, close_codes=(1000, 1006))
    # It prints what is said so far and what is said in the end in the same way.
    wanted = expected(manual=manual)
    finals = [text for text, _ in groupby(said_after("transcription: ", run.stdout)) if text in wanted]
    assert finals == wanted
    assert len(said_after("start session: ", run.stdout)) == 1
    assert run.stdout.count("======VAD Speech Start======") == (0 if manual else 2)
    assert run.stdout.count("======VAD Speech Stop======") == (0 if manual else 2)
    # Nor need it hear of its close.
    assert all(told.startswith("1000,") for told in said_after("connection closed code: ", run.stdout))
    assert "already closed" not in run.output
    assert "Error sending audio" not in run.output
    assert "task finished" in run.output


@each_mode
async def test_the_raw_python_sample_is_served(
    *, save_sample: SaveSample, python: Callable[[str], Path], manual: bool, tmp_path: Path
) -> None:
    # That environment holds websocket-client, which is all that the sample imports.
    run = await run_client([python("dashscope-1.25.6"), save_sample(RAW_PYTHON, manual=manual)], tmp_path)

    assert_ended(run)
    assert_served(run, "Received event: ", manual=manual)
    assert "|ERROR|" not in run.output
    assert said_after("Connection closed: ", run.output)


@each_mode
async def test_the_raw_java_sample_is_served(
    *,
    save_sample: SaveSample,
    jars: Callable[..., Path],
    java_program: JavaProgram,
    manual: bool,
    tmp_path: Path,
) -> None:
    command = java_program(save_sample(RAW_JAVA, manual=manual), jars("pom-websocket.xml"))
    run = await run_client(command, tmp_path)

    assert_ended(run)
    assert_served(run, "Received event: ", manual=manual)
    assert "SEVERE" not in run.output
    assert said_after("Connection closed: ", run.output) == ["1000 - ASR finished"]


@each_mode
async def test_the_raw_node_sample_is_served(
    *, save_sample: SaveSample, modules: Path, manual: bool, tmp_path: Path
) -> None:
    program = save_sample(RAW_NODE, manual=manual)
    # Imports are looked for beside the program, and nowhere that an option could name.
    (tmp_path / "node_modules").symlink_to(modules)
    run = await run_client(["node", program], tmp_path)

    assert_ended(run)
    assert_served(run, "[Received Event]: ", manual=manual)
    assert "Error]" not in run.output
    assert said_after("Connection closed: ", run.output) == ["1000 - "]


def expected(*, manual: bool) -> list[str]:
    """What is recognised: in manual mode the samples commit once, at the end."""
    return [" ".join(UTTERANCES)] if manual else list(UTTERANCES)


def said_after(marker: str, text: str) -> list[str]:
    """The rest of each line that holds ``marker``."""
    return [line.partition(marker)[2] for line in text.splitlines() if marker in line]


def assert_ended(run: Run, *, close_codes: tuple[int, ...] = (1000,)) -> None:
    assert run.exit_code == 0, run.output
    assert len(run.close_codes) == 1
    assert run.close_codes[0] in close_codes


def assert_served(run: Run, marker: str, *, manual: bool) -> None:
    """The sample printed the events of a whole session."""
    assert_whole_session(
        events_after(marker, run.output),
        transcripts=expected(manual=manual),
        manual=manual,
        rate_hz=RATE_HZ,
        language="zh",
    )
