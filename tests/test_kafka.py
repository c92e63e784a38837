"""Clients of the broker: started with patience, refused in one line, suspicious of unsuitable topics."""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

from qa_service import kafka
from qa_service.embedded.child import free_port
from qa_service.kafka import KafkaConfig, KafkaMisconfigured, KafkaUnavailable


async def test_an_unreachable_broker_gives_one_line_with_address_cause_and_setting(caplog):
    config = KafkaConfig(bootstrap=f"127.0.0.1:{free_port()}")
    with caplog.at_level(logging.WARNING, "aiokafka"), pytest.raises(KafkaUnavailable) as caught:
        await kafka.start_with_retry(lambda: kafka.make_producer(config), config, within_s=0.5)

    message = str(caught.value)

    assert "\n" not in message
    assert config.bootstrap in message
    assert "Connect call failed" in message
    assert "QA_KAFKA_BOOTSTRAP" in message
    assert [record.name for record in caplog.records if record.name.startswith("aiokafka")] == []


async def test_a_port_that_takes_connections_and_says_nothing_is_given_up():
    # The kernel takes the connection; nobody ever reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = KafkaConfig(bootstrap=f"127.0.0.1:{silent.getsockname()[1]}")
        async with asyncio.timeout(10):
            with pytest.raises(KafkaUnavailable, match="no answer"):
                await kafka.start_with_retry(lambda: kafka.make_admin(config), config, within_s=1.0)


@pytest.mark.kafka
async def test_a_broker_that_comes_up_later_is_found(kafka_bootstrap):
    host, port = kafka_bootstrap.rsplit(":", 1)
    late_port = free_port()
    tunnel = asyncio.create_task(_open_tunnel_after(0.6, late_port, host, int(port)))
    config = KafkaConfig(bootstrap=f"127.0.0.1:{late_port}")

    admin = await kafka.start_with_retry(lambda: kafka.make_admin(config), config, within_s=20)
    await admin.close()

    (await tunnel).close()


async def _open_tunnel_after(delay: float, port: int, to_host: str, to_port: int) -> asyncio.Server:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(to_host, to_port)
        await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))

    await asyncio.sleep(delay)
    return await asyncio.start_server(carry, "127.0.0.1", port)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_sasl_without_a_password_is_refused_before_any_connection():
    with pytest.raises(KafkaMisconfigured, match="QA_KAFKA_PASSWORD"):
        kafka.make_producer(KafkaConfig(bootstrap="x:1", security_protocol="SASL_SSL", username="qa"))


async def test_an_unreadable_ca_file_is_named(tmp_path):
    config = KafkaConfig(bootstrap="x:1", security_protocol="SSL", ca_file=tmp_path / "none.pem")

    with pytest.raises(KafkaMisconfigured, match=r"QA_KAFKA_CA_FILE=.*none\.pem"):
        kafka.make_admin(config)


async def test_an_unreadable_client_certificate_is_named(tmp_path):
    config = KafkaConfig(bootstrap="x:1", security_protocol="SSL", cert_file=tmp_path / "none.pem")

    with pytest.raises(KafkaMisconfigured, match=r"QA_KAFKA_CERT_FILE=.*none\.pem"):
        kafka.make_admin(config)


def test_a_config_does_not_print_its_password():
    assert "hunter2" not in repr(KafkaConfig(bootstrap="x:1", password="hunter2"))  # noqa: S106 - made up


def test_a_refused_login_points_to_the_login_settings():
    line = kafka._unavailable_line(KafkaConfig(bootstrap="x:1"), "[Error 58] SaslAuthenticationFailed")

    assert kafka._is_refusal(line)
    assert "QA_KAFKA_USERNAME" in line


def test_a_broker_without_idempotent_producers_points_to_the_setting():
    line = kafka._unavailable_line(
        KafkaConfig(bootstrap="x:1"), "Unexpected error during InitProducerIdRequest: <class 'UnknownError'>"
    )

    assert line.endswith("a broker without idempotent producers needs QA_KAFKA_IDEMPOTENCE=false")


def test_an_untrusted_certificate_points_to_the_ca_file():
    line = kafka._unavailable_line(
        KafkaConfig(bootstrap="x:1"), "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"
    )

    assert line.endswith("check QA_KAFKA_CA_FILE")


async def test_a_client_that_will_not_stop_is_left_after_a_while():
    class Stubborn:
        async def stop(self) -> None:
            await asyncio.Event().wait()

    class Willing:
        async def stop(self) -> None:
            pass

    assert not await kafka.stop_within(Stubborn(), 0.01)
    assert await kafka.stop_within(Willing())


async def test_settings_that_a_broker_does_not_tell_are_no_finding():
    class Silent:
        async def describe_configs(self, _resources) -> None:
            raise ConnectionError("not supported")

    assert await kafka._read_settings(Silent(), "t") == {}


