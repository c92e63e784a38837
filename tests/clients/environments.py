"""What the clients need to run: Python environments, jars and Node modules, each fetched once into the cache.

The versions are pinned in tools/clients. Java and Node themselves have to be there: where they are not, the
tests that need them *fail*, with one line that says what to install.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from qa_service.fetching import exclusive

PINS: Final = Path(__file__).parents[2] / "tools" / "clients"

_STORE_PASSWORD: Final = "changeit"  # noqa: S105 - what Java's own store has; a CA's certificate is no secret

_FETCH_WITHIN_S: Final = 600.0
_OLDEST_JAVA: Final = 11  # that compiles our program
_COMPILER: Final = "jdk.compiler"
_JAVA_REMEDY: Final = (
    "the Java clients need Java with its compiler, and Maven "
    "(Debian: apt-get install openjdk-17-jdk-headless maven)"
)
_NODE_REMEDY: Final = "the Node client needs Node and npm (Debian: apt-get install nodejs npm)"

# A client lives for seconds: quick to start is what counts, and two cores are shared by all.
_JVM: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xmx128m")


class EnvironmentUnavailableError(Exception):
    """A client cannot be run here; one line with the remedy."""


def python_with(package: str, cache_dir: Path) -> Path:
    """The interpreter of an environment with a package and its dependencies, as ``dashscope-2.0.2``."""
    pins = PINS / f"requirements-{package}.txt"

    def install(home: Path) -> None:
        _run(sys.executable, "-m", "venv", "--clear", home)
        pip = (home / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
        _run(*pip, "--require-hashes", "--only-binary=:all:", "--requirement", pins)

    return _kept(cache_dir, package, pins.read_bytes() + sys.version.encode(), install) / "bin" / "python"


def jars_of(pom: str, cache_dir: Path, **properties: str) -> Path:
    """The folder of the jars that a POM asks for, with some of its properties set."""
    if not _java_compiles():
        raise EnvironmentUnavailableError(_JAVA_REMEDY)
    settings = [f"-D{name.replace('_', '.')}={value}" for name, value in properties.items()]

    def install(home: Path) -> None:
        if not shutil.which("mvn"):
            raise EnvironmentUnavailableError(_JAVA_REMEDY)
        # Not every user has a home folder for Maven to keep house in.
        with tempfile.TemporaryDirectory(dir=home, prefix="maven-") as repository:
            _run(
                *("mvn", "--batch-mode", "--quiet", "-Dstyle.color=never", "--strict-checksums"),
                *(f"--file={PINS / pom}", f"-Dmaven.repo.local={repository}", *settings),
                *("dependency:copy-dependencies", "-DincludeScope=runtime"),
                f"-DoutputDirectory={home / 'jars'}",
            )

    stem = "-".join((Path(pom).stem.removeprefix("pom-"), *properties.values(), "java"))
    return _kept(cache_dir, stem, (PINS / pom).read_bytes(), install) / "jars"


def node_modules(cache_dir: Path) -> Path:
    """The folder ``node_modules`` that the lock file asks for."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise EnvironmentUnavailableError(_NODE_REMEDY)
    files = [PINS / "package.json", PINS / "package-lock.json"]

    def install(home: Path) -> None:
        for file in files:
            shutil.copy(file, home)
        with tempfile.TemporaryDirectory(dir=home, prefix="npm-") as cache:
            quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
            _run("npm", "ci", *quiet, "--ignore-scripts", f"--prefix={home}", f"--cache={cache}")

    content = b"".join(file.read_bytes() for file in files)
    return _kept(cache_dir, "node", content, install) / "node_modules"


def compile_java(source: Path, jars: Path, classes: Path) -> None:
    """Compile one file against jars; a Java can hold the compiler though no ``javac`` is installed."""
    compiler = ("java", *_JVM, "--module", f"{_COMPILER}/com.sun.tools.javac.Main")
    # Each jar by name, for wildcards are a gift of the launcher `javac`; and without annotation processing,
    # for which one of the SDK's jars would offer itself.
    class_path = os.pathsep.join(str(jar) for jar in sorted(jars.glob("*.jar")))
    _run(*compiler, "-proc:none", "-nowarn", "-encoding", "UTF-8", "-cp", class_path, "-d", classes, source)


def java_command(classes: Path, jars: Path, main_class: str) -> list[str]:
    """The command that runs a compiled program."""
    return ["java", *_JVM, "-Dfile.encoding=UTF-8", "-cp", f"{classes}:{jars}/*", main_class]


def java_trust(certificate: Path, folder: Path) -> dict[str, str]:
    """The variable by which Java trusts a CA; empty where there is no Java, which its own tests say."""
    if not shutil.which("keytool"):
        return {}
    store = folder / "trust.p12"
    _run(
        *("keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", certificate),
        *("-keystore", store, "-storetype", "PKCS12", "-storepass", _STORE_PASSWORD),
    )
    option = "-Djavax.net.ssl.trustStore"
    return {"JAVA_TOOL_OPTIONS": f"{option}={store} {option}Password={_STORE_PASSWORD}"}


@functools.cache
def _java_compiles() -> bool:
    """Whether there is a Java that can compile what it runs."""
    java = shutil.which("java")
    if java is None:
        return False
    # Each module with the version of the Java, as java.base@17.0.15.
    modules = subprocess.run([java, "--list-modules"], check=False, capture_output=True, text=True).stdout
    compiler = re.search(rf"^{re.escape(_COMPILER)}@(\d+)", modules, re.MULTILINE)
    return compiler is not None and int(compiler[1]) >= _OLDEST_JAVA


def _kept(cache_dir: Path, stem: str, content: bytes, install: Callable[[Path], None]) -> Path:
    """The folder in the cache for this content; ``install`` fills it if no complete one is there."""
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:16]}"
    home = cache_dir / "clients" / name
    with exclusive(cache_dir, f"clients-{name}"):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            install(home)
            (home / "complete").touch()
    return home


def _run(*command: str | Path) -> None:
    program = Path(command[0]).name
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_FETCH_WITHIN_S)
    except subprocess.TimeoutExpired:
        raise EnvironmentUnavailableError(f"{program} has not ended after {_FETCH_WITHIN_S:g} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it said nothing"]
        blame = next((line for line in said if "ERROR" in line or "error" in line), said[-1])
        raise EnvironmentUnavailableError(f"{program} failed: {blame}")
