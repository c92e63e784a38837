"""Whatever the core writes comes back the same."""

from __future__ import annotations

from types import UnionType
from typing import get_args

import msgspec
from hypothesis import given, strategies as st

from qa_service.domain.entries import Body, LogEntry, Redaction
from qa_service.storage import rows

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
number = st.integers(-(2**63), 2**63 - 1)
attributes = st.dictionaries(text, text | st.integers(-(2**31), 2**31) | st.booleans(), max_size=3)
distribution = st.none() | st.dictionaries(text, st.floats(0, 1), max_size=3)
redactions = st.lists(st.builds(Redaction, st.sampled_from(["cvv"]), number, number), max_size=2).map(tuple)


def values(hint):
    """What a field of this type may hold and PostgreSQL can store."""
    plain = {str: text, int: number, float: st.floats(0, 1)}
    if hint in plain:
        return plain[hint]
    if isinstance(hint, UnionType):
        return st.one_of([values(member) for member in get_args(hint)])
    return st.from_type(hint)


def bodies(kind):
    special = {"attributes": attributes, "redactions": redactions, "emotion_distribution": distribution}
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return st.builds(
        kind, **{name: special[name] if name in special else values(hint) for name, hint in fields.items()}
    )


entries = st.builds(
    LogEntry,
    call_id=text,
    call_seq=number,
    leg_id=st.none() | text,
    start_ms=number,
    end_ms=number,
    body=st.one_of([bodies(kind) for kind in get_args(Body)]),
)


@given(entries)
def test_any_entry_comes_back_from_its_row_as_it_was(entry):
    row = dict(zip(rows.ENTRY_COLUMNS, rows.entry_to_row(entry), strict=True))

    assert rows.entry_from_row(row) == entry


def test_no_two_kinds_of_entry_share_a_name():
    assert len(rows._BODY_OF_KIND) == len(get_args(Body))
