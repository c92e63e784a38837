"""What goes wrong around a worker, on real Kafka and PostgreSQL: nothing is lost or doubled, all is said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.partitioner import murmur2
from structlog.testing import capture_logs

from qa_service import metrics
from qa_service.asr_server import AsrServer
from qa_service.contract import AudioFrame, encode_record
from qa_service.contract.info import LegInfo
from qa_service.contract.records import LegStart
from qa_service.embedded.child import free_port
from qa_service.storage.store import PostgresStore
from tests.support.links import linked, place_of, through
from tests.support.waiting import eventually
from tests.worker.conftest import Chain, a_chain, now_ms, quiet, speech

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

WORDS = ["hello", "please", "thanks", "bye", "four", "one"]
AUDIO = b"".join(speech(word) + quiet(0.8) for word in WORDS)
THIRD = len(AUDIO) // 3 // 160 * 160

MakeChain = Callable[..., AbstractAsyncContextManager[Chain]]


@pytest.fixture
def make_chain(
    kafka_bootstrap: str, database_url: str, make_topic: Any, recogniser: AsrServer, tmp_path: Path
) -> MakeChain:
    """A chain without relay, whose worker is started by the test; arguments as of ``a_chain``."""

    @asynccontextmanager
    async def make(*, url: str = database_url, **options: Any) -> AsyncIterator[Chain]:
        async with a_chain(kafka_bootstrap, url, make_topic, recogniser.url, tmp_path, **options) as chain:
            yield chain

    return make


def call_on(partition: int, of: int) -> str:
    """A call id that the producers' partitioner puts on a partition."""
    ids = (f"call-{number}" for number in range(1000))
    return next(name for name in ids if (murmur2(name.encode()) & 0x7FFFFFFF) % of == partition)


async def test_workers_that_come_and_go_during_calls_lose_and_repeat_nothing(make_chain: MakeChain) -> None:
    async with make_chain(partitions=4) as chain:
        calls = [call_on(number, of=4) for number in range(4)]
        chain.start_worker()
        await chain.await_ready()
        for call_id in calls:
            await chain.say("customer", AUDIO[:THIRD], stop=False, call_id=call_id)
        await eventually(partial(chain.words, calls[0]), waiting_for="the first words")
        second = chain.start_worker("second", health_port=free_port())
        await chain.await_check("partitions", saying="2 owned", port=second.health_port)
        for call_id in calls:
            await chain.go_on(AUDIO, THIRD, 2 * THIRD, call_id=call_id)
        await chain.await_check("partitions", saying="2 owned")
        await chain.stop("second")
        for call_id in calls:
            await chain.go_on(AUDIO, 2 * THIRD, len(AUDIO), call_id=call_id)
            await chain.end_call(call_id)
        for call_id in calls:
            await chain.await_end(call_id)

        assert [await chain.words(call_id) for call_id in calls] == [WORDS] * 4


async def test_a_worker_without_a_partition_stops_as_quietly_as_any(make_chain: MakeChain) -> None:
    async with make_chain(partitions=1) as chain:
        chain.start_worker()
        second = chain.start_worker("second", health_port=free_port())
        await chain.await_ready()
        await chain.await_ready(port=second.health_port)

        await chain.stop("second")
        await chain.stop("worker")


async def test_a_worker_that_is_fenced_off_loads_the_partition_anew(make_chain: MakeChain) -> None:
    async with make_chain() as chain:
        chain.start_worker()
        await chain.say("customer", AUDIO[:THIRD], stop=False)
        await eventually(chain.words, waiting_for="the first words")
        fencings = metrics.EPOCH_FENCINGS._value.get()
        await PostgresStore(chain.database).claim(chain.settings.audio_topic, 0, "intruder")
        await chain.go_on(AUDIO, THIRD, len(AUDIO))
        await chain.end_call()
        await chain.await_end()

        assert await chain.words() == WORDS
        assert metrics.EPOCH_FENCINGS._value.get() == fencings + 1


async def test_a_static_member_comes_back_to_its_partitions(make_chain: MakeChain) -> None:
    async with make_chain(partitions=2, group_instance_id="worker-0") as chain:
        chain.start_worker()
        await chain.say("customer", AUDIO[:THIRD], stop=False)
        await eventually(chain.words, waiting_for="the first words")
        await chain.stop("worker")
        chain.start_worker()
        await chain.go_on(AUDIO, THIRD, len(AUDIO))
        await chain.end_call()
        await chain.await_end()

        assert await chain.words() == WORDS