@pytest.mark.kafka
async def test_missing_topics_are_created_and_existing_ones_left_alone(kafka_bootstrap):
    config = KafkaConfig(bootstrap=kafka_bootstrap)
    topic = f"made-{uuid.uuid4().hex[:8]}"

    await kafka.ensure_topics(config, [topic], 3)
    await kafka.ensure_topics(config, [topic], 5)

    assert (await kafka.check_topic(config, topic)).partitions == 3


@pytest.mark.kafka
async def test_a_missing_topic_is_reported_and_not_created(kafka_bootstrap):
    config = KafkaConfig(bootstrap=kafka_bootstrap)
    topic = f"missing-{uuid.uuid4().hex[:8]}"

    first = await kafka.check_topic(config, topic)
    second = await kafka.check_topic(config, topic)

    assert first.partitions is None
    assert first == second
    assert "does not exist" in first.warnings[0]


@pytest.mark.kafka
async def test_a_suitable_topic_gives_no_warning(kafka_bootstrap, make_topic):
    report = await kafka.check_topic(KafkaConfig(bootstrap=kafka_bootstrap), await make_topic(partitions=2))

    assert (report.partitions, report.warnings) == (2, ())


@pytest.mark.kafka
async def test_compaction_and_short_retention_are_reported(kafka_bootstrap, make_topic):
    topic = await make_topic(cleanup_policy="compact,delete", retention_ms="60000")

    report = await kafka.check_topic(KafkaConfig(bootstrap=kafka_bootstrap), topic)

    assert [warning.partition("=")[0] for warning in report.warnings] == [
        f"topic {topic} has cleanup.policy",
        f"topic {topic} has retention.ms",
    ]


@pytest.mark.kafka
@pytest.mark.parametrize("idempotence", [True, False])
async def test_what_a_producer_sends_a_consumer_reads_in_order(kafka_bootstrap, make_topic, idempotence):
    config = KafkaConfig(bootstrap=kafka_bootstrap, idempotence=idempotence)
    topic = await make_topic(partitions=4)
    producer = await kafka.start_with_retry(lambda: kafka.make_producer(config), config)
    for number in range(20):
        await producer.send(topic, b"%d" % number, key=b"call-1")
    await producer.stop()

    consumer = await kafka.start_with_retry(lambda: kafka.make_consumer(config), config)
    partitions = [TopicPartition(topic, number) for number in range(4)]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    async with asyncio.timeout(20):
        values = [int((await consumer.getone()).value) for _ in range(20)]
    await consumer.stop()

    assert values == list(range(20))


async def test_a_fetch_waits_at_the_broker_as_long_as_the_settings_say():
    consumer = kafka.make_consumer(KafkaConfig(bootstrap="127.0.0.1:1", fetch_wait_ms=20))

    assert consumer._fetch_max_wait_ms == 20  # what aiokafka asks the broker for is shown nowhere else


class Group:
    """Members of one process and what they own; the first of them leads."""

    def __init__(self, partitions: int) -> None:
        self.members: dict[str, Any] = {}
        self._cluster = SimpleNamespace(
            topics=lambda: {"audio"}, partitions_for_topic=lambda _topic: set(range(partitions))
        )

    def join(self, *names: str) -> None:
        self.members |= {name: kafka.own_assignor() for name in names}

    def rebalance(self, *, without: str | None = None) -> dict[str, set[int]]:
        present = {name: member for name, member in self.members.items() if name != without}
        metadata = {name: member.metadata(["audio"]) for name, member in present.items()}
        shares = next(iter(present.values())).assign(self._cluster, metadata)
        for name, member in present.items():
            # As it arrives: over the wire.
            member.on_assignment(ConsumerProtocolMemberAssignment.decode(shares[name].encode()))
        return {name: {p.partition for p in share.partitions()} for name, share in shares.items()}


def test_members_in_one_process_keep_what_is_theirs():
    group = Group(partitions=12)
    group.join("one", "two")
    before = group.rebalance()
    group.join("three")
    between = group.rebalance()
    del group.members["three"]
    after = group.rebalance()

    assert all(len(share) == 6 for share in before.values())
    assert all(len(share) == 4 for share in between.values())
    assert all(between[name] < before[name] for name in before)
    assert all(between[name] < after[name] for name in before)


def test_a_member_that_comes_back_does_not_get_what_has_gone_to_another(caplog):
    group = Group(partitions=12)
    group.join("frozen", "one", "two")
    group.rebalance()
    without = group.rebalance(without="frozen")
    back = group.rebalance()

    assert all(len(share) == 4 for share in back.values())
    assert all(back[name] < without[name] for name in without)  # they lose two each, and swap none
    assert "multiple consumers" not in caplog.text


def test_a_share_from_a_leader_of_another_make_is_taken_too():
    member = kafka.own_assignor()
    member.on_assignment(ConsumerProtocolMemberAssignment(0, [("audio", [3])], b""))

    metadata = member.parse_member_metadata(member.metadata(["audio"]))

    assert metadata.partitions == [TopicPartition("audio", 3)]
    assert metadata.generation == -1
