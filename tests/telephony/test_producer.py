"""The producer helper: what it sends is what the contract asks for, and no loss stays unnoticed."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner, murmur2

from qa_service.contract import (
    AudioFrame,
    CallEnd,
    CallRecord,
    ContractViolation,
    LegChange,
    LegInfo,
    LegPause,
    LegResume,
    LegStart,
    LegStop,
    LegUpdate,
    decode_record,
)
from qa_service.kafka import KafkaConfig, make_consumer, make_producer
from qa_service.telephony.producer import DeliveryError, Publisher, connect_publisher

TOPIC = "telephony.audio"
AUDIO = b"\x7f" * 160


class Broker:
    """Takes records as aiokafka's producer does; ``delivery_error`` and ``refusal`` are how it fails."""

    def __init__(self, *, delivery_error: Exception | None = None, refusal: Exception | None = None):
        self.sent = []
        self.times = []
        self.delivery_error = delivery_error
        self.refusal = refusal

    async def send(self, _topic, **sent):
        if self.refusal is not None:
            raise self.refusal
        self.sent.append(decode_record(sent["key"], sent["headers"], sent["value"]))
        self.times.append(sent["timestamp_ms"])
        delivery = asyncio.get_running_loop().create_future()
        if self.delivery_error is None:
            delivery.set_result(None)
        else:
            delivery.set_exception(self.delivery_error)
        return delivery

    async def flush(self):
        await asyncio.sleep(0)


async def test_a_leg_counts_its_own_frames_and_samples():
    broker = Broker()
    leg = Publisher(broker, TOPIC).call("call-1").leg("customer")
    await leg.frame(AUDIO, ts=1000)
    await leg.frame(AUDIO[:80], ts=1020)
    leg.skip(800)
    await leg.frame(AUDIO, ts=1130)

    assert [record.record for record in broker.sent] == [
        AudioFrame("customer", 0, 0, 1000, AUDIO),
        AudioFrame("customer", 160, 1, 1020, AUDIO[:80]),
        AudioFrame("customer", 1040, 2, 1130, AUDIO),
    ]


async def test_everything_that_can_happen_to_a_call_can_be_said():
    broker = Broker()
    call = Publisher(broker, TOPIC).call("call-1")
    leg = call.leg("agent", codec="pcm_s16le", rate=16_000)
    info, change = LegInfo(role="agent"), LegChange(agent_id="a-2")
    await leg.start(info, ts=1)
    await leg.update(change, ts=2)
    await leg.pause(ts=3)
    await leg.resume(ts=4)
    await leg.stop(ts=5)
    await call.end(ts=6)

    assert broker.sent == [
        CallRecord("call-1", record)
        for record in (
            LegStart("agent", 1, "pcm_s16le", 16_000, info),
            LegUpdate("agent", 2, change),
            LegPause("agent", 3),
            LegResume("agent", 4),
            LegStop("agent", 5),
            CallEnd(6),
        )
    ]


async def test_a_record_s_kafka_time_is_its_capture_time():
    broker = Broker()
    await Publisher(broker, TOPIC).call("call-1").end(ts=1767225600000)

    assert broker.times == [1767225600000]


async def test_opus_packets_say_how_long_they_are():
    broker = Broker()
    leg = Publisher(broker, TOPIC).call("call-1").leg("customer", codec="opus", rate=16000)
    await leg.frame(b"\xfc", ts=0)
    await leg.frame(b"\xfc", ts=20, samples=160)
    await leg.frame(b"\xfc", ts=30)

    assert [record.record.pos for record in broker.sent] == [0, 320, 480]


async def test_bytes_that_are_no_opus_packet_are_not_sent():
    leg = Publisher(Broker(), TOPIC).call("call-1").leg("customer", codec="opus")
    with pytest.raises(ContractViolation, match="no Opus packet"):
        await leg.frame(b"OggS", ts=0)


async def test_positions_never_go_back():
    leg = Publisher(Broker(), TOPIC).call("call-1").leg("customer")
    with pytest.raises(ValueError, match="only grow"):
        leg.skip(-1)


async def test_a_record_that_was_not_delivered_fails_the_next_call():
    publisher = Publisher(Broker(delivery_error=KafkaConnectionError("broker gone")), TOPIC)
    call = publisher.call("call-1")
    await call.leg("customer").frame(AUDIO, ts=0)
    await asyncio.sleep(0)
    with pytest.raises(DeliveryError, match=r"call 'call-1' for topic telephony\.audio: .*broker gone"):
        await call.end(ts=20)
    with pytest.raises(DeliveryError):
        await publisher.flush()


async def test_a_record_that_is_refused_at_once_names_the_call_and_the_cause():
    publisher = Publisher(Broker(refusal=MessageSizeTooLargeError("too big")), TOPIC)
    with pytest.raises(DeliveryError, match="too big"):
        await publisher.call("call-1").end(ts=0)


def test_calls_are_placed_by_murmur2_of_their_id_as_the_contract_asks():
    # Java's own test vectors (org.apache.kafka.common.utils.UtilsTest).
    assert murmur2(b"21") & 0xFFFFFFFF == -973932308 & 0xFFFFFFFF
    assert murmur2(b"foobar") & 0xFFFFFFFF == -790332482 & 0xFFFFFFFF


async def test_the_producer_is_made_with_the_murmur2_partitioner():
    producer = make_producer(KafkaConfig(bootstrap="127.0.0.1:1", idempotence=False))

    assert isinstance(producer._partitioner, DefaultPartitioner)
    await producer.stop()


@pytest.mark.kafka
async def test_a_call_arrives_whole_in_order_and_on_one_partition(kafka_bootstrap, make_topic):
    topic = await make_topic("audio", partitions=3)
    config = KafkaConfig(bootstrap=kafka_bootstrap)
    async with connect_publisher(config, topic) as publisher:
        call = publisher.call("call-1")
        leg = call.leg("customer")
        await leg.start(LegInfo(role="customer"), ts=1_700_000_000_000)
        for n in range(100):
            await leg.frame(AUDIO, ts=1_700_000_000_000 + 20 * n)
        await leg.stop(ts=1_700_000_002_000)
        await call.end(ts=1_700_000_002_000)
    consumer = make_consumer(config, topic, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            received = [await consumer.getone() for _ in range(103)]
    finally:
        await consumer.stop()
    records = [decode_record(message.key, message.headers, message.value).record for message in received]

    assert len({message.partition for message in received}) == 1
    assert [type(record) for record in records] == [LegStart, *[AudioFrame] * 100, LegStop, CallEnd]
    assert [record.seq for record in records[1:101]] == list(range(100))
    assert [record.pos for record in records[1:101]] == list(range(0, 16_000, 160))
    assert received[-1].timestamp == 1_700_000_002_000