async def test_a_fault_of_our_own_is_told_and_the_partition_loaded_anew(make_chain: MakeChain) -> None:
    async with make_chain() as chain:
        chain.start_worker()
        await chain.say("customer", AUDIO[:THIRD], stop=False)
        await eventually(chain.words, waiting_for="the first words")
        # As if a batch had been numbered wrongly: no repetition helps.
        await chain.query("update qa.partition_claim set write_seq = write_seq + 5 returning epoch")
        await chain.go_on(AUDIO, THIRD, len(AUDIO))
        await chain.end_call()
        await chain.await_end()

        assert await chain.words() == WORDS


async def test_a_database_that_goes_away_in_flight_is_waited_for(
    make_chain: MakeChain, database_url: str
) -> None:
    async with linked(place_of(database_url)) as link, make_chain() as chain:
        chain.start_worker(database_url=_secret(chain, through(link, database_url)))
        await chain.say("customer", AUDIO[:THIRD], stop=False)
        await eventually(chain.words, waiting_for="the first words")
        link.cut()
        await chain.go_on(AUDIO, THIRD, 2 * THIRD)
        other = "another-call"  # not in memory, so it has to be looked up
        await chain.say("customer", AUDIO, call_id=other)
        await chain.await_check("postgres", saying="cannot be reached")
        assert (await chain.readiness(path="livez"))[0] == 200
        await link.mend()
        await chain.go_on(AUDIO, 2 * THIRD, len(AUDIO))
        for call_id in (chain.call_id, other):
            await chain.end_call(call_id)
            await chain.await_end(call_id)

        assert await chain.words() == WORDS
        assert await chain.words(other) == WORDS
        await chain.await_ready()


async def test_a_worker_answers_probes_while_it_waits_for_its_database(
    make_chain: MakeChain, database_url: str
) -> None:
    async with linked(place_of(database_url)) as link, make_chain() as chain:
        link.cut()
        chain.start_worker(database_url=_secret(chain, through(link, database_url)))
        await chain.await_check("postgres", saying="starting: waiting for PostgreSQL")
        assert (await chain.readiness())[0] == 503
        assert (await chain.readiness(path="livez"))[0] == 200
        await link.mend()
        await chain.await_ready()


async def test_a_stop_during_the_start_is_heeded(make_chain: MakeChain, database_url: str) -> None:
    async with linked(place_of(database_url)) as link, make_chain() as chain:
        link.cut()
        chain.start_worker(database_url=_secret(chain, through(link, database_url)))
        await chain.await_check("postgres", saying="starting: waiting for PostgreSQL")
        await chain.stop("worker")

        assert await chain.readiness() == (0, {})


async def test_what_retention_has_dropped_becomes_a_gap_and_the_rest_goes_on(
    make_chain: MakeChain,
) -> None:
    with capture_logs() as lines:
        async with make_chain() as chain:
            chain.start_worker()
            await chain.say("agent", quiet(1.5), role="agent", stop=False)
            await chain.say("customer", AUDIO[:THIRD], stop=False)
            await eventually(chain.words, waiting_for="the first words")
            await chain.stop("worker")
            await chain.go_on(AUDIO, THIRD, 2 * THIRD)
            await _delete_all_records(chain)
            await chain.go_on(AUDIO, 2 * THIRD, len(AUDIO))
            await chain.end_call()
            chain.start_worker()
            await chain.await_end()
            gaps = await chain.query(
                "select leg_id, reason, end_ms - start_ms as ms from qa.log_entry where kind = 'gap'"
                " order by leg_id"
            )

            assert [(gap["leg_id"], gap["reason"], gap["ms"] > 0) for gap in gaps] == [
                ("agent", "offset_lost", False),  # it never came again: nobody knows how much there was
                ("customer", "offset_lost", True),
            ]
            assert (await chain.words())[-2:] == WORDS[-2:]
    assert "offset_out_of_range" in [line["event"] for line in lines]


async def test_a_stored_offset_beyond_the_log_begins_where_the_log_does(make_chain: MakeChain) -> None:
    async with make_chain() as chain:
        store = PostgresStore(chain.database)
        await store.claim(chain.settings.audio_topic, 0, "an earlier life of the topic")
        await chain.query("update qa.partition_claim set next_offset = 1000000 returning epoch")
        chain.start_worker()
        await chain.say("customer", AUDIO)
        await chain.end_call()
        await chain.await_end()
        (claim,) = await chain.query("select next_offset from qa.partition_claim")

        assert await chain.words() == WORDS
        assert claim["next_offset"] < 1000000


