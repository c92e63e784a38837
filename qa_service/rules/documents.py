"""YAML with places: reads a document node by node and collects everything wrong with it.

Readers return their default where there is no node (a required key that is missing has been noted by
then), and where the document is wrong, which they note. So one pass finds all problems, and the grammar
(``language``) reads as a description of the format.
Whoever reads must call :meth:`Document.refuse_if_wrong` before using what was read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

import yaml

from qa_service.rules.errors import Problem, RuleFileError

Fields: TypeAlias = dict[str, yaml.Node]
Word = TypeVar("Word", bound=str)

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"-?[0-9]{1,6}(?:\.[0-9]{1,6})?")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%")
_FRACTION = re.compile(r"[01](?:\.[0-9]*)?")
# Three decimals at most, and none of milliseconds: every duration is a whole number of milliseconds.
_DURATION = re.compile(r"([0-9]{1,9}(?=ms)|[0-9]{1,6}(?:\.[0-9]{1,3})?(?!ms))(ms|s|m|h)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
MAX_DURATION_MS = 24 * 3_600_000
"""The longest duration accepted: a day, longer than any call."""


class Document:
    """One YAML document under a name, and the problems found in it so far; ``holds`` is its main key."""

    def __init__(self, source: str, name: str, *, holds: str = "rules") -> None:
        self._name = name
        self._holds = holds
        self._problems: list[Problem] = []
        self.root = self._compose(source)

    def refuse_if_wrong(self) -> None:
        """Raise :class:`RuleFileError` with all problems, in the order of their places."""
        if self._problems:
            raise RuleFileError(self._name, tuple(sorted(self._problems)))

    def note(self, node: yaml.Node, message: str) -> None:
        """Note a problem at a node."""
        mark = node.start_mark
        self._problems.append(Problem(mark.line + 1, mark.column + 1, message))

    def read_mapping(
        self, node: yaml.Node, what: str, *, required: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> Fields:
        """Read a mapping's fields; the unknown, the repeated and the missing are problems."""
        if not isinstance(node, yaml.MappingNode):
            self._note_type(node, f"{what}, with {_list((*required, *optional))}")
            return {}
        fields: Fields = {}
        for key, value in node.value:
            self._read_key(key, value, what, (*required, *optional), fields)
        missing = [key for key in required if key not in fields]
        if missing:
            self.note(node, f"{what} lacks {_list(missing)}")
        return fields

    def read_one_of(self, node: yaml.Node, what: str, choices: Sequence[str]) -> tuple[str, yaml.Node] | None:
        """Read a mapping of exactly one of the keys; None if it is not one."""
        fields = self.read_mapping(node, what, optional=choices)
        if len(fields) == 1:
            return next(iter(fields.items()))
        if isinstance(node, yaml.MappingNode) and (fields or not node.value):
            self.note(node, f"{what} needs exactly one of {_list(choices)}")
        return None

    def read_list(self, node: yaml.Node | None, what: str) -> list[yaml.Node]:
        """Read a list that holds something."""
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._note_type(node, f"a list of {what}")
            return []
        if not node.value:
            self.note(node, f"this list of {what} is empty: expected at least one")
        return list(node.value)

    def read_text(self, node: yaml.Node | None, what: str) -> str:
        """Read a text that is not blank."""
        if node is None:
            return ""
        if not _has_tag(node, "str"):
            hint = "; in quotes it would be text" if isinstance(node, yaml.ScalarNode) else ""
            self._note_type(node, f"{what} as text", hint)
            return ""
        text: str = node.value.strip()
        if not text:
            self.note(node, f"expected {what}, found only blanks")
        return text

    def read_match(self, node: yaml.Node | None, what: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Read a text of a given form; ``what`` describes it, with an example."""
        if node is None:
            return None
        match = pattern.fullmatch(node.value) if _has_tag(node, "str") else None
        if match is None:
            self._note_type(node, what)
        return match

    def read_choice(self, node: yaml.Node | None, what: str, choices: Sequence[Word], default: Word) -> Word:
        """Read one of a few words."""
        if node is None:
            return default
        if _has_tag(node, "str"):
            for choice in choices:
                if choice == node.value:
                    return choice
        hint = _nearest(node.value, choices) if isinstance(node, yaml.ScalarNode) else ""
        self._note_type(node, f"{what}: {_list(choices, 'or')}", hint)
        return default

    def read_integer(self, node: yaml.Node | None, what: str, *, least: int) -> int:
        """Read a whole number of at most nine digits."""
        if node is None:
            return least
        if _has_tag(node, "int") and _INTEGER.fullmatch(node.value) and int(node.value) >= least:
            return int(node.value)
        self._note_type(node, f"{what}: a whole number from {least} on")
        return least

    def read_fraction(self, node: yaml.Node | None, what: str, default: float) -> float:
        """Read a number from 0 to 1."""
        if node is None:
            return default
        is_number = _has_tag(node, "float") or _has_tag(node, "int")
        if is_number and _FRACTION.fullmatch(node.value) and float(node.value) <= 1:
            return float(node.value)
        self._note_type(node, f"{what}: a number from 0 to 1")
        return default

    def read_number(self, node: yaml.Node | None, what: str, *, least: float, most: float) -> float | None:
        """Read a decimal number within bounds; None where there is no node."""
        if node is None:
            return None
        is_number = _has_tag(node, "float") or _has_tag(node, "int")
        if is_number and _NUMBER.fullmatch(node.value) and least <= float(node.value) <= most:
            return float(node.value)
        self._note_type(node, f"{what}: a number from {least:g} to {most:g}")
        return None

    def read_percent(self, node: yaml.Node | None, what: str) -> float | None:
        """Read a share such as ``70%``; returns 0 to 1, None where there is no node."""
        match = self.read_match(node, f"{what}: a share such as 70%", _PERCENT)
        if node is None or match is None:
            return None
        share = round(float(match[1]) / 100, 5)
        if not 0 < share < 1:
            self.note(node, f"{what} must be more than 0% and less than 100%")
        return share

    def read_flag(self, node: yaml.Node | None, what: str) -> bool:
        """Read ``true`` or ``false``; False where there is no node."""
        if node is None:
            return False
        if _has_tag(node, "bool"):
            return str(node.value).lower() in {"true", "yes", "on"}
        self._note_type(node, f"{what}: true or false")
        return False

    def read_scalar(self, node: yaml.Node, what: str) -> str | int | float | bool:
        """Read one value: text, a number, or true and false."""
        if _has_tag(node, "bool"):
            return self.read_flag(node, what)
        is_whole = _has_tag(node, "int")
        if (is_whole or _has_tag(node, "float")) and _NUMBER.fullmatch(node.value):
            return int(node.value) if is_whole else float(node.value)
        return self.read_text(node, what)

    def read_items(self, node: yaml.Node) -> list[yaml.Node]:
        """Return the items of a list, or the one thing that stands in its place."""
        return self.read_list(node, "values") if isinstance(node, yaml.SequenceNode) else [node]

    def read_duration(self, node: yaml.Node | None, what: str, default: int, *, allow_zero: bool) -> int:
        """Read a duration such as ``500ms``, ``10s``, ``1.5m`` or ``1h``; returns milliseconds."""
        if node is None:
            return default
        match = _DURATION.fullmatch(node.value) if _has_tag(node, "str") else None
        if match is None:
            self._note_type(node, f"{what}: a duration such as 500ms, 10s, 1.5m or 1h")
            return default
        number, unit = match.groups()
        duration = round(float(number) * _MILLISECONDS[unit])
        if duration > MAX_DURATION_MS:
            self.note(node, f"{what} is longer than a day")
        if not duration and not allow_zero:
            self.note(node, f"{what} must be longer than nothing")
        return duration

    def _read_key(
        self, key: yaml.Node, value: yaml.Node, what: str, known: Sequence[str], fields: Fields
    ) -> None:
        if not _has_tag(key, "str"):
            self._note_type(key, f"a key of {what}: {_list(known, 'or')}")
        elif key.value not in known:
            hint = _nearest(key.value, known)
            self.note(key, f"unknown key {_quote(key)} in {what}{hint}; expected {_list(known, 'or')}")
        elif key.value in fields:
            self.note(key, f"key {_quote(key)} stands twice in {what}")
        else:
            fields[key.value] = value

    def _note_type(self, node: yaml.Node, expected: str, hint: str = "") -> None:
        self.note(node, f"expected {expected}; found {_describe(node)}{hint}")

    def _compose(self, source: str) -> yaml.Node:
        try:
            root = yaml.compose(source, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            raise RuleFileError(self._name, (_explain(error),)) from error
        except yaml.reader.ReaderError as error:
            line = source.count("\n", 0, error.position) + 1
            column = error.position - source.rfind("\n", 0, error.position)
            raise self._refusal(line, column, "a character that YAML does not allow") from error
        except RecursionError as error:
            raise self._refusal(1, 1, "nested too deeply") from error
        if root is None:
            raise self._refusal(1, 1, f"the file is empty: expected version: 1 and {self._holds}:")
        return root

    def _refusal(self, line: int, column: int, message: str) -> RuleFileError:
        return RuleFileError(self._name, (Problem(line, column, message),))


def _explain(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    context = f" {error.context}" if error.context else ""
    return Problem(line, column, f"not YAML{context}: {error.problem}")


def _has_tag(node: yaml.Node, kind: str) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _TAG + kind


def _quote(node: yaml.Node) -> str:
    text = str(node.value)
    longest = 40  # characters of a wrong value that a message repeats
    return repr(text if len(text) <= longest else text[:longest] + "…")


def _describe(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    kinds = {
        "int": "number",
        "float": "number",
        "bool": "yes/no value",
        "null": "nothing",
        "timestamp": "date",
    }
    kind = kinds.get(node.tag.removeprefix(_TAG))
    if kind == "nothing":
        return "nothing"
    return _quote(node) if kind is None else f"the {kind} {_quote(node)}"


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _list(words: Iterable[str], conjunction: str = "and") -> str:
    *first, last = (repr(word) for word in words)
    return f"{', '.join(first)} {conjunction} {last}" if first else last
