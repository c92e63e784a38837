"""A call is recorded from real Kafka and played again offline: the same entries, the same incidents."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from aiokafka.partitioner import murmur2
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from qa_service.cli.tape import tape
from qa_service.kafka import KafkaUnavailable
from qa_service.tape.recording import CallNotFound, Wanted, record_call
from tests.worker.conftest import Chain, a_chain, quiet, serve_scripted, speech

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

QaService: TypeAlias = Callable[..., Awaitable[Result]]

WORDS = ("hello", "cancel", "my", "contract", "please")
AUDIO = speech(*WORDS) + quiet(6.0) + speech("thanks", "bye") + quiet(1.0)


@pytest.fixture
async def chain(
    kafka_bootstrap: str, database_url: str, make_topic: Any, tmp_path: Path
) -> AsyncIterator[Chain]:
    """A worker, and a call of one leg that it has stored."""
    async with (
        await serve_scripted(0) as recogniser,
        a_chain(kafka_bootstrap, database_url, make_topic, recogniser.url, tmp_path, partitions=3) as chain,
    ):
        chain.start_worker()
        await chain.say("customer", AUDIO)
        await chain.say("customer", speech("four"), call_id="another")
        await chain.end_call()
        await chain.await_end()
        yield chain


@pytest.fixture
def qa_service(monkeypatch: pytest.MonkeyPatch, chain: Chain) -> QaService:
    """Runs a tape command against the chain, in a thread, since it has an event loop of its own."""
    monkeypatch.setattr("qa_service.cli.tape.configure_logging", lambda _settings: None)
    environment = {
        "QA_KAFKA_BOOTSTRAP": chain.settings.kafka_bootstrap,
        "QA_AUDIO_TOPIC": chain.settings.audio_topic,
        "QA_DATABASE_URL": chain.settings.database_url.get_secret_value(),
        "QA_ASR_URL": chain.settings.asr_url or "",
        "QA_ASR_SILENCE_MS": "400",
        "QA_ASR_VAD_THRESHOLD": "0",
        "QA_RULES_FILE": str(chain.settings.rules_file),
    }

    async def invoke(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        with capture_logs():
            return await asyncio.to_thread(CliRunner().invoke, tape, words, env=environment)

    return invoke


async def test_a_recorded_call_is_played_to_what_is_stored(
    qa_service: QaService, chain: Chain, tmp_path: Path
) -> None:
    file, before = tmp_path / "call.tape", tmp_path / "before.jsonl"
    recorded = await qa_service("record", chain.call_id, "-o", file, "--json")
    played = await qa_service("play", file)
    before.write_text(played.stdout, encoding="utf-8")
    against_rows = await qa_service("play", file, "--stored")
    with_other_words = await qa_service("play", file, "--engine", "scripted", "--expect", before)

    assert json.loads(recorded.stdout)["records"] == 3 + math.ceil(len(AUDIO) / 160)  # start, stop, call_end
    lines = [json.loads(line) for line in played.stdout.splitlines()]
    bodies = [line["entry"]["body"] for line in lines if "entry" in line]
    assert " ".join(body["text"] for body in bodies if "text" in body).split() == [*WORDS, "thanks", "bye"]
    incidents = [line["incident"] for line in lines if "incident" in line]
    assert {incident["rule_id"]: incident["state"] for incident in incidents} == {
        "cancellation-request": "closed",
        "dead-air": "closed",
    }
    assert (against_rows.exit_code, against_rows.stdout) == (0, "")
    assert with_other_words.exit_code == 1
    assert "customer: entry 2: text 'hello cancel my contract please' became" in with_other_words.stdout
    assert "incident" in with_other_words.stdout


async def test_a_call_is_found_on_another_partition_than_its_key_says(chain: Chain, tmp_path: Path) -> None:
    usual = (murmur2(b"stray") & 0x7FFFFFFF) % 3
    unusual = (usual + 1) % 3
    headers = [("v", b"1"), ("type", b"call_end"), ("ts", b"1")]
    for _ in range(2):
        await chain.producer.send_and_wait(
            chain.settings.audio_topic, b"", key=b"stray", partition=unusual, headers=headers
        )
    wanted = Wanted(topic=chain.settings.audio_topic, call_id="stray")
    recorded = await record_call(chain.kafka, wanted, lambda _done, _all: None)
    assert recorded.label.partition == unusual
    assert [record.headers for record in recorded.records] == [tuple(headers)] * 2

    with pytest.raises(CallNotFound, match="holds no record of call 'nobody'"):
        await record_call(chain.kafka, Wanted(topic=wanted.topic, call_id="nobody"), lambda _done, _all: None)
    with pytest.raises(CallNotFound, match="retention"):
        await record_call(
            chain.kafka,
            Wanted(topic=wanted.topic, call_id="stray", since_ms=2**42),
            lambda _done, _all: None,
        )
    with pytest.raises(KafkaUnavailable, match="no-such-topic does not exist"):
        await record_call(
            chain.kafka, Wanted(topic="no-such-topic", call_id="stray"), lambda _done, _all: None
        )
