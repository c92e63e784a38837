"""What any test may ask for: a real Kafka broker, a real PostgreSQL, and the cache they come from.

Both servers start when the first test asks for them, serve the whole run and die with it.
"""

from __future__ import annotations

import contextlib
import signal
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest
import pytest_asyncio
from hypothesis import settings

from qa_service.embedded import EmbeddedError
from qa_service.fetching import FetchError, default_cache_dir
from tests.support.databases import name_of, running_postgres, temporary_database
from tests.support.kafka import BrokerUnavailableError, create_topic, prepare_kafka, running_kafka

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


# A busy machine is slow, and no fault of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_configure() -> None:
    # A shell ignores SIGINT for what it runs in the background, and what we start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = {fixture for item in session.items for fixture in getattr(item, "fixturenames", ())}
    if "kafka_bootstrap" in wanted and not session.config.option.collectonly:
        # The fixture says it again, and fails.
        with contextlib.suppress(BrokerUnavailableError, EmbeddedError, FetchError):
            prepare_kafka(default_cache_dir())


class MakeTopic(Protocol):
    """Creates a topic and returns its name: the stem and a part no other topic has."""

    async def __call__(self, stem: str = "topic", *, partitions: int = 1, **configs: str) -> str: ...


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    return default_cache_dir()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka_bootstrap(cache_dir: Path) -> AsyncIterator[str]:
    """``host:port`` of the tests' Apache Kafka."""
    try:
        async with running_kafka(cache_dir) as bootstrap:
            yield bootstrap
    except (BrokerUnavailableError, EmbeddedError, FetchError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture
def make_topic(kafka_bootstrap: str) -> MakeTopic:
    """Creates topics that no other test uses; configs as Kafka names them, with ``_`` for the dots."""

    async def make(stem: str = "topic", *, partitions: int = 1, **configs: str) -> str:
        name = f"{stem}-{uuid.uuid4().hex[:8]}"
        named = {key.replace("_", "."): value for key, value in configs.items()}
        await create_topic(kafka_bootstrap, name, partitions=partitions, configs=named)
        return name

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_url(cache_dir: Path) -> AsyncIterator[str]:
    """SQLAlchemy URL of the tests' PostgreSQL server, as a user who may create databases."""
    try:
        async with running_postgres(cache_dir) as url:
            yield url
    except (EmbeddedError, FetchError) as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def migrated_template(postgres_url: str) -> AsyncIterator[str]:
    """Name of a database with the schema in it; nobody may stay connected to it."""
    from qa_service.storage import migrate  # noqa: PLC0415 - tests of other parts need no storage

    async with temporary_database(postgres_url) as url:
        await migrate.upgrade(url)
        yield name_of(url)


@pytest.fixture
async def database_url(postgres_url: str, migrated_template: str) -> AsyncIterator[str]:
    """SQLAlchemy URL of a database of this test alone, with the schema of the latest migration."""
    async with temporary_database(postgres_url, template=migrated_template) as url:
        yield url


@pytest.fixture
async def empty_database_url(postgres_url: str) -> AsyncIterator[str]:
    """SQLAlchemy URL of a database of this test alone, with nothing in it."""
    async with temporary_database(postgres_url) as url:
        yield url
