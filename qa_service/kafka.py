"""Kafka clients as this service wants them, and what a broker or a topic must be like.

Decided here, once for every part: producers wait for all replicas and are idempotent where the broker can do
it; they partition by murmur2 of the key (aiokafka's default), so that a call stays on one partition;
consumers never commit by themselves and never reset a position by themselves, since the truth about positions
is in PostgreSQL.

An unreachable broker is tried for a while and then gives one line, :class:`KafkaUnavailable`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from qa_service.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from aiokafka.cluster import ClusterMetadata
    from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

_log = structlog.get_logger(__name__)

SecurityProtocol: TypeAlias = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism: TypeAlias = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

# A broker that starts with us (compose, Kubernetes) is there within seconds; beyond, a person should know.
CONNECT_WITHIN_S: Final = 30.0
_STOP_WITHIN_S: Final = 5.0
# One answer of an admin request.
_ADMIN_TIMEOUT_S: Final = 10.0
# More than gathers at a broker while a fetch waits for company, and little to a reader that catches up.
_GATHERED_BYTES: Final = 1024 * 1024
# Below an hour, retention does not outlive even a short outage of this service.
_MIN_RETENTION_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """How to reach the brokers; each field is the setting ``QA_KAFKA_...`` of the same name."""

    bootstrap: str
    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "SCRAM-SHA-512"
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    idempotence: bool = True
    fetch_wait_ms: int = 500
    gather_ms: int = 0

    def __repr__(self) -> str:
        """Without the password, since a repr ends up in logs."""
        return f"KafkaConfig(bootstrap={self.bootstrap!r}, security_protocol={self.security_protocol!r})"


class KafkaUnavailable(Exception):  # noqa: N818 - named for the state of things
    """No broker answers, or it refuses us; the message names the address, the settings and the cause."""


class KafkaMisconfigured(Exception):  # noqa: N818 - named for the state of things
    """The settings for Kafka cannot work, whatever the broker does; the message names the setting."""


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What is known of a topic; ``partitions`` None: it does not exist; ``warnings`` are sentences."""

    topic: str
    partitions: int | None
    warnings: tuple[str, ...] = ()


def make_producer(config: KafkaConfig, *, linger_ms: int = 0, **options: Any) -> AIOKafkaProducer:
    """A producer, not started; ``options`` go to aiokafka. To be called inside the event loop."""
    return AIOKafkaProducer(
        **_connection(config),
        acks="all",
        enable_idempotence=config.idempotence,
        linger_ms=linger_ms,
        **options,
    )


def make_consumer(
    config: KafkaConfig,
    *topics: str,
    group: str | None = None,
    group_instance_id: str | None = None,
    session_timeout_s: float = 10.0,
    **options: Any,
) -> AIOKafkaConsumer:
    """A consumer, not started, of ``topics`` in ``group`` (or assigned by hand, without either).

    ``group_instance_id`` makes the membership static: a restart within ``session_timeout_s`` seconds moves no
    partition. ``options`` go to aiokafka. To be called inside the event loop.
    """
    settings: dict[str, Any] = {
        "group_id": group,
        "group_instance_id": group_instance_id,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "partition_assignment_strategy": (own_assignor(),),
        "session_timeout_ms": int(session_timeout_s * 1000),
        # Three heartbeats may be lost before a member counts as dead.
        "heartbeat_interval_ms": int(session_timeout_s * 1000 / 3.5),
        "fetch_max_wait_ms": config.fetch_wait_ms,
    }
    return AIOKafkaConsumer(*topics, **_connection(config), **(settings | options))


