"""The connection to PostgreSQL: pool, time-outs, what is tried again and what an error means.

All of storage talks to the database through one :class:`Database` per process. Trying again is decided
here alone: a failure that may pass by itself (connection lost, server starting or failing over,
deadlock, lock not to be had) is tried again with a growing pause until a deadline; any other is turned
into a one-line :class:`~qa_service.storage.errors.StorageError` at once.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import asyncpg as postgresql_asyncpg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from qa_service.backoff import Backoff
from qa_service.storage.errors import SchemaMissing, StorageError, StoreRefused, StoreUnavailable

log = structlog.get_logger()

T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
"""Seconds for one attempt to connect."""

COMMAND_TIMEOUT = 60.0
"""Seconds for one statement; only a hung server or network takes that long."""

PATIENCE = 10.0
"""Seconds for which a passing failure is tried again before it is reported."""

BACKOFF = Backoff(first_s=0.1, ceiling_s=1.0)
"""Pauses between attempts: short, since a partition waits and patience is short too."""

SERVER_SETTINGS = {
    "application_name": "qa-service",
    # Times of the rows are compared with nothing local, and reports count days in UTC.
    "timezone": "UTC",
    # A transaction whose client is gone must let go of its claim and shards.
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class Database:
    """A pool of connections to one database.

    Args:
        url: ``postgresql://user:password@host:port/name`` (or with ``+asyncpg``); TLS is asked for with
            ``?sslmode=verify-full`` (or ``?ssl=…``, as asyncpg has it).
        pool_size: most connections that are open.
        patience: seconds for which passing failures are tried again.

    Raises:
        StoreRefused: the URL cannot be read.
    """

    def __init__(self, url: str, *, pool_size: int = 5, patience: float = PATIENCE) -> None:
        parsed = _parse(url)
        self.where = f"{parsed.host or 'localhost'}:{parsed.port or 5432}/{parsed.database or ''}"
        """Host, port and name, for messages; never the user or the password."""
        self.patience = patience
        self.engine: AsyncEngine = create_async_engine(
            parsed,
            pool_size=pool_size,
            # A new connection costs many times what a write does: in a rush it is quicker to wait for one.
            max_overflow=0,
            pool_timeout=patience,
            hide_parameters=True,  # what was said on the phone does not belong into an error message
            json_serializer=lambda value: msgspec.json.encode(value).decode(),
            json_deserializer=msgspec.json.decode,
            connect_args={
                "timeout": CONNECT_TIMEOUT,
                "command_timeout": COMMAND_TIMEOUT,
                "server_settings": SERVER_SETTINGS,
            },
        )

    async def connect(self) -> AsyncConnection:
        """Hand out a connection; the caller closes it."""
        with self.explained():
            return await self.engine.connect()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that is committed at the end of the block, or rolled back by an exception.

        Failures that only the database can cause become storage errors; other exceptions of the block pass
        unchanged, an OSError or TimeoutError too, since they may be the caller's own.
        """
        connection = await self.connect()
        try:
            async with connection.begin():
                yield connection
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise self.explain(error) from error
        finally:
            await connection.close()

    async def run(
        self,
        work: Callable[[AsyncConnection], Awaitable[T]],
        *,
        doing: str,
        patience: float | None = None,
    ) -> T:
        """Do ``work`` in a transaction of its own, again while failures may pass by themselves.

        ``work`` must be fit for repetition: the outcome of a COMMIT whose connection broke is unknown.

        Raises:
            StoreUnavailable: passing failures did not pass within ``patience`` seconds.
            StoreRefused: the database said no.
        """
        patience = self.patience if patience is None else patience
        last: StoreUnavailable | None = None
        attempt = 0
        try:
            async with asyncio.timeout(patience):
                while True:
                    try:
                        with self.explained():
                            async with self.transaction() as connection:
                                return await work(connection)
                    except StoreUnavailable as error:
                        if not _may_pass(error.__cause__):
                            raise
                        last = error
                    attempt += 1
                    # One line for a stretch of trouble; the outcome is told by the exception, or by silence.
                    tell = log.warning if attempt == 1 else log.debug
                    tell("database_retried", doing=doing, attempt=attempt, reason=str(last))
                    await asyncio.sleep(BACKOFF.delay_s(attempt, random.random()))  # noqa: S311 - jitter
        except TimeoutError:
            reason = last or self.explain(TimeoutError())
            raise StoreUnavailable(f"{doing} failed for {patience:g} s: {reason}") from last

    async def ping(self) -> None:
        """Ask the database for a sign of life, once.

        Raises:
            StoreUnavailable: none came; the message says why.
        """
        with self.explained():
            async with asyncio.timeout(min(self.patience, CONNECT_TIMEOUT)), self.transaction() as connection:
                await connection.execute(sa.select(1))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn every failure of a block that talks to the database alone into a storage error."""
        try:
            yield
        except _FAILURES as error:
            raise self.explain(error) from error

    def explain(self, error: BaseException) -> StorageError:
        """Turn a failure of the driver into a storage error of one line, with the remedy."""
        state, text = _sqlstate(error), _one_line(error)
        for meaning in _MEANINGS:
            if state.startswith(meaning.states):
                return meaning.error(f"PostgreSQL at {self.where} {meaning.says}: {text}; {meaning.remedy}")
        if isinstance(_root(error), TimeoutError):
            return StoreUnavailable(
                f"PostgreSQL at {self.where} does not answer in time; check that it is up and not overloaded"
            )
        if _may_pass(error):
            return StoreUnavailable(
                f"PostgreSQL at {self.where} cannot be reached: {text}; "
                "check that it is up and that QA_DATABASE_URL is right"
            )
        return StoreRefused(f"PostgreSQL at {self.where} refused [{state or type(error).__name__}]: {text}")


def compile_once(statement: sa.Select[Any]) -> tuple[str, tuple[str, ...]]:
    """The text of a statement for :func:`fetch_row`, and the names of its parameters in their order."""
    dialect = postgresql_asyncpg.dialect()  # type: ignore[no-untyped-call] # SQLAlchemy's
    compiled = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup or ())


async def fetch_row(connection: AsyncConnection, statement: str, values: Sequence[Any]) -> Any:
    """The first row of a compiled statement, None without one: past SQLAlchemy, straight to the driver.

    For what runs all the time: the driver keeps the statement prepared. It commits by itself, unless
    something was run on ``connection`` before it in the same transaction.
    """
    driver: Any = (await connection.get_raw_connection()).driver_connection
    try:
        return await driver.fetchrow(statement, *values)
    except (asyncio.CancelledError, TimeoutError):
        # Left in the midst of an answer, which giving the connection back would wait for.
        await connection.invalidate()
        raise
    finally:
        if driver.is_closed():
            await connection.invalidate()  # or the pool would hand it out again


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a group of SQLSTATE classes or codes means to us."""

    states: tuple[str, ...]
    error: type[StorageError]
    says: str
    remedy: str


