"""The server with faults in it, as clients meet it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from click.testing import CliRunner

from qa_service.asr_server import AsrServer, ServerConfig, serve
from qa_service.cli.parts import asr_server
from qa_service.testing.fault_file import FaultFileError, load_faults
from qa_service.testing.faulty_network import FaultyNetwork
from tests.asr_server.support import FINISH, VAD_8K, Client, connected, silence, spoken
from tests.support.waiting import eventually


@asynccontextmanager
async def serving(*faults: str) -> AsyncIterator[AsrServer]:
    source = "version: 1\nfaults:\n" + "".join(f"- {fault}\n" for fault in faults)
    config = ServerConfig(port=0, no_auth=True, engine="scripted", close_wait_s=0.2)
    async with await serve(config, network=FaultyNetwork(load_faults(source, "faults"))) as server:
        await server.wait_ready()
        yield server


async def say(client: Client, *words: str) -> None:
    await client.append(spoken(*words) + silence(0.8))


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "InvalidApiKey"), (429, "Throttling.RateQuota"), (503, "ServiceUnavailable")],
)
async def test_a_handshake_is_refused_with_the_body_of_the_protocol(status, code):
    async with (
        serving(f"{{refuse: {{status: {status}}}, sessions: [1]}}") as server,
        aiohttp.ClientSession() as http,
    ):
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        async with http.get(server.url.replace("ws:", "http:"), headers=upgrade) as answer:
            body = await answer.json()

        assert (answer.status, body["code"]) == (status, code)
        async with connected(server.url, VAD_8K):
            pass  # the second one is taken


async def test_what_the_server_refuses_itself_does_not_count_as_a_session():
    async with serving("{refuse: {status: 503}, sessions: [1]}") as server:
        statuses = []
        for query in ("?model=unknown", ""):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                async with connected(server.url, query=query):
                    pass
            statuses.append(refusal.value.status)

    assert statuses == [404, 503]


async def test_a_handshake_is_late():
    async with serving("delay_handshake: {by: 300ms}") as server:
        begun = time.monotonic()
        async with connected(server.url):
            assert time.monotonic() - begun >= 0.3


async def test_a_dropped_connection_ends_without_a_close_frame():
    async with serving("drop: {after_audio: 100ms}") as server, connected(server.url, VAD_8K) as client:
        await client.append(silence(0.2))
        message = await client.socket.receive(timeout=10)

        assert message.type is aiohttp.WSMsgType.CLOSED
        assert client.socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
        await eventually(lambda: not server._connections, waiting_for="the server to let the session go")


async def test_a_connection_is_closed_with_the_code_asked_for():
    async with (
        serving("close: {code: 1013, before: session.finished}") as server,
        connected(server.url, VAD_8K) as client,
    ):
        await client.send(FINISH)
        message = await client.socket.receive(timeout=10)

        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1013)


async def test_a_silent_server_answers_pings_and_does_not_close():
    async with serving("silence:") as server, connected(server.url, VAD_8K) as client:
        await say(client, "w1")
        await client.send(FINISH)
        await asyncio.sleep(0.6)  # longer than the server would wait for us to close
        await client.socket.ping()
        with pytest.raises(TimeoutError):
            await client.socket.receive(timeout=0.3)

        assert not client.socket.closed


async def test_garbage_and_binary_messages_come_beside_the_rest():
    async with (
        serving("garbage: {text: huh}", "binary: {after_audio: 0s}") as server,
        connected(server.url, VAD_8K) as client,
    ):
        await client.append(silence(0.1))
        messages = [await client.socket.receive(timeout=10) for _ in range(2)]
        await client.finish()

        assert [message.data for message in messages] == ["huh", b"\0"]


async def test_finals_go_astray_one_by_one():
    async with (
        serving("missing: {numbers: [1]}", "repeated: {numbers: [2]}") as server,
        connected(server.url, VAD_8K) as client,
    ):
        for word in ("w1", "w2", "w3"):
            await say(client, word)
        await client.finish()

        assert client.transcripts == ["w2", "w2", "w3"]


async def test_a_late_event_is_overtaken():
    async with (
        serving("late: {by: 400ms, event: session.updated}") as server,
        connected(server.url) as client,
    ):
        await client.send(VAD_8K)
        await say(client, "w1")
        await client.receive_until("session.updated")

        assert client.transcripts == ["w1"]


async def test_a_late_event_may_come_too_late():
    async with (
        serving("late: {by: 200ms}") as server,
        connected(server.url, VAD_8K) as client,
    ):
        await say(client, "w1")
        await client.finish()
        await client.socket.close()

        assert client.transcripts == []


async def test_a_slow_reader_hears_everything_in_the_end():
    async with (
        serving("slow_reads: {bytes_per_second: 50000}") as server,
        connected(server.url, VAD_8K) as client,
    ):
        begun = time.monotonic()
        await client.append(spoken("w1", "w2") + silence(0.8), size=1600)
        await client.finish()

        assert client.transcripts == ["w1 w2"]
        assert time.monotonic() - begun > 0.3  # 19 kB as base64


async def test_a_reader_that_stopped_makes_its_client_wait():
    async with (
        serving("slow_reads: {bytes_per_second: 0}") as server,
        connected(server.url, VAD_8K) as client,
    ):

        async def append_until_the_buffers_are_full() -> None:
            while True:
                await client.append(silence(30))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(append_until_the_buffers_are_full(), 1)
        client.socket._response.close()  # without waiting for an answer


def test_the_command_refuses_a_fault_file_with_its_mistakes(tmp_path):
    path = tmp_path / "faults.yaml"
    path.write_text("version: 1\nfaults: [{dorp: }]\n", encoding="utf-8")

    result = CliRunner().invoke(asr_server, ["--no-auth", "--engine", "scripted", "--faults", str(path)])

    assert isinstance(result.exception, FaultFileError)
    assert f"{path}:2:11: unknown key 'dorp'" in str(result.exception)


async def test_the_command_serves_with_faults(tmp_path):
    path = tmp_path / "faults.yaml"
    path.write_text("version: 1\nfaults: [garbage: {text: huh}]\n", encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "qa_service", "asr-server", "--no-auth", "--port", "0"),
        *("--engine", "scripted", "--faults", str(path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "QA_LOG_FORMAT": "json"},
    )
    try:
        async with asyncio.timeout(60):
            lines = {}
            while "asr_server_ready" not in lines:
                line = json.loads(await process.stderr.readline())
                lines[line["event"]] = line
            async with connected(lines["asr_server_listening"]["url"], VAD_8K) as client:
                await client.append(silence(0.1))
                message = await client.socket.receive()
    finally:
        process.terminate()
        await process.wait()

    assert message.data == "huh"
    assert process.returncode == 0
