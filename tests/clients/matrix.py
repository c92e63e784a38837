"""Which clients are run, and what they are told of their audio; docs/clients.md has it as a table."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.clients.speech import ogg_appends, packet_appends, pcm_appends

# More than one: a race between closing sides shows itself only now and then.
REPEATS: Final = int(os.environ.get("QA_TEST_CLIENT_REPEATS", "1"))

MODES: Final = ("vad", "manual")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonSdk:
    """A program of ours on a version of the vendor's Python SDK."""

    package: str
    program: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """What a program of ours is told of its audio, and how that is cut into appends."""

    told: str
    """As the programs take it; with "default" they tell the SDK nothing."""
    rate_hz: int
    kept: str
    """What the server has to have understood."""
    cut: Callable[[bytes, int], list[bytes]] = pcm_appends


PYTHON_SDKS: Final = {
    "1.25.6-conversation": PythonSdk(package="dashscope-1.25.6", program="dashscope_conversation.py"),
    "2.0.2-conversation": PythonSdk(package="dashscope-2.0.2", program="dashscope_conversation.py"),
    "2.0.2-client": PythonSdk(package="dashscope-2.0.2", program="dashscope_client.py"),
}
JAVA_SDKS: Final = ("2.22.5", "2.22.13")
"""The oldest that the vendor's page names, and the newest on Maven Central in November 2026."""

AUDIOS: Final = {
    "pcm-8k": Audio(told="pcm", rate_hz=8000, kept="pcm"),
    "pcm-16k": Audio(told="pcm", rate_hz=16_000, kept="pcm"),
    # With nothing said about audio or language, the SDKs call the format pcm16 and leave out its rate.
    "default": Audio(told="default", rate_hz=16_000, kept="pcm"),
    # No SDK has a name for Opus: all take the format as a text.
    "opus-ogg": Audio(told="opus", rate_hz=16_000, kept="opus", cut=ogg_appends),
    "opus-packets": Audio(told="opus", rate_hz=16_000, kept="opus", cut=packet_appends),
}
NESTED: Final = {
    "nested-pcm-8k": Audio(told="nested-pcm", rate_hz=8000, kept="pcm"),
    "nested-opus": Audio(told="nested-opus", rate_hz=8000, kept="opus", cut=packet_appends),
}
"""Of the SDKs that have an argument for it: the format and rate as members of ``session.audio.input``."""
NESTING_SDKS: Final = ("2.0.2-conversation", "2.0.2-client")