# SQLSTATE classes and codes: PostgreSQL manual, appendix A.
_BUSY = ("40001", "40P01", "55P03")
_PASSING = ("08", "53", "57P", "25P03", "25006", *_BUSY)
_MEANINGS = (
    _Meaning(
        ("28", "3D000"),
        StoreUnavailable,
        "does not let us in",
        "check user, password and database name in QA_DATABASE_URL",
    ),
    _Meaning(
        ("42P01", "42703", "3F000"),
        SchemaMissing,
        "has another schema than this program",
        "run 'qa-service migrate'",
    ),
    _Meaning(
        ("42501",),
        StoreRefused,
        "refuses for lack of rights",
        "use a role that owns the schemas qa and report, or have the right granted",
    ),
    _Meaning(
        _BUSY, StoreUnavailable, "could not do it now", "try again, and see what else holds locks there"
    ),
)

_URL_PARAMETERS = {"ssl", "target_session_attrs", "prepared_statement_cache_size"}

_FAILURES = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


def _parse(url: str) -> sa.URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.drivername.partition("+")[0] not in {"postgresql", "postgres"}:
        raise StoreRefused(
            "The database URL cannot be read; it looks like postgresql://user:password@host:5432/name"
        )
    query = dict(parsed.query)
    if "sslmode" in query:  # libpq's name for it, and so what platforms hand out
        query["ssl"] = query.pop("sslmode")
    if unknown := sorted(query.keys() - _URL_PARAMETERS):
        raise StoreRefused(
            f"The database URL has the unknown parameter {unknown[0]}; known are "
            f"{', '.join(sorted(_URL_PARAMETERS))} (a CA file goes into PGSSLROOTCERT)"
        )
    return parsed.set(drivername="postgresql+asyncpg", query=query)


def _root(error: BaseException) -> BaseException:
    """Find the driver's own exception under SQLAlchemy's wrapping."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def _sqlstate(error: BaseException) -> str:
    state: Any = getattr(_root(error), "sqlstate", None)
    return state if isinstance(state, str) else ""


def _may_pass(error: BaseException | None) -> bool:
    """Tell whether the same call may succeed in a moment."""
    if error is None:
        return False
    root = _root(error)
    if isinstance(root, asyncpg.PostgresError):
        # A plan prepared before a migration is forgotten with its first failure.
        stale = isinstance(root, asyncpg.exceptions.InvalidCachedStatementError)
        return stale or _sqlstate(root).startswith(_PASSING)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    # InterfaceError: asyncpg's word for a connection closed under it. PoolTimeoutError: the
    # pool is exhausted.
    if isinstance(root, ValueError):
        return False  # asyncpg calls a value it cannot send an InterfaceError, too
    return lost or isinstance(
        root,
        OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.InternalClientError | PoolTimeoutError,
    )


def _one_line(error: BaseException) -> str:
    root = _root(error)
    # Only the message itself: details would repeat values, and so does asyncpg of one it cannot send.
    message: Any = getattr(root, "message", None) or str(root) or type(root).__name__
    text = re.sub(
        r"(invalid input for query argument \$\d+): .*(\(.*\))$", r"\1 \2", " ".join(message.split())
    )
    return text.rstrip(".;")
