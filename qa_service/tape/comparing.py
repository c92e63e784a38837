"""How two outcomes of one call differ, in words.

Compared is what a rule, a report or a reader would notice: what was said where, what was not heard and why,
how calls and legs began and ended, which incidents came of it. Not compared is what depends on when results
came in: the steps in which quiet was covered, how entries of two legs lie among each other in the log, and
when a final arrived. Times may differ by :data:`TOLERANCE_MS`, since a recogniser that was started anew in
the middle of a leg counts in frames of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import msgspec

from qa_service.domain.entries import LogEntry

TOLERANCE_MS: Final = 250

_ENTRY_DETAILS: Final = ("kind", "ordinal", "text", "language", "emotion", "reason", "role")
_INCIDENT_DETAILS: Final = ("rule_id", "rule_version", "state")
_TIMES: Final = ("start_ms", "end_ms", "opened_ms", "closed_ms")


def describe_entry(entry: LogEntry) -> dict[str, Any]:
    """An entry as JSON takes it."""
    described: dict[str, Any] = msgspec.to_builtins(entry)
    return described


def describe_incident(row: Mapping[str, Any]) -> dict[str, Any]:
    """An incident as JSON takes it; ``row`` as in ``qa.incident``."""
    evidence = row["evidence"]
    plain = {name: row[name] for name in ("rule_id", "rule_version", "rule_set_hash", "severity", "anchor")}
    times = {name: row[name] for name in ("state", "n", "opened_ms", "closed_ms")}
    known = msgspec.json.decode(evidence) if isinstance(evidence, str) else evidence
    return {"incident_id": str(row["incident_id"]), **plain, **times, "evidence": known}


def find_differences(
    expected: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Compare two lists of ``{"entry": …}`` and ``{"incident": …}``; quiet is left out."""
    for (kind, leg), pairs in _paired(expected, found):
        for number, (one, other) in enumerate(pairs, start=1):
            if (difference := _compare(one, other)) is not None:
                yield f"{leg or 'call'}: {kind} {number}: {difference}"


def _paired(
    expected: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[tuple[str, str], Iterator[tuple[Any, Any]]]]:
    sides = _grouped(expected), _grouped(found)
    for key in sorted(sides[0].keys() | sides[1].keys()):
        yield key, zip_longest(sides[0].get(key, []), sides[1].get(key, []))


def _grouped(things: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    groups = defaultdict(list)
    for thing in things:
        if (incident := thing.get("incident")) is not None:
            groups["incident", ""].append(_comparable(incident, _INCIDENT_DETAILS))
        elif (entry := thing["entry"])["body"]["kind"] != "quiet":
            flat = {**entry, **entry["body"]}
            groups["entry", entry["leg_id"] or ""].append(_comparable(flat, _ENTRY_DETAILS))
    groups["incident", ""].sort(key=lambda i: (i["rule_id"], i["opened_ms"]))
    return groups


def _comparable(flat: Mapping[str, Any], details: Sequence[str]) -> dict[str, Any]:
    return {name: flat[name] for name in (*details, *_TIMES) if name in flat}


def _compare(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str | None:
    if one is None or other is None:
        return f"expected {one}, found {other}"
    differing = [
        name for name in one.keys() | other.keys() if not _agree(name, one.get(name), other.get(name))
    ]
    if not differing:
        return None
    return "; ".join(f"{name} {one.get(name)!r} became {other.get(name)!r}" for name in sorted(differing))


def _agree(name: str, one: Any, other: Any) -> bool:
    if name in _TIMES and one is not None and other is not None:
        return abs(int(one) - int(other)) <= TOLERANCE_MS
    return bool(one == other)
