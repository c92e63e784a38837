"""The chain as it is deployed: worker and relay against real Kafka and PostgreSQL, a scripted recogniser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from qa_service.asr_server import AsrServer, ServerConfig, serve
from qa_service.asr_server.engines.scripted import ScriptedEngine, markers
from qa_service.asr_server.voice_activity import LoudnessDetector
from qa_service.asr_server.workplace import Models
from qa_service.audio.g711 import encode_ulaw
from qa_service.audio.resample import pcm_of_samples
from qa_service.cli.parts import run_relay, run_worker
from qa_service.contract import AudioFrame, EncodedRecord, LegInfo, describe_dead_letter
from qa_service.embedded.child import free_port
from qa_service.kafka import KafkaConfig
from qa_service.settings import Settings
from qa_service.storage.database import Database
from qa_service.telephony.producer import Publisher, connect_publisher
from tests.support.waiting import eventually

VOCABULARY = ("hello", "cancel", "my", "contract", "please", "thanks", "four", "one", "number", "is", "bye")

RULES = """
version: 1
rules:
  - id: cancellation-request
    version: 1
    severity: medium
    description: The customer wants to cancel.
    when: {said: {leg: customer, any_of: ["cancel my contract"]}}
    incident: {close_after: 5s}
  - id: dead-air
    version: 1
    severity: low
    description: Nobody speaks.
    when: {silence: {of: call, longer_than: 4s}}