async def test_a_run_of_bad_records_stops_the_partition_and_is_kept(make_chain: MakeChain) -> None:
    async with make_chain(dlq_max_run=3) as chain:
        chain.start_worker()
        for _ in range(5):
            await chain.send_raw([("v", b"1"), ("type", b"noise")], b"")
        detail = await chain.await_check("partitions", saying="stopped")

        assert "3 undecodable records in a row" in detail
        assert len(await chain.dead_letters(3)) == 3

        async def is_counted() -> bool:
            return metrics.PARTITIONS_PAUSED["poison"]._value.get() == 1

        await eventually(is_counted, waiting_for="the partition to be counted as paused for poison")


async def test_an_unknown_version_stops_its_own_partition_alone(make_chain: MakeChain) -> None:
    async with make_chain(partitions=2) as chain:
        bad, good = call_on(0, of=2), call_on(1, of=2)
        frame = encode_record(bad, AudioFrame("customer", 0, 0, 0, b"\xff" * 160))
        headers = [(name, b"9" if name == "v" else value) for name, value in frame.headers]
        chain.start_worker()
        await chain.send_raw(headers, frame.value, key=frame.key)
        await chain.await_check("partitions", saying="version 1 only")
        await chain.say("customer", AUDIO, call_id=good)
        await chain.end_call(good)
        await chain.await_end(good)

        assert await chain.words(good) == WORDS


async def test_beyond_its_limit_of_legs_a_worker_lets_other_calls_wait(make_chain: MakeChain) -> None:
    async with make_chain(partitions=2, max_legs=1) as chain:
        first, second = call_on(0, of=2), call_on(1, of=2)
        chain.start_worker()
        await chain.say("customer", AUDIO, stop=False, call_id=first)
        await chain.await_check("partitions", saying="1 held for capacity")
        await chain.say("customer", AUDIO, call_id=second)
        await chain.end_call(second)
        await eventually(partial(_has_words, chain, first), waiting_for="all words of the first call")
        assert await chain.words(second) == []
        await chain.end_call(first)
        await chain.await_end(second)

        assert await chain.words(second) == WORDS


async def _has_words(chain: Chain, call_id: str) -> bool:
    return await chain.words(call_id) == WORDS


async def _delete_all_records(chain: Chain) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=chain.settings.kafka_bootstrap)
    await admin.start()
    try:
        partition = TopicPartition(chain.settings.audio_topic, 0)
        await admin.delete_records({partition: RecordsToDelete(before_offset=-1)})
    finally:
        await admin.close()


def _secret(chain: Chain, url: str) -> Any:
    return type(chain.settings.database_url)(url)


async def test_a_call_on_two_partitions_stays_with_one_and_stops_neither(make_chain: MakeChain) -> None:
    async with make_chain(partitions=2) as chain:
        healthy = [call_on(number, of=2) for number in range(2)]
        chain.start_worker()
        await chain.await_ready()
        with capture_logs() as logs:
            # Both begin the call at once: neither can know of the other before the database tells.
            for leg, partition in (("customer", 0), ("agent", 1)):
                await say_on(chain, partition, leg, AUDIO)
            for call_id in healthy:
                await chain.say("customer", AUDIO, call_id=call_id)
                await chain.end_call(call_id)
            for call_id in healthy:
                await chain.await_end(call_id)
                assert await chain.words(call_id) == WORDS
            refused = len(range(0, len(AUDIO), 160)) + 1
            letters = await chain.dead_letters(refused)
            again = await chain.query("select leg_id from qa.leg where call_id = 'split'")

        assert {letter.reason for letter in letters} == {"call_on_other_partition"}
        assert len(again) == 1
        lost = "agent" if again[0]["leg_id"] == "customer" else "customer"
        assert {letter.partition for letter in letters} == {0 if lost == "customer" else 1}
        assert len({letter.offset for letter in letters}) == refused  # every one, and once
        told = [entry for entry in logs if entry["event"] == "call_on_other_partition"]
        assert [entry["call_id"] for entry in told] == ["split"]

        async def is_transcribed() -> bool:
            return await chain.words("split") == WORDS

        await eventually(is_transcribed, waiting_for="the leg on the partition that was first")


async def say_on(chain: Chain, partition: int, leg: str, audio: bytes) -> None:
    """Publish a leg of the call "split" to a partition, whatever a partitioner would say."""
    info = LegStart(leg, now_ms(), "pcmu", 8000, LegInfo(role="customer"))
    frames = [
        AudioFrame(leg, at, at // 160, now_ms() + at // 8, audio[at : at + 160])
        for at in range(0, len(audio), 160)
    ]
    for record in (info, *frames):
        encoded = encode_record("split", record)
        await chain.producer.send(
            chain.settings.audio_topic,
            encoded.value,
            key=encoded.key,
            headers=list(encoded.headers),
            partition=partition,
        )
    await chain.producer.flush()
