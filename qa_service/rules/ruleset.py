"""A rule file, loaded: what calls are pinned to, known by a hash of what it means.

The hash is taken over the rules as read, with every default filled in: blanks, comments, quotes and the
order of keys do not change it. What the language may gain later has a neutral default that the canonical
form leaves out (``omit_defaults``), so that a file keeps its hash when the software is upgraded.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from importlib import resources

import msgspec

from qa_service.rules.engine import CallRules, compile_rules
from qa_service.rules.language import LANGUAGE_VERSION, Rule
from qa_service.rules.reading import read_rules

DEFAULT_FILE = "default.yaml"


class RuleSet:
    """Rules that passed the loader, compiled, with the source to store and their hash to store it by."""

    def __init__(self, source: str, name: str, rules: tuple[Rule, ...]) -> None:
        self.source = source
        self.name = name
        self.rules = rules
        self._compiled = compile_rules(rules)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the rules' canonical form, in hexadecimal."""
        return hashlib.sha256(msgspec.json.encode([LANGUAGE_VERSION, self.rules])).hexdigest()

    def start(self, call_id: str) -> CallRules:
        """Begin to follow a call, whose log is to be fed from its first entry on."""
        return CallRules(call_id, self.hash, self._compiled)

    def __repr__(self) -> str:
        return f"RuleSet({self.name!r}, {len(self.rules)} rules, hash={self.hash[:12]})"


def load_rule_set(source: str, name: str) -> RuleSet:
    """Load the text of a rule file; ``name`` is what messages call it.

    Raises :class:`qa_service.rules.errors.RuleFileError`, which names every problem and its place.
    """
    return RuleSet(source, name, read_rules(source, name))


def default_rule_set() -> RuleSet:
    """Load the rule set that comes with the package."""
    source = resources.files("qa_service.rules").joinpath(DEFAULT_FILE).read_text(encoding="utf-8")
    return load_rule_set(source, DEFAULT_FILE)
