"""The embedded PostgreSQL starts anywhere, keeps what it should and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from qa_service.embedded import EmbeddedPostgres, StartError, postgres, unprivileged
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

# Starts a server, says where its files are, and waits to be killed.
HOLDER = """
import asyncio, sys
from pathlib import Path
from qa_service.embedded import EmbeddedPostgres

async def hold():
    async with EmbeddedPostgres(Path(sys.argv[1]), Path(sys.argv[2]), durable=False):
        print("running", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


async def fetch_value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_a_temporary_server_answers_and_is_gone_afterwards(cache_dir: Path):
    async with EmbeddedPostgres(cache_dir, durable=False) as server:
        dsn = server.dsn

        assert await fetch_value(dsn, "SELECT 1") == 1

    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncpg.connect(dsn)


async def test_data_outlives_the_server_in_a_folder_with_blanks_in_its_name(cache_dir: Path, tmp_path: Path):
    home = tmp_path / "calls of today"
    async with EmbeddedPostgres(cache_dir, home, durable=False) as server:
        await fetch_value(server.dsn, "CREATE TABLE kept AS SELECT 42 AS answer")

    async with EmbeddedPostgres(cache_dir, home, durable=False) as server:
        assert await fetch_value(server.dsn, "SELECT answer FROM kept") == 42


async def test_two_servers_run_side_by_side(cache_dir: Path):
    async with (
        EmbeddedPostgres(cache_dir, durable=False) as one,
        EmbeddedPostgres(cache_dir, durable=False) as other,
    ):
        assert await fetch_value(one.dsn, "SHOW port") != await fetch_value(other.dsn, "SHOW port")


async def test_a_folder_in_use_is_refused_in_one_line(cache_dir: Path, tmp_path: Path):
    async with EmbeddedPostgres(cache_dir, tmp_path, durable=False):
        with pytest.raises(StartError, match=r"postmaster\.pid.*already exists"):
            async with EmbeddedPostgres(cache_dir, tmp_path, durable=False):
                pytest.fail("two servers on one cluster")


async def test_nobody_gets_in_without_the_password(cache_dir: Path):
    async with EmbeddedPostgres(cache_dir, durable=False) as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn, password="guess")  # noqa: S106 - wrong on purpose


async def test_a_cluster_without_its_password_is_refused_with_the_remedy(cache_dir: Path, tmp_path: Path):
    async with EmbeddedPostgres(cache_dir, tmp_path, durable=False):
        pass
    (tmp_path / "password").unlink()

    with pytest.raises(StartError, match="remove the folder to begin anew"):
        async with EmbeddedPostgres(cache_dir, tmp_path, durable=False):
            pytest.fail("nobody could log in to this")


async def test_a_password_that_does_not_fit_is_refused_with_the_remedy(cache_dir: Path, tmp_path: Path):
    async with EmbeddedPostgres(cache_dir, tmp_path, durable=False):
        pass
    (tmp_path / "password").write_text("another")

    with pytest.raises(StartError, match="does not accept the password"):
        async with EmbeddedPostgres(cache_dir, tmp_path, durable=False):
            pytest.fail("nobody could log in to this")


async def test_an_interrupted_initdb_is_done_again(cache_dir: Path, tmp_path: Path):
    (tmp_path / "cluster.unfinished").mkdir()
    (tmp_path / "cluster.unfinished" / "PG_VERSION").write_text("18\n")

    async with EmbeddedPostgres(cache_dir, tmp_path, durable=False) as server:
        assert await fetch_value(server.dsn, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the children of the dead")
async def test_the_server_dies_with_a_parent_that_is_killed(cache_dir: Path, tmp_path: Path):
    holder = subprocess.Popen(  # noqa: ASYNC220 - starts in a moment, and the test has nothing else to do
        [sys.executable, "-c", HOLDER, str(cache_dir), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"running\n"
    server_pid = int((tmp_path / "cluster" / "postmaster.pid").read_text().splitlines()[0])

    holder.kill()
    holder.communicate()

    await eventually(lambda: not Path(f"/proc/{server_pid}").exists(), "the server to die with its parent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_without_namespaces_root_runs_it_as_nobody(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch, closed_cache: Callable[[Path], Path]
):
    monkeypatch.setattr(postgres, "disguise", lambda: unprivileged._NOBODY)

    async with EmbeddedPostgres(closed_cache(cache_dir), durable=False) as server:
        assert await fetch_value(server.dsn, "SELECT 1") == 1


@pytest.fixture
def closed_cache(tmp_path: Path) -> Callable[[Path], Path]:
    """Makes a copy of the fetched wheel's cache that only root can enter."""

    def close(cache_dir: Path) -> Path:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        (closed / "wheels").symlink_to(cache_dir / "wheels", target_is_directory=True)
        return closed

    return close


def test_a_server_that_is_not_running_has_no_address(cache_dir: Path):
    with pytest.raises(RuntimeError, match="async with"):
        _ = EmbeddedPostgres(cache_dir).url
