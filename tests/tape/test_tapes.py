from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from qa_service.tape.tapes import Label, Tape, TapeDamaged, TapeRecord, read_tape, write_tape

LABEL = Label(call_id="call-1", topic="telephony.audio", partition=3, recorded_ms=1_700_000_000_000)
RECORDS = (
    TapeRecord(7, 1000, b"call-1", (("v", b"1"), ("type", b"start")), b'{"role":"customer"}'),
    TapeRecord(9, 1020, b"call-1", (("v", b"1"), ("type", b"audio")), bytes(160)),
    TapeRecord(12, 1040, b"call-1", (), None),
)

texts = st.text(max_size=20).filter(lambda text: text.isprintable())
records = st.builds(
    TapeRecord,
    offset=st.integers(0, 2**62),
    timestamp=st.integers(-1, 2**62),
    key=st.binary(max_size=20),
    headers=st.lists(st.tuples(texts, st.binary(max_size=20)), max_size=4).map(tuple),
    value=st.none() | st.binary(max_size=400),
)


@given(st.lists(records, max_size=10).map(tuple))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, taped: tuple[TapeRecord, ...]
) -> None:
    path = tmp_path_factory.mktemp("tape") / "a.tape"
    write_tape(path, LABEL, taped)

    assert read_tape(path) == Tape(LABEL, taped)


def test_a_tape_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.tape"
    write_tape(path, LABEL, RECORDS)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_a_tape_that_was_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.tape"
    write_tape(path, LABEL, RECORDS)
    path.write_bytes(path.read_bytes()[:-cut])

    with pytest.raises(TapeDamaged, match="cut short"):
        read_tape(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no tape"),
        (b"RIFF....WAVE", "is no tape"),
        (b"qa-tape 2\n", "version 2, this program reads 1"),
        (b"qa-tape 1\n\x00\x00\x00\x02hm", "is damaged"),
        (b"qa-tape 1\n", "is damaged"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)

    with pytest.raises(TapeDamaged, match=says):
        read_tape(path)
