"""Section 3.2, Opus: an Ogg stream cut anywhere, or one raw packet an append."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
import numpy as np
import pytest

from qa_service.asr.endpoint import RecogniserEndpoint
from qa_service.asr.session import RecogniserSession
from qa_service.asr_server import AsrServer
from qa_service.asr_server.engines.scripted import markers
from qa_service.protocol import Completed, ServerEvent, SessionConfig, TurnDetection
from tests.asr_server.support import COMMIT, DEADLINE_S, Client, connected, silence, spoken, update
from tests.support.opus import encode_opus, ogg_pages

RATE = 16_000
VAD = update(
    input_audio_format="opus",
    turn_detection={"type": "server_vad", "threshold": 0.0, "silence_duration_ms": 400},
)
MANUAL = update(input_audio_format="opus", turn_detection=None)


def opus_of(*words: str, frame_ms: int = 20, quiet_s: float = 0.8) -> list[bytes]:
    """Packets in which the scripted engine hears ``words``, then silence."""
    quiet = np.zeros(round(quiet_s * RATE), dtype=np.float32)
    sound = np.concatenate([markers(words, rate_hz=RATE), quiet])
    return encode_opus(sound, RATE, frame_ms=frame_ms, bit_rate=32_000)


async def append(client: Client, appends: Iterable[bytes]) -> None:
    for part in appends:
        await client.append(part)


@pytest.mark.parametrize("session", [VAD, MANUAL], ids=["vad", "manual"])
@pytest.mark.parametrize("frame_ms", [20, 40, 60, 100, 120])
async def test_raw_packets_are_recognised(server: AsrServer, session, frame_ms: int) -> None:
    async with connected(server.url, session) as client:
        await append(client, opus_of("w1", "w200", "w33", frame_ms=frame_ms))
        await client.finish()

        assert client.transcripts == ["w1 w200 w33"]
        assert client.of_type("error") == []


@pytest.mark.parametrize("session", [VAD, MANUAL], ids=["vad", "manual"])
@pytest.mark.parametrize("size", [2, 100, 3200, 1_000_000])
async def test_an_ogg_stream_is_recognised_wherever_appends_cut_it(
    server: AsrServer, session, size: int
) -> None:
    stream = b"".join(ogg_pages(opus_of("w1", "w200", "w33"), per_page=3))
    async with connected(server.url, session) as client:
        await client.append(stream, size=size)
        await client.finish()

        assert client.transcripts == ["w1 w200 w33"]
        assert client.of_type("error") == []


async def test_each_manual_turn_may_be_a_stream_of_its_own(server: AsrServer) -> None:
    async with connected(server.url, MANUAL) as client:
        for serial, word in enumerate(["w1", "w2"]):
            await client.append(b"".join(ogg_pages(opus_of(word), serial=serial)), size=500)
            await client.send(COMMIT)
        await client.finish()

        assert client.transcripts == ["w1", "w2"]


async def test_damage_is_told_once_and_the_stream_goes_on(server: AsrServer) -> None:
    async with connected(server.url, VAD) as client:
        await append(client, opus_of("w1"))
        await append(client, [b"\x83", b"\x83\x00", b"\x4b\x41\xff"])
        await append(client, opus_of("w2"))
        await client.finish()
        (event,) = client.of_type("error")
        error = event["error"]

        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")
        assert error["param"] == "audio"
        assert client.transcripts == ["w1", "w2"]


async def test_a_damaged_page_is_told_once_and_the_stream_goes_on(server: AsrServer) -> None:
    pages = ogg_pages([*opus_of("w1"), *opus_of("w2")])
    for index in (45, 48, 50):
        pages[index] = pages[index][:-1] + bytes([pages[index][-1] ^ 0xFF])
    async with connected(server.url, VAD) as client:
        await append(client, pages)
        await client.finish()

        assert [event["error"]["param"] for event in client.of_type("error")] == ["audio"]
        assert client.transcripts == ["w1", "w2"]


async def test_a_stream_without_opus_is_told_of(server: AsrServer) -> None:
    async with connected(server.url, VAD) as client:
        await client.append(b"".join(ogg_pages([b"audio"], head=b"\x01vorbis")))
        await client.finish()
        (event,) = client.of_type("error")

        assert "no Opus" in event["error"]["message"]
        assert client.transcripts == []


@pytest.mark.parametrize("rate", [8000, 16_000])
async def test_the_rate_of_the_session_does_not_matter(server: AsrServer, rate: int) -> None:
    async with connected(server.url, VAD, update(sample_rate=rate)) as client:
        await append(client, opus_of("w1", "w2"))
        await client.finish()
        (stopped,) = client.of_type("speech_stopped")

        assert client.transcripts == ["w1 w2"]
        assert 400 <= stopped["audio_end_ms"] <= 1300


async def test_the_format_may_change_where_no_audio_is_pending(server: AsrServer) -> None:
    async with connected(server.url, MANUAL) as client:
        await append(client, opus_of("w1"))
        await client.send(COMMIT, update(input_audio_format="pcm", sample_rate=8000))
        await client.append(spoken("w2") + silence(0.3))
        await client.send(COMMIT, update(input_audio_format="opus"))
        await append(client, opus_of("w3"))
        await client.finish()

        assert client.transcripts == ["w1", "w2", "w3"]
        assert client.of_type("error") == []


async def test_headers_alone_are_an_empty_turn(server: AsrServer) -> None:
    async with connected(server.url, MANUAL) as client:
        await client.append(b"".join(ogg_pages([])))
        await client.finish()

        assert client.transcripts == [""]


async def test_our_own_client_sends_opus_as_well(server: AsrServer) -> None:
    config = SessionConfig(
        input_audio_format="opus", turn_detection=TurnDetection(threshold=0.0, silence_duration_ms=400)
    )
    events: list[ServerEvent] = []
    endpoint = RecogniserEndpoint.resolve(url=server.url, region="intl", workspace=None, api_key=None)
    async with aiohttp.ClientSession() as http:
        session = RecogniserSession(http, endpoint, config, on_event=events.append, on_lost=pytest.fail)
        session.start()
        for packet in opus_of("w7", "w8"):
            session.append(packet)
        session.finish()
        async with asyncio.timeout(DEADLINE_S):
            await session.wait_closed()
        await session.close()

    assert [event.transcript for event in events if isinstance(event, Completed)] == ["w7 w8"]


async def test_a_long_recording_in_one_append_does_not_hold_others_up(server: AsrServer) -> None:
    """It is decoded bit by bit beside the event loop, where short appends are decoded at once."""
    sound = np.tile(np.concatenate([markers(["w5"], rate_hz=RATE), np.zeros(RATE // 2)]), 60)
    recording = b"".join(ogg_pages(encode_opus(sound, RATE, bit_rate=32_000), per_page=10))
    async with connected(server.url, VAD) as patient, connected(server.url, VAD) as other:
        await patient.append(recording)
        await append(other, opus_of("w1"))
        await other.receive_until("completed")
        early = len(patient.transcripts)
        await patient.finish()

        assert early < 60
        assert patient.transcripts == ["w5"] * 60
