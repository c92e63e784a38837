"""The YAML in which faults are asked for; ``docs/faults.md`` describes it for its users.

Decided here: a fault file is loaded whole or not at all, and every message about it names the place and what
was expected there.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, assert_never, get_args

import yaml

from qa_service.protocol import ErrorType
from qa_service.rules.documents import Document, Fields
from qa_service.rules.errors import RuleFileError
from qa_service.testing.faults import (
    EVENT_TYPES,
    FINAL,
    Close,
    Deed,
    DelayHandshake,
    Drop,
    EventType,
    FallSilent,
    Fault,
    FaultPlan,
    FaultRule,
    Mishandle,
    Mishap,
    Moment,
    ReadSlowly,
    Refuse,
    SendBinary,
    SendError,
    SendGarbage,
    Strike,
)

Kind: TypeAlias = Literal[
    "refuse",
    "delay_handshake",
    "drop",
    "close",
    "silence",
    "garbage",
    "binary",
    "error",
    "slow_reads",
    "missing",
    "repeated",
    "reordered",
    "late",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

StrikeKind: TypeAlias = Literal["drop", "close", "silence", "garbage", "binary", "error", "slow_reads"]
_OPTIONS: Final[Mapping[StrikeKind, tuple[str, ...]]] = {
    "drop": (),
    "close": ("code",),
    "silence": (),
    "garbage": ("text",),
    "binary": (),
    "error": ("type", "code", "message"),
    "slow_reads": ("lasting",),
}
_WHEN: Final = ("after_audio", "before", "number")
_WHICH: Final = ("event", "numbers")
_ERROR_TYPES: Final = (ErrorType.SERVER.value, ErrorType.INVALID_REQUEST.value)
_STATUSES: Final = range(400, 600)
# What may stand in a close frame: RFC 6455, section 7.4, without the codes reserved for the absence of one.
_CLOSE_CODES: Final = (*range(1000, 1004), *range(1007, 1015), *range(3000, 5000))
_EXPECTED: Final = {
    "status": "400 to 599",
    "close code": "1000 to 1003, 1007 to 1014 or 3000 to 4999",
}


class FaultFileError(Exception):
    """A fault file was refused whole; the message has a line for each problem, with its place."""


def read_fault_file(path: Path) -> FaultPlan:
    """The plan in a file.

    Raises:
        FaultFileError: it cannot be read, or says what no fault file can say.
    """
    try:
        return load_faults(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise FaultFileError(f"cannot read the fault file {path}: {error}") from error


def load_faults(source: str, name: str) -> FaultPlan:
    """The plan in a text; ``name`` stands for it in messages.

    Raises:
        FaultFileError: it says what no fault file can say.
    """
    try:
        reader = _Reader(Document(source, name, holds="faults"))
        plan = reader.read_plan()
        reader.document.refuse_if_wrong()
    except RuleFileError as error:
        raise FaultFileError(str(error)) from error
    return plan


@dataclass(frozen=True, slots=True)
class _Reader:
    document: Document

    def read_plan(self) -> FaultPlan:
        document = self.document
        fields = document.read_mapping(
            document.root, "a fault file", required=("version", "faults"), optional=("seed",)
        )
        version = fields.get("version")
        if version is not None and document.read_integer(version, "version", least=1) != 1:
            document.note(version, "this release reads version 1")
        rules = [self._read_rule(node) for node in document.read_list(fields.get("faults"), "faults")]
        seed = document.read_integer(fields.get("seed"), "seed", least=0)
        return FaultPlan(rules=tuple(rule for rule in rules if rule is not None), seed=seed)

    def _read_rule(self, node: yaml.Node) -> FaultRule | None:
        """Read one fault and whom it strikes; None if it is wrong, which is noted."""
        document = self.document
        fields = document.read_mapping(node, "a fault", optional=(*KINDS, "sessions", "probability"))
        kinds: list[Kind] = [kind for kind in KINDS if kind in fields]
        if len(kinds) != 1:
            # What is no mapping, or has keys that nobody knows, has been noted already.
            if isinstance(node, yaml.MappingNode) and len(fields) == len(node.value):
                document.note(node, f"a fault needs exactly one of {', '.join(KINDS)}; found {len(kinds)}")
            return None
        kind = kinds[0]
        return FaultRule(
            fault=self._read_fault(kind, fields[kind]),
            sessions=self._read_numbers(fields.get("sessions"), "session numbers"),
            probability=document.read_fraction(fields.get("probability"), "probability", 1.0),
        )

    def _read_fault(self, kind: Kind, node: yaml.Node) -> Fault:
        match kind:
            case "refuse":
                fields = self._read_options(kind, node, required=("status",))
                return Refuse(self._read_one_of_range(fields.get("status"), "status", _STATUSES, 503))
            case "delay_handshake":
                return DelayHandshake(self._read_by(self._read_options(kind, node, required=("by",))))
            case "missing" | "repeated" | "reordered":
                return self._read_mishandling(kind, self._read_options(kind, node, optional=_WHICH))
            case "late":
                fields = self._read_options(kind, node, required=("by",), optional=_WHICH)
                return self._read_mishandling(kind, fields)
            case _:
                return self._read_strike(kind, node)

    def _read_strike(self, kind: StrikeKind, node: yaml.Node) -> Strike:
        document = self.document
        required = ("bytes_per_second",) if kind == "slow_reads" else ()
        fields = self._read_options(kind, node, required=required, optional=(*_OPTIONS[kind], *_WHEN))
        deed: Deed
        match kind:
            case "drop":
                deed = Drop()
            case "close":
                deed = Close(self._read_one_of_range(fields.get("code"), "close code", _CLOSE_CODES, 1011))
            case "silence":
                deed = FallSilent()
            case "garbage":
                deed = SendGarbage(document.read_text(fields.get("text"), "a text") or SendGarbage().text)
            case "binary":
                deed = SendBinary()
            case "error":
                deed = SendError(
                    document.read_choice(fields.get("type"), "an error type", _ERROR_TYPES, SendError().type),
                    document.read_text(fields.get("code"), "an error code") or SendError().code,
                    document.read_text(fields.get("message"), "a message") or SendError().message,
                )
            case "slow_reads":
                deed = ReadSlowly(
                    document.read_integer(fields.get("bytes_per_second"), "bytes_per_second", least=0),
                    self._read_duration(fields.get("lasting"), "lasting"),
                )
            case _:
                assert_never(kind)
        return Strike(deed=deed, moment=self._read_moment(fields))

    def _read_moment(self, fields: Fields) -> Moment:
        document = self.document
        if "before" not in fields:
            if "number" in fields:
                document.note(fields["number"], "'number' counts events: expected 'before' beside it")
            return Moment(after_audio_ms=self._read_duration(fields.get("after_audio"), "after_audio") or 0)
        if "after_audio" in fields:
            document.note(fields["after_audio"], "expected either 'after_audio' or 'before', found both")
        before: EventType = document.read_choice(fields["before"], "an event", EVENT_TYPES, FINAL)
        return Moment(before=before, number=document.read_integer(fields.get("number"), "number", least=1))

    def _read_mishandling(self, how: Mishap, fields: Fields) -> Mishandle:
        event: EventType = self.document.read_choice(fields.get("event"), "an event", EVENT_TYPES, FINAL)
        return Mishandle(
            how=how,
            late_by_ms=self._read_by(fields),
            event=event,
            numbers=self._read_numbers(fields.get("numbers"), "event numbers"),
        )

    def _read_options(
        self, kind: Kind, node: yaml.Node, *, required: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> Fields:
        """Read the options of a kind; nothing at all stands for none of them."""
        if isinstance(node, yaml.ScalarNode) and not node.value and not required:
            return {}
        return self.document.read_mapping(node, f"a fault {kind!r}", required=required, optional=optional)

    def _read_by(self, fields: Fields) -> int:
        return self.document.read_duration(fields.get("by"), "by", 0, allow_zero=False)

    def _read_duration(self, node: yaml.Node | None, what: str) -> int | None:
        return None if node is None else self.document.read_duration(node, what, 0, allow_zero=True)

    def _read_numbers(self, node: yaml.Node | None, what: str) -> frozenset[int]:
        nodes = self.document.read_list(node, what)
        return frozenset(self.document.read_integer(item, f"one of the {what}", least=1) for item in nodes)

    def _read_one_of_range(
        self, node: yaml.Node | None, what: str, allowed: Container[int], default: int
    ) -> int:
        if node is None:
            return default
        number = self.document.read_integer(node, what, least=0)
        if number not in allowed:
            self.document.note(node, f"{number} is no {what}; expected {_EXPECTED[what]}")
        return number