"""


def speech(*words: str) -> bytes:
    """µ-law at 8 kHz in which the scripted engine hears ``words``."""
    pcm = np.frombuffer(pcm_of_samples(markers(words, rate_hz=8000, vocabulary=VOCABULARY)), dtype="<i2")
    return encode_ulaw(pcm)


def quiet(seconds: float) -> bytes:
    """µ-law silence."""
    return b"\xff" * int(8000 * seconds)


@dataclass
class Chain:
    """The running parts, and what a test may do to them and ask of them."""

    settings: Settings
    publisher: Publisher
    producer: AIOKafkaProducer
    database: Database
    kafka: KafkaConfig
    call_id: str = field(default_factory=lambda: f"call-{uuid.uuid4().hex[:8]}")
    _tasks: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = field(default_factory=dict)

    def start(self, name: str, part: Any) -> None:
        stop = asyncio.Event()
        self._tasks[name] = (stop, asyncio.create_task(part(self.settings, stop), name=name))

    def start_worker(self, name: str = "worker", **overrides: Any) -> Settings:
        """A worker as a process of its own would be; a second one needs another health port."""
        settings = self.settings.model_copy(update=overrides)
        stop = asyncio.Event()
        self._tasks[name] = (stop, asyncio.create_task(run_worker(settings, stop), name=name))
        return settings

    async def stop(self, name: str) -> None:
        """Let a part end as SIGTERM does."""
        stop, task = self._tasks.pop(name)
        stop.set()
        await task

    async def kill(self, name: str) -> None:
        """End a part in the middle of whatever it does, without a farewell."""
        _, task = self._tasks.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def close(self) -> None:
        for name in list(self._tasks):
            await self.kill(name)

    async def say(
        self,
        leg: str,
        audio: bytes,
        *,
        role: str | None = "customer",
        stop: bool = True,
        call_id: str | None = None,
    ) -> None:
        """Publish a whole leg at once, in 20-ms frames."""
        call = self.publisher.call(call_id or self.call_id)
        publisher = call.leg(leg)
        ts = now_ms()
        if role is not None:
            await publisher.start(LegInfo(role=role), ts=ts)  # type: ignore[arg-type]
        for at in range(0, len(audio), 160):
            await publisher.frame(audio[at : at + 160], ts=ts + at // 8)
        if stop:
            await publisher.stop(ts=ts + len(audio) // 8)

    async def go_on(self, audio: bytes, start: int, end: int, *, call_id: str | None = None) -> None:
        """Publish the frames of ``audio`` from sample ``start`` to ``end`` of the customer's leg."""
        call = self.publisher.call(call_id or self.call_id)
        for at in range(start, end, 160):
            frame = AudioFrame("customer", at, at // 160, now_ms() + at // 8, audio[at : min(at + 160, end)])
            await call.send(frame)
        await self.publisher.flush()

    async def end_call(self, call_id: str | None = None) -> None:
        await self.publisher.call(call_id or self.call_id).end(ts=now_ms())
        await self.publisher.flush()

    async def send_raw(
        self, headers: Sequence[tuple[str, bytes]], value: bytes | None, key: bytes | None = b"call-raw"
    ) -> None:
        await self.producer.send_and_wait(self.settings.audio_topic, value, key=key, headers=list(headers))

    async def send(self, record: EncodedRecord) -> None:
        await self.send_raw(record.headers, record.value, record.key)

    async def query(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        async with self.database.transaction() as connection:
            return [dict(row) for row in (await connection.execute(sa.text(statement), values)).mappings()]

    async def words(self, call_id: str | None = None) -> list[str]:
        """All that was said on a call, word by word."""
        return " ".join(text for _, text in await self.texts(call_id)).split()

    async def texts(self, call_id: str | None = None) -> list[tuple[str, str]]:
        rows = await self.query(
            "select leg_id, text from qa.log_entry where call_id = :call and kind = 'utterance'"
            " order by leg_id, ordinal",
            call=call_id or self.call_id,
        )
        return [(row["leg_id"], row["text"]) for row in rows]

    async def await_end(self, call_id: str | None = None) -> None:
        call_id = call_id or self.call_id

        async def has_ended() -> bool:
            found = await self.query("select 1 from qa.call where call_id = :call and ended", call=call_id)
            return bool(found)

        await eventually(has_ended, waiting_for=f"the end of {call_id} in the database")

    async def read_topic(self, topic: str, count: int) -> list[Any]:
        """The first ``count`` records of a topic."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.settings.kafka_bootstrap, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, 0)])
            await consumer.seek_to_beginning()
            found: list[Any] = []

            async def read() -> list[Any]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(records)
                return found if len(found) >= count else []

            return await eventually(read, waiting_for=f"{count} records on {topic}")
        finally:
            await consumer.stop()

    async def alerts(self, count: int) -> list[dict[str, Any]]:
        return [
            json.loads(record.value) for record in await self.read_topic(self.settings.alerts_topic, count)
        ]

    async def dead_letters(self, count: int) -> list[Any]:
        records = await self.read_topic(self.settings.dlq_topic, count)
        return [describe_dead_letter(record.headers) for record in records]

    async def readiness(self, port: int | None = None, path: str = "readyz") -> tuple[int, dict[str, Any]]:
        url = f"http://127.0.0.1:{port or self.settings.health_port}/{path}"
        try:
            async with aiohttp.ClientSession() as http, http.get(url) as answer:
                return answer.status, await answer.json()
        except aiohttp.ClientError:
            return 0, {}

    async def await_ready(self, port: int | None = None) -> None:
        async def ready() -> bool:
            return (await self.readiness(port))[0] == 200

        await eventually(ready, waiting_for="the worker to be ready")

    async def await_check(self, name: str, saying: str, port: int | None = None) -> str:
        """The detail of a readiness check once it says something."""

        async def says() -> str:
            detail = (await self.readiness(port))[1].get("checks", {}).get(name, {}).get("detail", "")
            return detail if saying in detail else ""

        return await eventually(says, waiting_for=f"the check {name!r} to say {saying!r}")


@pytest.fixture
async def recogniser() -> AsyncIterator[AsrServer]:
    async with await serve_scripted(0) as server:
        yield server


async def serve_scripted(port: int, **options: Any) -> AsrServer:
    """A server whose engine hears the words of :data:`VOCABULARY`."""
    config = ServerConfig(
        port=port, no_auth=not options.get("api_keys"), threads=2, close_wait_s=0.2, **options
    )
    server = await serve(
        config, models=Models(engine=ScriptedEngine(VOCABULARY), detector=LoudnessDetector())
    )
    await server.wait_ready()
    return server


@pytest.fixture
async def chain(
    kafka_bootstrap: str, database_url: str, make_topic: Any, recogniser: AsrServer, tmp_path: Path
) -> AsyncIterator[Chain]:
    """Worker and relay are running and ready."""
    async with a_chain(kafka_bootstrap, database_url, make_topic, recogniser.url, tmp_path) as running:
        running.start_worker()
        running.start("relay", _relay_on_another_port)
        await running.await_ready()
        yield running


async def _relay_on_another_port(settings: Settings, stop: asyncio.Event) -> None:
    await run_relay(settings.model_copy(update={"health_port": free_port()}), stop)


@contextlib.asynccontextmanager
async def a_chain(
    kafka_bootstrap: str,
    database_url: str,
    make_topic: Any,
    asr_url: str,
    tmp_path: Path,
    *,
    partitions: int = 1,
    **overrides: Any,
) -> AsyncIterator[Chain]:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        kafka_bootstrap=kafka_bootstrap,
        audio_topic=await make_topic("audio", partitions=partitions),
        dlq_topic=await make_topic("dlq"),
        alerts_topic=await make_topic("alerts"),
        transcripts_topic=await make_topic("transcripts"),
        partials_topic=await make_topic("partials"),
        consumer_group=f"group-{uuid.uuid4().hex[:8]}",
        start_from="earliest",
        database_url=database_url,  # type: ignore[arg-type]
        asr_url=asr_url,
        asr_silence_ms=400,
        asr_vad_threshold=0.0,
        rules_file=rules,
        health_host="127.0.0.1",
        health_port=free_port(),
        **{"shutdown_grace_s": 3.0, **overrides},
    )
    kafka = KafkaConfig(bootstrap=kafka_bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    database = Database(database_url)
    try:
        async with connect_publisher(kafka, settings.audio_topic) as publisher:
            running = Chain(settings, publisher, producer, database, kafka)
            try:
                yield running
            finally:
                await running.close()
    finally:
        await producer.stop()
        await database.close()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