def own_assignor() -> type[StickyPartitionAssignor]:
    """The sticky assignor with a memory of its own, in which generations count.

    aiokafka keeps on the class what a member owned last, so consumers of one process would take each other's
    share for theirs; and it tells that class no generation, so whoever was frozen and comes back claims what
    it once had as strongly as its present owner. Here the leader stamps each share with a generation.
    """

    class OwnAssignor(StickyPartitionAssignor):  # type: ignore[misc]  # aiokafka publishes no types
        @classmethod
        def assign(
            cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            known = (cls.parse_member_metadata(metadata).generation for metadata in members.values())
            stamp = max(1, *(generation + 1 for generation in known)).to_bytes(4)
            shares = super().assign(cluster, members)
            return {
                member: ConsumerProtocolMemberAssignment(share.version, share.assignment, stamp)
                for member, share in shares.items()
            }

        @classmethod
        def on_assignment(cls, assignment: ConsumerProtocolMemberAssignment) -> None:
            super().on_assignment(assignment)
            # A leader of another make stamps nothing.
            stamp = assignment.user_data
            cls.generation = int.from_bytes(stamp) if stamp else cls.DEFAULT_GENERATION_ID

    return OwnAssignor


def gathering(config: KafkaConfig) -> dict[str, int]:
    """Options of a consumer that reads many small records live: few fetches, each with what came meanwhile.

    The broker answers after ``config.gather_ms``, or as soon as a reader that is behind gets its fill. Each
    fetch costs the same, whatever it brings, and without this there is one for every few records.
    """
    if not config.gather_ms:
        return {}
    return {"fetch_min_bytes": _GATHERED_BYTES, "fetch_max_wait_ms": config.gather_ms}


def make_admin(config: KafkaConfig) -> AIOKafkaAdminClient:
    """An admin client, not started. To be called inside the event loop."""
    return AIOKafkaAdminClient(**_connection(config), request_timeout_ms=int(_ADMIN_TIMEOUT_S * 1000))


class _Client(Protocol):
    async def start(self) -> None: ...


class _Stoppable(Protocol):
    async def stop(self) -> None: ...


_C = TypeVar("_C", bound=_Client)


async def start_with_retry(
    make: Callable[[], _C], config: KafkaConfig, *, within_s: float = CONNECT_WITHIN_S
) -> _C:
    """Make a client with ``make`` and start it, trying for ``within_s`` seconds; returns the started client.

    A refused login is not tried again. Raises :class:`KafkaUnavailable`.
    """
    deadline = time.monotonic() + within_s
    backoff = Backoff(first_s=0.2, ceiling_s=2.0)
    for attempt in range(1_000_000):  # pragma: no branch - the deadline ends it
        client = make()
        with _hear_connection_errors() as heard:
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + _left(deadline)):
                    await client.start()
            except (KafkaError, OSError, TimeoutError) as error:
                await _discard(client)
                cause = heard[-1] if heard else (str(error) or "no answer")
            except BaseException:
                await _discard(client)
                raise
            else:
                return client
        delay = backoff.delay_s(attempt, random.random())  # noqa: S311 - jitter is no secret
        if _is_refusal(cause) or time.monotonic() + delay > deadline:
            raise KafkaUnavailable(_unavailable_line(config, cause))
        if attempt == 0:
            _log.warning("kafka_unreachable", bootstrap=config.bootstrap, error=cause, trying_for_s=within_s)
        await asyncio.sleep(delay)
    raise AssertionError("unreachable")  # pragma: no cover


async def stop_within(client: _Stoppable, seconds: float = _STOP_WITHIN_S) -> bool:
    """Stop a producer or consumer; False if that took too long, as it does while the broker is away.

    What a producer had not delivered by then is lost to it, so whoever sent it must still have it.
    """
    try:
        async with asyncio.timeout(seconds):
            await client.stop()
    except TimeoutError:
        _log.warning("kafka_client_not_stopped", client=type(client).__name__, within_s=seconds)
        return False
    return True


