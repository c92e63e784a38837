"""Where the cache is, and its locks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from qa_service.fetching import FetchError, default_cache_dir, exclusive


def test_the_cache_folder_is_the_one_that_was_chosen():
    assert default_cache_dir({"QA_CACHE_DIR": "/data/qa", "XDG_CACHE_HOME": "/xdg"}) == Path("/data/qa")


def test_else_it_lies_in_the_users_cache_folder():
    assert default_cache_dir({"XDG_CACHE_HOME": "/xdg"}) == Path("/xdg/qa-service")


@pytest.mark.parametrize("environ", [{}, {"XDG_CACHE_HOME": "relative"}, {"QA_CACHE_DIR": ""}])
def test_else_it_lies_in_the_home_folder(environ, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")

    assert default_cache_dir(environ) == Path("/home/somebody/.cache/qa-service")


def test_a_lock_is_held_by_one_at_a_time_and_the_waiting_one_is_told(tmp_path):
    told = threading.Event()
    order: list[str] = []

    def second() -> None:
        with exclusive(tmp_path, "model", lambda _line: told.set()):
            order.append("second")

    with exclusive(tmp_path, "model"):
        waiter = threading.Thread(target=second)
        waiter.start()
        assert told.wait(10), "waited for the second holder to say that it waits"
        order.append("first")
    waiter.join(10)

    assert order == ["first", "second"]


def test_a_cache_that_cannot_be_made_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with (
        pytest.raises(FetchError, match=r"cannot write to the cache folder .*: set QA_CACHE_DIR"),
        exclusive(tmp_path / "file", "model"),
    ):
        pass
