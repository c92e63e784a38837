"""The extension `leg_state` over the wire: a leg whose connection breaks is judged as if it had not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from qa_service import metrics
from qa_service.asr_server import AsrServer, Models, ServerConfig, serve
from qa_service.asr_server.emotion_recogniser import VoiceEmotions
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.voice_activity import LoudnessDetector
from tests.asr_server.support import VAD_8K, Client, connected, silence, spoken, update
from tests.asr_server.voices import MadeUpVoices

ASKING = {"emotion_detail": True, "leg_state": True}


@asynccontextmanager
async def serving(emotions: VoiceEmotions | None) -> AsyncIterator[AsrServer]:
    models = Models(engine=ScriptedEngine(), detector=LoudnessDetector(), emotions=emotions)
    async with await serve(ServerConfig(port=0, no_auth=True, threads=1), models=models) as server:
        await server.wait_ready()
        yield server


def utterance(number: int) -> bytes:
    return silence(0.6) + spoken(*(f"w{number}" for _ in range(1 + number % 4))) + silence(0.8)


async def say(client: Client, *numbers: int) -> list[dict[str, Any]]:
    """The final results of some utterances."""
    results = []
    for number in numbers:
        await client.append(utterance(number))
        results.append(await client.receive_until(".completed"))
    return results


def judged(result: dict[str, Any]) -> tuple[Any, ...]:
    detail = result["qa"]
    return (
        result["transcript"],
        result["emotion"],
        pytest.approx(detail["anger_rank"], abs=0.002),
        pytest.approx(detail["anger_score"], abs=0.2),
    )


def leg_states(client: Client) -> list[dict[str, Any]]:
    return [
        {name: event[name] for name in ("accepted", "reason")} for event in client.of_type("qa.leg_state")
    ]


def counted(result: str) -> float:
    return metrics.SERVER_LEG_STATES[result]._value.get()


async def test_a_leg_goes_on_in_another_session_as_if_nothing_had_happened() -> None:
    numbers = range(9)
    async with serving(MadeUpVoices()) as server, connected(server.url, VAD_8K, update(qa=ASKING)) as client:
        whole = await say(client, *numbers)

    broken: list[dict[str, Any]] = []
    before = counted("taken")
    async with serving(MadeUpVoices()) as server:
        offered: bool | str = True
        for start in (0, 4, 6):
            asking = update(qa=ASKING | {"leg_state": offered})
            async with connected(server.url, VAD_8K, asking) as client:
                broken += await say(client, *numbers[start : {0: 4, 4: 6, 6: 9}[start]])
                assert leg_states(client) == ([{"accepted": True, "reason": None}] if start else [])
            offered = broken[-1]["qa"]["leg_state"]
            assert len(offered) < 200

    assert [judged(result) for result in broken] == [judged(result) for result in whole]
    assert counted("taken") == before + 2


async def test_without_its_state_a_leg_is_judged_otherwise() -> None:
    """The test above could not fail if the state made no difference."""
    async with serving(MadeUpVoices()) as server, connected(server.url, VAD_8K, update(qa=ASKING)) as client:
        whole = await say(client, *range(9))
    broken: list[dict[str, Any]] = []
    async with serving(MadeUpVoices()) as server:
        for start in (0, 6):
            async with connected(server.url, VAD_8K, update(qa=ASKING)) as client:
                broken += await say(client, *range(start, {0: 6, 6: 9}[start]))

    assert [judged(result) for result in broken[:6]] == [judged(result) for result in whole[:6]]
    assert [judged(result) for result in broken] != [judged(result) for result in whole]


@pytest.mark.parametrize(
    ("state", "reason"), [("nonsense!", "malformed"), ("A" * 5000, "too_long"), ("", "other_version")]
)
async def test_a_state_of_no_use_is_told_and_the_session_goes_on(state: str, reason: str) -> None:
    before = counted(reason)
    with capture_logs() as logs:
        async with serving(MadeUpVoices()) as server:
            asking = update(qa=ASKING | {"leg_state": state})
            async with connected(server.url, VAD_8K, asking) as client:
                (result,) = await say(client, 1)
                answers = leg_states(client)

    assert answers == [{"accepted": False, "reason": reason}]
    assert result["transcript"] == "w1 w1"
    assert client.of_type("error") == []
    assert counted(reason) == before + 1
    assert [line["reason"] for line in logs if line["event"] == "leg_state_refused"] == [reason]


async def test_a_state_comes_too_late_once_there_is_audio() -> None:
    async with serving(MadeUpVoices()) as server, connected(server.url, VAD_8K, update(qa=ASKING)) as client:
        (result,) = await say(client, 1)
        await client.send(update(qa=ASKING | {"leg_state": result["qa"]["leg_state"]}))
        await client.receive_until("qa.leg_state")

        assert leg_states(client) == [{"accepted": False, "reason": "too_late"}]


async def test_a_leg_with_emotion_off_has_no_rank_no_voice_in_its_state_and_no_part_in_the_norm() -> None:
    emotions = MadeUpVoices()
    async with serving(emotions) as server:
        warmed = emotions.heard
        asking = update(qa=ASKING | {"emotion": False})
        async with connected(server.url, VAD_8K, asking) as client:
            results = await say(client, 1, 2)
        state = results[-1]["qa"]["leg_state"]

        assert emotions.heard == warmed
        assert (emotions.past.judged, emotions.past.norm.count, len(emotions.past.scores)) == (0, 0, 0)
        for result in results:
            told = result["qa"]
            assert told["emotion_off"] is True
            for name in ("emotion_distribution", "anger_score", "anger_rank", "anger_daily"):
                assert told[name] is None
        assert len(state) < 100
        # Nothing of the voice is in it, so a session with emotion on begins with a speaker never heard.
        async with connected(server.url, VAD_8K, update(qa=ASKING | {"leg_state": state})) as client:
            (result,) = await say(client, 1)
            assert leg_states(client) == [{"accepted": True, "reason": None}]
            assert result["qa"]["anger_rank"] is not None


async def test_who_does_not_ask_is_given_no_state() -> None:
    async with (
        serving(MadeUpVoices()) as server,
        connected(server.url, VAD_8K, update(qa={"emotion_detail": True})) as client,
    ):
        (result,) = await say(client, 1)

    assert result["qa"]["leg_state"] is None
    assert result["qa"]["anger_rank"] is not None


async def test_partials_carry_neither_rank_nor_state() -> None:
    async with serving(MadeUpVoices()) as server, connected(server.url, VAD_8K, update(qa=ASKING)) as client:
        await client.append(spoken(*("w1" for _ in range(12))) + silence(0.8), size=3200)
        await client.receive_until(".completed")
        partials = client.of_type(".text")

    assert partials
    assert {partial["qa"]["anger_rank"] for partial in partials} == {None}
    assert {partial["qa"]["leg_state"] for partial in partials} == {None}