@asynccontextmanager
async def started_admin(config: KafkaConfig) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for the length of a block; raises :class:`KafkaUnavailable`."""
    admin = await start_with_retry(lambda: make_admin(config), config)
    try:
        yield admin
    finally:
        await admin.close()


async def ensure_topics(
    config: KafkaConfig,
    topics: Iterable[str],
    partitions: int,
    *,
    replication_factor: int = 1,
    settings: Mapping[str, str] | None = None,
    within_s: float = 30.0,
) -> None:
    """Create those of ``topics`` that are missing and return once all their partitions have a leader.

    For demo and tests; in production topics are an operator's business. Raises :class:`KafkaUnavailable`, and
    TimeoutError naming the topics that have no leader after ``within_s`` seconds.
    """
    names = list(topics)
    new = [
        NewTopic(name, partitions, replication_factor, topic_configs=dict(settings or {})) for name in names
    ]
    async with started_admin(config) as admin:
        response: Any = await admin.create_topics(new)
        for name, code, *_ in response.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                raise error(f"cannot create topic {name}")
        await _await_leaders(admin, names, within_s)


async def check_topic(config: KafkaConfig, topic: str) -> TopicReport:
    """Look whether ``topic`` exists and keeps calls whole; what is wrong is returned and logged as warnings.

    A broker that does not tell its topics' configuration is not complained about: that is logged at debug
    level. Raises :class:`KafkaUnavailable`.
    """
    async with started_admin(config) as admin:
        described = {entry["topic"]: entry for entry in await admin.describe_topics()}
        if topic not in described:
            report = TopicReport(
                topic, None, (f"topic {topic} does not exist: create it with as many partitions as workers",)
            )
        else:
            warnings = tuple(_judge_settings(topic, await _read_settings(admin, topic)))
            report = TopicReport(topic, len(described[topic]["partitions"]), warnings)
    for warning in report.warnings:
        _log.warning("topic_unsuitable", topic=topic, finding=warning)
    return report


async def leaders_answer(config: KafkaConfig, topic: str) -> bool:
    """Whether the leaders of all partitions of ``topic`` answer, on connections of their own.

    They are asked for the ends of their logs, which only a leader that serves can tell.
    """
    consumer = make_consumer(config, request_timeout_ms=int(_ADMIN_TIMEOUT_S * 1000))
    try:
        async with asyncio.timeout(_ADMIN_TIMEOUT_S):
            await consumer.start()
            metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - there is no other way
            numbers = metadata.partitions_for_topic(topic) or ()
            partitions = [TopicPartition(topic, number) for number in numbers]
            return bool(partitions) and len(await consumer.end_offsets(partitions)) == len(partitions)
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await _discard(consumer)


def _connection(config: KafkaConfig) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": config.bootstrap,
        "security_protocol": config.security_protocol,
        "client_id": "qa-service",
    }
    if config.security_protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = _ssl_context(config)
    if config.security_protocol.startswith("SASL"):
        if config.username is None or config.password is None:
            raise KafkaMisconfigured(
                f"QA_KAFKA_SECURITY_PROTOCOL={config.security_protocol} needs QA_KAFKA_USERNAME and "
                "QA_KAFKA_PASSWORD"
            )
        options |= {
            "sasl_mechanism": config.sasl_mechanism,
            "sasl_plain_username": config.username,
            "sasl_plain_password": config.password,
        }
    return options


def _ssl_context(config: KafkaConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise KafkaMisconfigured(f"QA_KAFKA_CA_FILE={config.ca_file}: {error}") from error
    if config.cert_file is not None:
        try:
            context.load_cert_chain(config.cert_file, config.key_file)
        except (OSError, ssl.SSLError) as error:
            raise KafkaMisconfigured(
                f"QA_KAFKA_CERT_FILE={config.cert_file}, QA_KAFKA_KEY_FILE={config.key_file}: {error}"
            ) from error
    return context


def _left(deadline: float) -> float:
    # Even with a deadline of zero, one honest attempt on a local broker fits in.
    return max(0.5, deadline - time.monotonic())


async def _discard(client: Any) -> None:
    """Free what a client that did not start holds, or aiokafka complains when it is collected."""
    close = getattr(client, "stop", None) or client.close
    try:
        async with asyncio.timeout(_STOP_WITHIN_S):
            await close()
    except (KafkaError, OSError, TimeoutError) as error:
        _log.debug("kafka_client_close_failed", error=repr(error))


# A logger's filters see its own records alone, so each of them is named.
_CONNECTION_LOGGERS: Final = ("aiokafka", "aiokafka.client", "aiokafka.conn", "aiokafka.producer.sender")


@contextmanager
def _hear_connection_errors() -> Iterator[list[str]]:
    """Collect what aiokafka logs about failed connections: its exception does not say the cause."""
    heard: list[str] = []

    def keep_back(record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        heard.append(record.getMessage())
        return False

    sources = [logging.getLogger(name) for name in _CONNECTION_LOGGERS]
    for source in sources:
        source.addFilter(keep_back)
    try:
        yield heard
    finally:
        for source in sources:
            source.removeFilter(keep_back)


_REFUSALS: Final = (
    "SaslAuthentication",
    "Authentication failed",
    "UnsupportedSaslMechanism",
    "CERTIFICATE_VERIFY",
    "InitProducerId",
)


def _is_refusal(cause: str) -> bool:
    return any(sign in cause for sign in _REFUSALS)


def _unavailable_line(config: KafkaConfig, cause: str) -> str:
    if "CERTIFICATE_VERIFY" in cause:
        remedy = "check QA_KAFKA_CA_FILE"
    elif "InitProducerId" in cause:
        remedy = "a broker without idempotent producers needs QA_KAFKA_IDEMPOTENCE=false"
    elif _is_refusal(cause):
        remedy = "check QA_KAFKA_USERNAME, QA_KAFKA_PASSWORD and QA_KAFKA_SASL_MECHANISM"
    else:
        remedy = f"check QA_KAFKA_BOOTSTRAP and QA_KAFKA_SECURITY_PROTOCOL={config.security_protocol}"
    return f"cannot reach Kafka at {config.bootstrap}: {cause.rstrip(' .:')}; {remedy}"


async def _await_leaders(admin: AIOKafkaAdminClient, names: list[str], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        described = {entry["topic"]: entry for entry in await admin.describe_topics()}
        missing = [name for name in names if not _has_leaders(described.get(name))]
        if not missing:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no leader after {within_s:g} s for topics {', '.join(missing)}")
        await asyncio.sleep(0.05)


def _has_leaders(described: Mapping[str, Any] | None) -> bool:
    if described is None or not described["partitions"]:
        return False
    return all(partition["leader"] >= 0 for partition in described["partitions"])


async def _read_settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """The topic's configuration, empty where the broker does not tell it."""
    try:
        async with asyncio.timeout(_ADMIN_TIMEOUT_S):
            responses: list[Any] = await admin.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, topic)]
            )
    except (KafkaError, OSError, TimeoutError) as error:
        _log.debug("topic_settings_unknown", topic=topic, error=repr(error))
        return {}
    return {
        entry[0]: entry[1]
        for response in responses
        for _code, _message, _kind, _name, entries in response.resources
        for entry in entries
    }


def _judge_settings(topic: str, settings: Mapping[str, str]) -> Iterator[str]:
    if "compact" in settings.get("cleanup.policy", ""):
        yield (
            f"topic {topic} has cleanup.policy={settings['cleanup.policy']}: compaction by call id destroys "
            "calls; set cleanup.policy=delete"
        )
    retention = settings.get("retention.ms", "")
    if retention.isdigit() and int(retention) < _MIN_RETENTION_MS:
        yield (
            f"topic {topic} has retention.ms={retention}: audio would be gone before an outage of an hour is "
            "over; set retention.ms to the longest outage to survive"
        )
