"""What can be wrong with rules."""

from __future__ import annotations

from dataclasses import dataclass


class RulesError(Exception):
    """Base of all errors of this package."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong in a rule file, and where; line and column count from 1."""

    line: int
    column: int
    message: str


class RuleFileError(RulesError):
    """A rule file was refused whole; whoever wrote it can mend it from the message, one line a problem."""

    def __init__(self, name: str, problems: tuple[Problem, ...]) -> None:
        self.name = name
        self.problems = problems
        super().__init__("\n".join(f"{name}:{p.line}:{p.column}: {p.message}" for p in problems))


class PhraseError(RulesError):
    """A phrase cannot be understood; the message says why."""


class CallLogError(RulesError):
    """A call's log breaks its own order, such as speech of a leg that never started."""
