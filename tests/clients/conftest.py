"""A server for the clients, and the programs they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from qa_service.asr_server import AsrServer, ServerConfig, TlsFiles, serve
from tests.asr_server.certificates import Authority, Issued
from tests.clients.environments import (
    EnvironmentUnavailableError,
    compile_java,
    jars_of,
    java_command,
    java_trust,
    node_modules,
    python_with,
)

# Its assertions are to say what they saw, as those in tests do.
pytest.register_assert_rewrite("tests.clients.expectations")

RIGHT_KEY = "sk-right"

T = TypeVar("T")

JavaProgram = Callable[[Path, Path], list[str]]
"""Compiles a source file, once, against the jars of a folder; gives the command that runs it."""


@pytest.fixture
async def server() -> AsyncIterator[AsrServer]:
    """A server as users get it, but with the scripted engine, which needs no model."""
    async with await serve(ServerConfig(port=0, no_auth=True, engine="scripted")) as server:
        await server.wait_ready()
        yield server


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedServer:
    """A server that takes TLS alone, and asks for a key."""

    server: AsrServer
    trust: dict[str, str]
    """What makes Python, Java and Node trust its CA: environment variables."""

    def environment(self, key: str) -> dict[str, str]:
        """Of a client with this key."""
        return {**self.trust, "DASHSCOPE_API_KEY": key}


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "ca")


@pytest.fixture(scope="session")
def certificate(authority: Authority) -> Issued:
    return authority.issue("server")


@pytest.fixture(scope="session")
def trust(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    certificate = str(authority.cert)
    java = _or_fail(lambda: java_trust(authority.cert, tmp_path_factory.mktemp("trust")))
    return {"SSL_CERT_FILE": certificate, "NODE_EXTRA_CA_CERTS": certificate, **java}


@pytest.fixture
async def guarded(certificate: Issued, trust: dict[str, str]) -> AsyncIterator[GuardedServer]:
    config = ServerConfig(
        port=0,
        api_keys=(RIGHT_KEY,),
        engine="scripted",
        tls=TlsFiles(cert_file=certificate.cert, key_file=certificate.key),
    )
    async with await serve(config) as server:
        await server.wait_ready()
        yield GuardedServer(server=server, trust=trust)


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
