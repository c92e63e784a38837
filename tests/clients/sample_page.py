"""The sample programs of the vendor's product page, cut out of it when the tests run.

The page is no part of this repository: QA_TEST_SEED_PAGE names a copy of it, as text. A sample is what lies
between its first line and the next line of the page's own. It is run as it is, but for the address and, where
that is asked for, the manual mode; the audio lies in its working folder under the name that it asks for.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE_VARIABLE: Final = "QA_TEST_SEED_PAGE"
AUDIO_NAME: Final = "your_audio_file.pcm"

_ADDRESS: Final = "wss://dashscope-intl.aliyuncs.com/api-ws/v1/realtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One program on the page: where it is, what it is called, how it is switched to manual mode."""

    file_name: str
    first_line: str
    line_after: str
    """Without the indentation."""
    manual: tuple[tuple[str, str], ...]
    """Texts, each of which occurs once, and what they are replaced by."""


JAVA_SDK: Final = Sample(
    file_name="Qwen3AsrRealtimeUsage.java",
    first_line="import com.alibaba.dashscope.audio.omni.*;",
    line_after="Python",
    manual=(
        (".transcriptionConfig(", ".enableTurnDetection(false).transcriptionConfig("),
        ("conversation.endSession();", "conversation.commit(); conversation.endSession();"),
    ),
)
PYTHON_SDK: Final = Sample(
    file_name="sample.py",
    first_line="import logging",
    line_after="WebSocket API",
    manual=(
        ("enable_input_audio_transcription=True", "enable_turn_detection=False"),
        ("conversation.end_session()", "conversation.commit(); conversation.end_session()"),
    ),
)
RAW_PYTHON: Final = Sample(
    file_name="sample.py",
    first_line="# pip install websocket-client",
    line_after="Java",
    manual=(("enableServerVad = True", "enableServerVad = False"),),
)
RAW_JAVA: Final = Sample(
    file_name="QwenASRRealtimeClient.java",
    first_line="import org.java_websocket.client.WebSocketClient;",
    line_after="Node.js",
    manual=(("enableServerVad = true", "enableServerVad = false"),),
)
RAW_NODE: Final = Sample(
    file_name="sample.mjs",
    first_line="/**",
    line_after="API リファレンス",
    manual=(("enableServerVad = true", "enableServerVad = false"),),
)


def extract(sample: Sample, page: Path, *, url: str, manual: bool) -> str:
    """The program as it stands on the page, with another address, and in manual mode if wanted.

    Raises:
        LookupError: the page is not as it was when this was written; says what is missing.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    start = _index(lines, sample.first_line, 0)
    program = textwrap.dedent("\n".join(lines[start : _index(lines, sample.line_after, start)]))
    for old, new in ((_ADDRESS, url), *(sample.manual if manual else ())):
        if program.count(old) != 1:
            raise LookupError(f"{old!r} occurs {program.count(old)} times in {sample.file_name}, not once")
        program = program.replace(old, new)
    return program.strip() + "\n"


def _index(lines: list[str], wanted: str, start: int) -> int:
    for index in range(start, len(lines)):
        if lines[index].strip() == wanted:
            return index
    raise LookupError(f"the page has no line {wanted!r} after line {start}")
