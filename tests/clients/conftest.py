"""A server for the clients, and the programs they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from qa_service.asr_server import AsrServer, ServerConfig, serve
from tests.clients.environments import (
    EnvironmentUnavailableError,
    compile_java,
    jars_of,
    java_command,
    node_modules,
    python_with,
)

# Its assertions are to say what they saw, as those in tests do.
pytest.register_assert_rewrite("tests.clients.expectations")

T = TypeVar("T")

JavaProgram = Callable[[Path, Path], list[str]]
"""Compiles a source file, once, against the jars of a folder; gives the command that runs it."""


@pytest.fixture
async def server() -> AsyncIterator[AsrServer]:
    """A server as users get it, but with the scripted engine, which needs no model."""
    async with await serve(ServerConfig(port=0, no_auth=True, engine="scripted")) as server:
        await server.wait_ready()
        yield server


@pytest.fixture(scope="session")
def python(cache_dir: Path) -> Callable[[str], Path]:
    """Gives the interpreter with a package, as ``dashscope-2.0.2``."""
    return lambda package: _or_fail(lambda: python_with(package, cache_dir))


@pytest.fixture(scope="session")
def jars(cache_dir: Path) -> Callable[..., Path]:
    """Gives the jars of a POM, with properties of it set."""
    return lambda pom, **properties: _or_fail(lambda: jars_of(pom, cache_dir, **properties))


@pytest.fixture(scope="session")
def java_program(tmp_path_factory: pytest.TempPathFactory) -> JavaProgram:
    compiled: dict[tuple[str, Path], Path] = {}

    def build(source: Path, jars: Path) -> list[str]:
        key = (source.read_text(encoding="utf-8"), jars)
        if key not in compiled:
            classes = tmp_path_factory.mktemp("classes")
            _or_fail(lambda: compile_java(source, jars, classes))
            compiled[key] = classes
        return java_command(compiled[key], jars, source.stem)

    return build


@pytest.fixture(scope="session")
def modules(cache_dir: Path) -> Path:
    """The folder ``node_modules``."""
    return _or_fail(lambda: node_modules(cache_dir))


def _or_fail(obtain: Callable[[], T]) -> T:
    try:
        return obtain()
    except EnvironmentUnavailableError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
