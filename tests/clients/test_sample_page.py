"""The five programs of the vendor's product page, as they stand there; over TLS and with a key, too."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from tests.clients.conftest import RIGHT_KEY, GuardedServer, JavaProgram
from tests.clients.expectations import assert_whole_session, one_refusal
from tests.clients.matrix import JAVA_SDKS, REPEATS
from tests.clients.running import Run, events_after, run_client, run_client_until
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

RATE_HZ = 16000  # is what all samples ask for

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

each_mode = pytest.mark.parametrize("manual", [False, True], ids=["vad", "manual"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where a sample is put and run, and the server that it is sent to."""

    page: Path
    folder: Path
    guarded: GuardedServer

    def save(self, sample: Sample, *, manual: bool = False) -> Path:
        """Put a sample of the page, and its audio, into the folder."""
        (self.folder / AUDIO_NAME).write_bytes(conversation(RATE_HZ))
        file = self.folder / sample.file_name
        program = extract(sample, self.page, url=self.guarded.server.url, manual=manual)
        file.write_text(program, encoding="utf-8")
        return file

    async def run(self, command: Sequence[str | Path]) -> Run:
        """Run a sample with its key to its end."""
        return await run_client(command, self.folder, self.guarded.environment(RIGHT_KEY))

    async def refuse(self, command: Sequence[str | Path]) -> None:
        """Run a sample with a wrong key until it says that the answer was 401."""
        with one_refusal():
            await run_client_until("401", command, self.folder, self.guarded.environment("sk-wrong"))


@pytest.fixture
def stage(guarded: GuardedServer, tmp_path: Path) -> Stage:
    page = os.environ.get(PAGE_VARIABLE)
    if page is None:
        pytest.skip(f"{PAGE_VARIABLE} names no copy of the vendor's product page")
    return Stage(page=Path(page), folder=tmp_path, guarded=guarded)


@each_mode
@pytest.mark.parametrize("package", ["dashscope-1.25.6", "dashscope-2.0.2"])
async def test_the_python_sdk_sample_is_served(
    *, stage: Stage, python: Callable[[str], Path], package: str, manual: bool
) -> None:
    run = await stage.run([python(package), stage.save(PYTHON_SDK, manual=manual)])

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
    stage: Stage,
    jars: Callable[..., Path],
    java_program: JavaProgram,
    version: str,
    manual: bool,
    repeat: int,
) -> None:
    sdk = jars("pom-dashscope.xml", dashscope_version=version)
    run = await stage.run(java_program(stage.save(JAVA_SDK, manual=manual), sdk))

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
    *, stage: Stage, python: Callable[[str], Path], manual: bool
) -> None:
    # That environment holds websocket-client, which is all that the sample imports.
    run = await stage.run([python("dashscope-1.25.6"), stage.save(RAW_PYTHON, manual=manual)])

    assert_ended(run)
    assert_served(run, "Received event: ", manual=manual)
    assert "|ERROR|" not in run.output
    assert said_after("Connection closed: ", run.output)


@each_mode
async def test_the_raw_java_sample_is_served(
    *, stage: Stage, jars: Callable[..., Path], java_program: JavaProgram, manual: bool
) -> None:
    run = await stage.run(java_program(stage.save(RAW_JAVA, manual=manual), jars("pom-websocket.xml")))

    # Over TLS it may exit before the goodbyes are exchanged: a broken connection to the server.
    assert_ended(run, close_codes=(1000, 1006))
    assert_served(run, "Received event: ", manual=manual)
    assert "SEVERE" not in run.output
    assert said_after("Connection closed: ", run.output) == ["1000 - ASR finished"]


@each_mode
async def test_the_raw_node_sample_is_served(*, stage: Stage, modules: Path, manual: bool) -> None:
    run = await stage.run(node_command(stage, modules, manual=manual))

    assert_ended(run)
    assert_served(run, "[Received Event]: ", manual=manual)
    assert "Error]" not in run.output
    assert said_after("Connection closed: ", run.output) == ["1000 - "]


async def test_the_raw_python_sample_says_that_its_key_is_wrong(
    stage: Stage, python: Callable[[str], Path]
) -> None:
    await stage.refuse([python("dashscope-1.25.6"), stage.save(RAW_PYTHON)])


async def test_the_raw_java_sample_says_that_its_key_is_wrong(
    stage: Stage, jars: Callable[..., Path], java_program: JavaProgram
) -> None:
    await stage.refuse(java_program(stage.save(RAW_JAVA), jars("pom-websocket.xml")))


async def test_the_raw_node_sample_says_that_its_key_is_wrong(stage: Stage, modules: Path) -> None:
    await stage.refuse(node_command(stage, modules))


def node_command(stage: Stage, modules: Path, *, manual: bool = False) -> list[str | Path]:
    program = stage.save(RAW_NODE, manual=manual)
    # Imports are looked for beside the program, and nowhere that an option could name.
    (stage.folder / "node_modules").symlink_to(modules)
    return ["node", program]


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
