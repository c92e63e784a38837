"""From audio in Kafka to rows in PostgreSQL and alerts in Kafka, on the real parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qa_service import metrics
from qa_service.asr_server import AsrServer
from qa_service.contract import AudioFrame, LegInfo, encode_record
from qa_service.embedded.child import free_port
from qa_service.rules.ruleset import load_rule_set
from qa_service.storage.rule_versions import publish
from tests.support.waiting import eventually
from tests.worker.conftest import RULES, Chain, a_chain, now_ms, quiet, serve_scripted, speech

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def test_what_each_leg_says_is_stored_in_order(chain: Chain) -> None:
    await chain.say("customer", quiet(0.5) + speech("hello", "please") + quiet(1) + speech("bye") + quiet(1))
    await chain.say("agent", quiet(0.5) + speech("hello", "thanks") + quiet(1), role="agent")
    await chain.end_call()
    await chain.await_end()

    assert await chain.texts() == [
        ("agent", "hello thanks"),
        ("customer", "hello please"),
        ("customer", "bye"),
    ]


async def test_every_leg_is_covered_to_its_last_sample(chain: Chain) -> None:
    await chain.say("customer", quiet(0.5) + speech("hello") + quiet(2.5))
    await chain.end_call()
    await chain.await_end()
    legs = await chain.query(
        "select covered_until, ended from qa.leg where call_id = :call", call=chain.call_id
    )

    audio = quiet(0.5) + speech("hello") + quiet(2.5)
    frames = -(-len(audio) // 160)
    assert [{"covered_until": min(frames * 160, len(audio)), "ended": True}] == legs


async def test_a_phrase_raises_one_incident_and_closes_it(chain: Chain) -> None:
    await chain.say("customer", quiet(0.5) + speech("cancel", "my", "contract") + quiet(1.5))
    await chain.end_call()
    alerts = await chain.alerts(2)

    assert [(alert["state"], alert["rule_id"]) for alert in alerts] == [
        ("opened", "cancellation-request"),
        ("closed", "cancellation-request"),
    ]
    assert alerts[0]["evidence"][0]["text"] == "cancel my contract"
    stamps = alerts[0]["stamps"]
    assert stamps["final_at"] <= stamps["durable_at"] <= stamps["published_at"]


async def test_rules_published_while_a_worker_runs_are_those_of_new_calls_alone(chain: Chain) -> None:
    await chain.stop("worker")
    await _put_in_force(chain, RULES)
    chain.start_worker(rules_from="database", rules_poll_s=0.1)
    await chain.await_ready()
    audio = speech("hello") + quiet(1) + speech("cancel", "my", "contract") + quiet(1)
    await chain.say("customer", audio[: len(audio) // 2], stop=False)
    await eventually(chain.texts, waiting_for="the first utterance")
    await _put_in_force(chain, RULES.replace("cancellation-request", "wants-to-leave"))
    begun = await _await_rules_of_new_calls(chain, "wants-to-leave")
    await chain.go_on(audio, len(audio) // 2, len(audio))
    await chain.end_call()
    await chain.await_end()
    raised = await chain.query("select call_id, rule_id from qa.incident")

    assert {"call_id": chain.call_id, "rule_id": "cancellation-request"} in raised
    assert {"call_id": begun, "rule_id": "wants-to-leave"} in raised
    assert len({(each["call_id"], each["rule_id"]) for each in raised if each["call_id"] == begun}) == 1


async def _put_in_force(chain: Chain, source: str) -> None:
    rules = load_rule_set(source, "published rules")
    await publish(chain.database, rule_set_hash=rules.hash, source=source, name="test", by="a test")


async def _await_rules_of_new_calls(chain: Chain, rule_id: str) -> str:
    """Begin one call after the other until one has raised the rule; returns which."""
    begun: list[str] = []

    async def found() -> str | None:
        call_id = f"{chain.call_id}-{len(begun)}"
        begun.append(call_id)
        await chain.say("customer", speech("cancel", "my", "contract") + quiet(1), call_id=call_id)
        await chain.end_call(call_id)
        await chain.await_end(call_id)
        raised = await chain.query("select rule_id from qa.incident where call_id = :call", call=call_id)
        return call_id if {"rule_id": rule_id} in raised else None

    return await eventually(found, waiting_for=f"a call whose rules have {rule_id}")


async def test_dead_air_of_both_legs_is_one_incident(chain: Chain) -> None:
    await chain.say("customer", speech("hello") + quiet(7) + speech("bye") + quiet(1))
    await chain.say("agent", speech("hello") + quiet(8), role="agent")
    await chain.end_call()
    alerts = await chain.alerts(2)

    assert [(a["state"], a["rule_id"]) for a in alerts] == [("opened", "dead-air"), ("closed", "dead-air")]


async def test_finished_utterances_go_to_their_topic(chain: Chain) -> None:
    await chain.say("customer", speech("hello", "please") + quiet(1))
    await chain.end_call()
    (record,) = await chain.read_topic(chain.settings.transcripts_topic, 1)

    assert chain.call_id.encode() == record.key
    assert b'"hello please"' in record.value
    assert dict(record.headers)["ce_type"] == b"qa.utterance"


async def test_partials_of_a_long_utterance_go_to_their_topic(chain: Chain) -> None:
    await chain.say("customer", speech(*["hello", "please"] * 15) + quiet(1))
    await chain.end_call()
    record, *_ = await chain.read_topic(chain.settings.partials_topic, 1)

    assert dict(record.headers)["ce_type"] == b"qa.partial"


async def test_audio_between_pause_and_resume_is_neither_transcribed_nor_stored(chain: Chain) -> None:
    call = chain.publisher.call(chain.call_id)
    leg = call.leg("customer")
    await leg.start(LegInfo(role="customer"), ts=now_ms())
    for part, paused in (
        (speech("hello") + quiet(1), False),
        (speech("four", "one"), True),
        (quiet(0.5) + speech("bye") + quiet(1), False),
    ):
        if paused:
            await leg.pause(ts=now_ms())
        for at in range(0, len(part), 160):
            await leg.frame(part[at : at + 160], ts=now_ms())
        if paused:
            await leg.resume(ts=now_ms())
    await leg.stop(ts=now_ms())
    await chain.end_call()
    await chain.await_end()
    gaps = await chain.query(
        "select reason from qa.log_entry where call_id = :call and kind = 'gap'", call=chain.call_id
    )

    assert await chain.texts() == [("customer", "hello"), ("customer", "bye")]
    assert gaps == [{"reason": "paused"}]


async def test_a_worker_that_is_killed_loses_and_repeats_nothing(chain: Chain) -> None:
    words = ["hello", "please", "thanks", "bye", "four", "one"]
    audio = b"".join(speech(word) + quiet(0.8) for word in words)
    await chain.say("customer", audio[: len(audio) // 2], stop=False)
    await eventually(chain.texts, waiting_for="the first utterance")
    await chain.kill("worker")
    await chain.go_on(audio, len(audio) // 2, len(audio))
    chain.start_worker()
    await chain.end_call()
    await chain.await_end()

    assert words == await chain.words()


async def test_a_successor_goes_on_with_what_the_recogniser_had_learnt(chain: Chain) -> None:
    words = ["hello", "please", "thanks", "bye"]
    audio = b"".join(speech(word) + quiet(0.8) for word in words)
    taken = metrics.LEG_STATES["taken"]._value.get()
    await chain.say("customer", audio[: len(audio) // 2], stop=False)
    await eventually(chain.texts, waiting_for="the first utterance")
    (leg,) = await chain.query(
        "select recogniser_state from qa.leg where call_id = :call", call=chain.call_id
    )
    await chain.kill("worker")
    await chain.go_on(audio, len(audio) // 2, len(audio))
    chain.start_worker()
    await chain.end_call()
    await chain.await_end()
    (ended,) = await chain.query(
        "select recogniser_state from qa.leg where call_id = :call", call=chain.call_id
    )

    assert leg["recogniser_state"]
    assert metrics.LEG_STATES["taken"]._value.get() > taken
    assert ended["recogniser_state"] is None


async def test_a_recogniser_that_comes_late_loses_nothing(
    kafka_bootstrap: str, database_url: str, make_topic: Any, tmp_path: Path
) -> None:
    port = free_port()
    async with a_chain(
        kafka_bootstrap, database_url, make_topic, f"ws://127.0.0.1:{port}", tmp_path
    ) as chain:
        chain.start_worker()
        await chain.say("customer", speech("hello", "please") + quiet(1))
        await chain.end_call()

        detail = await chain.await_check("recogniser", saying="QA_ASR_URL")
        async with await serve_scripted(port):
            await chain.await_end()

    assert f"127.0.0.1:{port}" in detail
    assert await chain.texts() == [("customer", "hello please")]


async def test_a_wrong_key_is_named_and_nothing_is_lost(
    kafka_bootstrap: str, database_url: str, make_topic: Any, tmp_path: Path
) -> None:
    async with (
        await serve_scripted(0, api_keys=("right",)) as server,
        a_chain(
            kafka_bootstrap, database_url, make_topic, server.url, tmp_path, asr_api_key="wrong"
        ) as chain,
    ):
        chain.start_worker()
        await chain.say("customer", speech("hello") + quiet(1))
        await chain.end_call()

        await chain.await_check("recogniser", saying="QA_ASR_API_KEY")
        await chain.stop("worker")
        chain.settings = type(chain.settings)(**{**chain.settings.model_dump(), "asr_api_key": "right"})
        chain.start_worker()
        await chain.await_end()

    assert await chain.texts() == [("customer", "hello")]


GOOD = dict(encode_record("call-raw", AudioFrame("customer", 0, 0, 0, b"\xff" * 160)).headers)


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ({"leg": None}, b"\xff" * 160, "missing_header"),
        ({"pos": b"ten"}, b"\xff" * 160, "bad_header"),
        ({"type": b"noise"}, b"\xff" * 160, "unknown_type"),
        ({"codec": b"mp3"}, b"\xff" * 160, "unknown_codec"),
        ({"codec": b"pcm_s16le"}, b"\x00" * 161, "odd_bytes"),
        ({}, b"", "empty_audio"),
        ({"type": b"start", "codec": b"pcmu", "rate": b"8000"}, b"{not json", "bad_json"),
    ],
)
async def test_a_bad_record_goes_to_the_dead_letters_and_its_neighbours_go_on(
    chain: Chain, headers: dict[str, bytes | None], value: bytes, reason: str
) -> None:
    merged = {name: content for name, content in {**GOOD, **headers}.items() if content is not None}
    await chain.send_raw(list(merged.items()), value, key=chain.call_id.encode())
    await chain.say("customer", speech("hello") + quiet(1))
    await chain.end_call()
    await chain.await_end()
    (letter,) = await chain.dead_letters(1)

    assert reason == letter.reason
    assert chain.settings.audio_topic == letter.topic
    assert await chain.texts() == [("customer", "hello")]


async def test_an_unknown_version_stops_the_partition_and_says_so(chain: Chain) -> None:
    await chain.send_raw([*({**GOOD, "v": b"2"}).items()], b"\xff" * 160)

    detail = await chain.await_check("partitions", saying="stopped")

    assert "'v'" in detail


async def test_positions_that_repeat_jump_and_run_backwards_lose_nothing(chain: Chain) -> None:
    hello, bye = speech("hello"), speech("bye")
    call = chain.publisher.call(chain.call_id)

    async def send(audio: bytes, pos: int, seq: int) -> int:
        for at in range(0, len(audio), 160):
            await call.send(AudioFrame("customer", pos + at, seq + at // 160, now_ms(), audio[at : at + 160]))
        return seq + len(range(0, len(audio), 160))

    await call.leg("customer").start(LegInfo(role="customer"), ts=now_ms())
    part = hello + quiet(0.1)
    seq = await send(part, 0, 0)
    await send(part, 0, 0)  # all of it again
    jumped = len(part) + 8000 * 3
    await call.send(AudioFrame("customer", 0, seq, now_ms(), b"\xff" * 160))  # backwards, under a new number
    seq = await send(bye + quiet(1), jumped, seq + 1)  # three seconds never sent
    await call.leg("customer").stop(ts=now_ms())
    await chain.end_call()
    await chain.await_end()
    gaps = await chain.query(
        "select reason, end_ms - start_ms as ms from qa.log_entry where call_id = :call and kind = 'gap'",
        call=chain.call_id,
    )

    assert await chain.texts() == [("customer", "hello"), ("customer", "bye")]
    assert len(gaps) == 1
    assert len(await chain.dead_letters(1)) == 1


async def test_audio_without_a_start_is_transcribed_as_nobody_in_particular(chain: Chain) -> None:
    await chain.say("leg-1", speech("hello") + quiet(1), role=None)
    await chain.end_call()
    await chain.await_end()
    (leg,) = await chain.query(
        "select role, role_is_explicit, emotion_policy from qa.leg where call_id = :call", call=chain.call_id
    )

    assert leg == {"role": "other", "role_is_explicit": False, "emotion_policy": "off_unknown_role"}
    assert await chain.texts() == [("leg-1", "hello")]


async def test_the_emotion_of_agents_is_not_even_inferred(chain: Chain, recogniser: AsrServer) -> None:
    await chain.say("agent", speech("hello") + quiet(1), role="agent")
    await chain.end_call()
    await chain.await_end()
    (leg,) = await chain.query(
        "select emotion_policy, emotion_enforced_by from qa.leg where call_id = :call", call=chain.call_id
    )

    assert leg == {"emotion_policy": "off_role", "emotion_enforced_by": "recogniser"}
