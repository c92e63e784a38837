"""docs/clients.md has a row for each client that is run here, and for no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.clients import test_access, test_sample_page, test_sdks
from tests.clients.environments import PINS

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
HEAD = ("client", "version", "over", "modes", "audio", "result")
# Parameters of the tests that name a version, and those that only repeat.
VERSIONS = ("sdk", "version", "package")

SERVED, REFUSED = "served", "refused with 401, and says so"
CLEAR, KEY, WRONG_KEY = "ws", "wss, key", "wss, wrong key"


def pinned(file: str, pattern: str) -> str:
    """The version in one of the files of tools/clients, where the samples are of no SDK."""
    found = re.search(pattern, (PINS / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert found, (file, pattern)
    return found[1]


WEBSOCKET_CLIENT = "websocket-client " + pinned(
    "requirements-dashscope-1.25.6.txt", r"^websocket-client==(\S+)"
)
JAVA_WEBSOCKET = "Java-WebSocket " + pinned(
    "pom-websocket.xml", r"<artifactId>Java-WebSocket</artifactId>\s*<version>(.+)</version>"
)
WS = "ws " + pinned("package.json", r'"ws": "(.+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one test: its parameters tell the rest."""

    client: str
    over: str
    result: str = SERVED
    version: str = ""
    """Where the test has no parameter for it."""
    modes: str = ""
    audio: str = ""


# The samples ask for 16 kHz themselves.
TABLE: dict[Callable[..., Any], Rows] = {
    test_sdks.test_the_python_sdk_is_served: Rows(client="Python SDK", over=CLEAR),
    test_sdks.test_the_nested_audio_format_is_honoured_section_3_1_rule_6: Rows(
        client="Python SDK", over=CLEAR, modes="vad"
    ),
    test_access.test_the_python_sdk_is_served_over_tls_with_its_key: Rows(
        client="Python SDK", over=KEY, modes="vad", audio="pcm-16k"
    ),
    test_access.test_the_python_sdk_says_that_its_key_is_wrong: Rows(
        client="Python SDK", over=WRONG_KEY, result=REFUSED
    ),
    test_sdks.test_the_java_sdk_is_served: Rows(client="Java SDK", over=CLEAR),
    test_access.test_the_java_sdk_is_served_over_tls_with_its_key: Rows(
        client="Java SDK", over=KEY, modes="vad", audio="pcm-16k"
    ),
    test_access.test_the_java_sdk_says_that_its_key_is_wrong: Rows(
        client="Java SDK", over=WRONG_KEY, result=REFUSED
    ),
    test_sample_page.test_the_python_sdk_sample_is_served: Rows(
        client="sample: Python SDK", over=KEY, audio="pcm-16k"
    ),
    test_sample_page.test_the_java_sdk_sample_is_served: Rows(
        client="sample: Java SDK", over=KEY, audio="pcm-16k"
    ),
    test_sample_page.test_the_raw_python_sample_is_served: Rows(
        client="sample: raw Python", version=WEBSOCKET_CLIENT, over=KEY, audio="pcm-16k"
    ),
    test_sample_page.test_the_raw_python_sample_says_that_its_key_is_wrong: Rows(
        client="sample: raw Python", version=WEBSOCKET_CLIENT, over=WRONG_KEY, result=REFUSED
    ),
    test_sample_page.test_the_raw_java_sample_is_served: Rows(
        client="sample: raw Java", version=JAVA_WEBSOCKET, over=KEY, audio="pcm-16k"
    ),
    test_sample_page.test_the_raw_java_sample_says_that_its_key_is_wrong: Rows(
        client="sample: raw Java", version=JAVA_WEBSOCKET, over=WRONG_KEY, result=REFUSED
    ),
    test_sample_page.test_the_raw_node_sample_is_served: Rows(
        client="sample: raw Node", version=WS, over=KEY, audio="pcm-16k"
    ),
    test_sample_page.test_the_raw_node_sample_says_that_its_key_is_wrong: Rows(
        client="sample: raw Node", version=WS, over=WRONG_KEY, result=REFUSED
    ),
}


def test_the_table_is_what_is_run() -> None:
    page = PAGE.read_text(encoding="utf-8")
    table = "\n".join(["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|", *lines()])

    assert table in page, f"docs/clients.md is to hold:\n{table}"
    assert page.count("\n|") == table.count("\n|") + 1, "there are other rows as well"


def test_each_run_of_a_client_is_in_the_table() -> None:
    modules: tuple[ModuleType, ...] = (test_sdks, test_access, test_sample_page)
    tests = {
        value
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("test_") and callable(value)
    }

    assert tests == set(TABLE)


def lines() -> Iterator[str]:
    for test, rows in TABLE.items():
        parameters = parameters_of(test)
        versions = next((parameters[name] for name in VERSIONS if name in parameters), [rows.version])
        modes = parameters.get("mode") or parameters.get("manual") or [rows.modes]
        audio = parameters.get("audio") or [rows.audio]
        for version in versions:
            cells = (rows.client, version, rows.over, ", ".join(modes), ", ".join(audio), rows.result)
            yield "| " + " | ".join(cells) + " |"


def parameters_of(test: Callable[..., Any]) -> dict[str, list[str]]:
    """The ids under which a test is run, by parameter."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    return {mark.args[0]: [str(name) for name in mark.kwargs.get("ids") or mark.args[1]] for mark in marks}
