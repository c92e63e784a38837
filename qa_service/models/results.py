"""What a look at the models on this machine comes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    """What was found of a model on this machine."""

    OK = "ok"
    ABSENT = "absent"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of checking one model."""

    name: str
    path: Path
    state: State
    detail: str
    """What is wrong, or the size; one line."""
