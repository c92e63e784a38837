"""Sections 1.1 and 6.1 with real clients: over TLS and with a key; a wrong key is refused the handshake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.clients.conftest import RIGHT_KEY, GuardedServer, JavaProgram
from tests.clients.expectations import one_refusal
from tests.clients.matrix import AUDIOS, JAVA_SDKS, PYTHON_SDKS, PythonSdk
from tests.clients.running import Run, run_client, run_client_until
from tests.clients.test_sdks import PROGRAMS, assert_served, audio_files

AUDIO = AUDIOS["pcm-16k"]

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

each_python_sdk = pytest.mark.parametrize("sdk", PYTHON_SDKS.values(), ids=PYTHON_SDKS)
each_java_sdk = pytest.mark.parametrize("version", JAVA_SDKS)


@each_python_sdk
async def test_the_python_sdk_is_served_over_tls_with_its_key(
    guarded: GuardedServer, python: Callable[[str], Path], sdk: PythonSdk, tmp_path: Path
) -> None:
    run = await converse([python(sdk.package), PROGRAMS / sdk.program], guarded, tmp_path)

    assert_served(run, mode="vad", audio=AUDIO)


@each_java_sdk
async def test_the_java_sdk_is_served_over_tls_with_its_key(
    guarded: GuardedServer,
    jars: Callable[..., Path],
    java_program: JavaProgram,
    version: str,
    tmp_path: Path,
) -> None:
    sdk = jars("pom-dashscope.xml", dashscope_version=version)
    command = java_program(PROGRAMS / "DashscopeConversation.java", sdk)
    run = await converse(command, guarded, tmp_path)

    assert_served(run, mode="vad", audio=AUDIO)


@each_python_sdk
async def test_the_python_sdk_says_that_its_key_is_wrong(
    guarded: GuardedServer, python: Callable[[str], Path], sdk: PythonSdk, tmp_path: Path
) -> None:
    await assert_refused([python(sdk.package), PROGRAMS / sdk.program], guarded, tmp_path)


@each_java_sdk
async def test_the_java_sdk_says_that_its_key_is_wrong(
    guarded: GuardedServer,
    jars: Callable[..., Path],
    java_program: JavaProgram,
    version: str,
    tmp_path: Path,
) -> None:
    sdk = jars("pom-dashscope.xml", dashscope_version=version)
    await assert_refused(java_program(PROGRAMS / "DashscopeConversation.java", sdk), guarded, tmp_path)


def arguments(guarded: GuardedServer, folder: Path) -> list[str | Path]:
    files = audio_files(folder, "vad", AUDIO)
    return [guarded.server.url, AUDIO.told, str(AUDIO.rate_hz), "vad", *files]


async def converse(command: Sequence[str | Path], guarded: GuardedServer, folder: Path) -> Run:
    """Run one of our programs over TLS, with its key."""
    environment = guarded.environment(RIGHT_KEY)
    return await run_client([*command, *arguments(guarded, folder)], folder, environment)


async def assert_refused(command: Sequence[str | Path], guarded: GuardedServer, folder: Path) -> None:
    """One of our programs with a wrong key is answered 401, says so, and gets no session."""
    # The conversation class of 2.0.2 says why in its log alone, which is off unless asked for.
    environment = {**guarded.environment("sk-wrong"), "DASHSCOPE_LOGGING_LEVEL": "info"}
    with one_refusal():
        await run_client_until("401", [*command, *arguments(guarded, folder)], folder, environment)
