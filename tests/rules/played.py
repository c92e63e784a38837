"""Dialogues as the library's tests write them, played as the log of a call."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from qa_service.domain.entries import LogEntry
from qa_service.domain.redaction import Redactor
from tests.rules.dialogues import Dialogue

FOLDER = Path(__file__).parent / "library"
TURN_MS = 300
"""From the end of one line to the beginning of the next."""
WORD_MS, SIGN_MS = 350, 180
"""How long a word takes, or a sign of Chinese or Japanese: slower than any rule calls fast."""
LEAST_MS = 1_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """A dialogue, and whether it raises a rule."""

    rule: str
    test: str
    language: str
    raises: bool
    dialogue: list[dict[str, Any]] = field(repr=False)
    call: dict[str, str] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        return [str(line[leg]) for line in self.dialogue for leg in ("agent", "customer") if leg in line]


@cache
def read_cases(theme: str) -> tuple[Case, ...]:
    document = yaml.safe_load((FOLDER / f"{theme}.yaml").read_text(encoding="utf-8"))
    return tuple(Case(**case) for case in document["tests"])


@cache
def read_ordinary() -> tuple[Case, ...]:
    document = yaml.safe_load((FOLDER / "ordinary.yaml").read_text(encoding="utf-8"))
    return tuple(Case(rule="", test="ordinary", raises=False, **call) for call in document["calls"])


def play(case: Case) -> list[LogEntry]:
    """Lay the lines out in time, one after the other where they do not say when; redacted as in a call."""
    dialogue, redactor = Dialogue().begin(), Redactor()
    covered = {"agent": 0, "customer": 0}
    for leg in covered:
        dialogue.start(leg, **case.call)
    now = 0
    for line in case.dialogue:
        if "pause" in line:
            now += _read_ms(line["pause"])
            continue
        leg = "agent" if "agent" in line else "customer"
        text = str(line[leg])
        start = _read_ms(line["at"]) if "at" in line else now + TURN_MS
        end = start + (_read_ms(line["lasts"]) if "lasts" in line else _measure(text, case.language))
        if start > covered[leg]:
            dialogue.hush(leg, start)
        redacted, redactions = redactor.redact(leg, text, start, end)
        feeling = line.get("emotion")
        dialogue.say(
            leg,
            redacted,
            start,
            end,
            redactions=redactions,
            language=case.language,
            emotion=feeling,
            emotion_confidence=line.get("confidence", 0.9) if feeling else None,
            anger_rank=line.get("rank"),
            anger_daily=line.get("a_day"),
            loudness_dbfs=line.get("loudness"),
        )
        covered[leg] = end
        now = max(now, end)
    for leg in covered:
        dialogue.hush(leg, now + TURN_MS)
    for leg in covered:
        dialogue.end(leg)
    return dialogue.end_call().entries


def _measure(text: str, language: str) -> int:
    signs = len(re.findall(r"\w", text)) * SIGN_MS
    return max(LEAST_MS, signs if language in {"zh", "ja"} else len(text.split()) * WORD_MS)


def _read_ms(seconds: str) -> int:
    return int(seconds.removesuffix("s")) * 1_000
