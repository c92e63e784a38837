from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from qa_service.asr_server import StartError
from qa_service.asr_server.keys import KeyRing, digest_of, digest_text, key_id, new_key, read_entry
from qa_service.logs import mask


def test_a_new_key_is_long_new_and_masked_in_logs():
    key, other = new_key(), new_key()

    assert key != other
    assert len(key) == 3 + 48
    assert key not in mask(f"client sent {key}")


def test_a_digest_is_that_of_sha256():
    assert digest_text(digest_of("secret")) == f"sha256:{hashlib.sha256(b'secret').hexdigest()}"


def test_a_key_and_its_digest_name_the_same():
    key = new_key()

    assert read_entry(key) == read_entry(digest_text(digest_of(key))) == digest_of(key)


@pytest.mark.parametrize("entry", ["sha256:", "sha256:00", "sha256:" + "g" * 64, "sha256:" + "0" * 65])
def test_what_is_no_digest_is_refused_at_start_without_being_repeated(entry):
    with pytest.raises(StartError, match="64 hexadecimal digits") as caught:
        KeyRing([entry])

    assert entry[7:] == "" or entry[7:] not in str(caught.value)


def test_each_of_several_keys_is_good_and_a_digest_is_no_key():
    keys = KeyRing(["one", digest_text(digest_of("two"))])

    assert keys.find("one") == digest_of("one")
    assert keys.find("two") == digest_of("two")
    assert keys.find("three") is None
    assert keys.find(digest_text(digest_of("two"))) is None
    assert keys.find("") is None


def test_keys_are_not_kept():
    keys = KeyRing(["a key in the clear"])

    assert "clear" not in str(vars(keys))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# our keys\n\none  Berlin, until May\n{digest_text(digest_of('two'))}\n")
    return path


def test_a_file_holds_keys_digests_remarks_and_comments(file):
    keys = KeyRing(["configured"], file)

    assert all(keys.find(key) for key in ("configured", "one", "two"))
    assert not any(keys.find(key) for key in ("Berlin,", "#", "our", ""))


def test_a_file_that_changes_adds_and_revokes(file):
    keys = KeyRing(["configured"], file)
    file.write_text("three\ntwo\n")
    with capture_logs() as logs:
        keys.refresh()

    assert [key for key in ("configured", "one", "two", "three") if keys.find(key)] == [
        "configured",
        "two",
        "three",
    ]
    assert not keys.holds(digest_of("one"))
    (line,) = logs
    assert (line["event"], line["keys"]) == ("server_keys_changed", 3)
    assert (line["added"], line["removed"]) == ([key_id(digest_of("three"))], [key_id(digest_of("one"))])


def test_a_file_that_is_replaced_through_a_link_counts_as_changed(tmp_path):
    """As mounted secrets are."""
    (tmp_path / "old").write_text("one\n")
    (tmp_path / "new").write_text("two\n")
    link = tmp_path / "keys"
    link.symlink_to("old")
    keys = KeyRing(file=link)
    (tmp_path / "next").symlink_to("new")
    os.replace(tmp_path / "next", link)  # noqa: PTH105 - that it is one step is the point
    keys.refresh()

    assert (keys.find("one"), keys.find("two")) == (None, digest_of("two"))


def test_an_empty_file_revokes_all(file):
    keys = KeyRing(file=file)
    file.write_text("")
    keys.refresh()

    assert keys.find("one") is None


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"sha256:short\nthree\n")])
def test_a_file_that_cannot_be_read_changes_nothing_and_is_told_of_once(file, spoil):
    keys = KeyRing(file=file)
    spoil(file)
    with capture_logs() as logs:
        keys.refresh()
        keys.refresh()

    assert keys.find("one") == digest_of("one")
    assert keys.find("three") is None
    assert [(line["event"], line["log_level"]) for line in logs] == [("server_keys_unreadable", "error")]
    assert str(file) in logs[0]["error"]


def test_a_file_that_is_not_there_at_start_is_named(tmp_path):
    with pytest.raises(StartError, match="QA_SERVER_API_KEYS_FILE") as caught:
        KeyRing(file=tmp_path / "nowhere")

    assert str(tmp_path / "nowhere") in str(caught.value)


def test_the_line_at_fault_is_named(file):
    file.write_text("one\n\nsha256:xyz\n")
    with pytest.raises(StartError, match="line 3"):
        KeyRing(file=file)
