from __future__ import annotations

import asyncio
import base64
import json
import socket as sockets
from typing import Any

import aiohttp
import pytest

from qa_service.asr_server import AsrServer, Models, ServerConfig, StartError, serve
from qa_service.asr_server.engines import Hints, Segment, Transcript
from qa_service.asr_server.engines.scripted import ScriptedEngine
from qa_service.asr_server.errors import EngineError
from qa_service.asr_server.voice_activity import LoudnessDetector
from tests.asr_server.support import DEADLINE_S, FINISH, VAD_8K, Client, connected, silence, spoken


def scripted(**changes: Any) -> ServerConfig:
    return ServerConfig(**{"port": 0, "no_auth": True, "engine": "scripted", **changes})


async def get(url: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of a plain GET."""
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        return response.status, await response.json()


async def refusal(
    server: AsrServer, *, query: str = "", key: str | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and body with which a WebSocket handshake is refused."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return await get(server.url.replace("ws://", "http://") + query, **headers)


@pytest.mark.parametrize("key", [None, "wrong", ""])
async def test_a_missing_or_wrong_key_is_refused_before_the_upgrade(key: str | None) -> None:
    async with await serve(scripted(no_auth=False, api_keys=("right", "also right"))) as server:
        await server.wait_ready()
        status, body = await refusal(server, key=key)

        assert status == 401
        assert body["code"] == "InvalidApiKey"
        assert body.keys() == {"code", "message", "request_id"}


@pytest.mark.parametrize("header", ["Bearer right", "bearer right", "BEARER also right"])
async def test_each_configured_key_is_accepted_whatever_the_case_of_the_scheme(header: str) -> None:
    async with await serve(scripted(no_auth=False, api_keys=("right", "also right"))) as server:
        await server.wait_ready()
        async with connected(server.url, headers={"Authorization": header}) as client:
            await client.finish()

            assert client.order == ["finished"]


async def test_a_server_without_keys_does_not_start() -> None:
    with pytest.raises(StartError, match="--no-auth"):
        await serve(ServerConfig(port=0, engine="scripted"))


async def test_a_taken_port_is_named() -> None:
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port}"):
            await serve(scripted(port=port))


async def test_an_unknown_model_is_refused(server: AsrServer) -> None:
    status, body = await refusal(server, query="?model=gpt-unheard-of")

    assert (status, body["code"]) == (404, "ModelNotFound")


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "/",
        "?model=qwen3-asr-flash-realtime",
        "/?model=qwen3-asr-flash-realtime-2026-02-10",
        "?heartbeat=true?model=qwen3-asr-flash-realtime",
    ],
)
async def test_the_model_is_found_however_clients_glue_their_url(server: AsrServer, tail: str) -> None:
    async with connected(server.url, query=tail) as client:
        await client.finish()

        assert client.events[0]["session"]["model"].startswith("qwen3-asr-flash-realtime")


async def test_any_path_with_the_right_ending_is_served(server: AsrServer) -> None:
    url = server.url.replace("/api-ws", "/api/proxy/builtin/api-ws")
    async with connected(url) as client:
        await client.finish()

        assert client.order == ["finished"]


async def test_other_paths_are_not_found(server: AsrServer) -> None:
    url = server.url.replace("ws://", "http://").replace("realtime", "elsewhere")
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        assert response.status == 404


async def test_a_plain_request_is_told_to_open_a_websocket(server: AsrServer) -> None:
    status, body = await get(server.url.replace("ws://", "http://"))

    assert (status, body["code"]) == (400, "InvalidParameter")


async def test_one_session_too_many_is_refused_until_another_ends() -> None:
    async with await serve(scripted(max_sessions=1)) as server:
        await server.wait_ready()
        async with connected(server.url):
            status, body = await refusal(server)

            assert (status, body["code"]) == (429, "Throttling.RateQuota")
        await ready_again(server)
        async with connected(server.url) as client:
            await client.finish()


async def ready_again(server: AsrServer) -> None:
    """Wait until the server says that it has room."""
    async with asyncio.timeout(DEADLINE_S):
        while (await get(f"http://127.0.0.1:{server.port}/readyz"))[0] != 200:  # noqa: ASYNC110 - over the wire
            await asyncio.sleep(0.02)


async def test_readiness_rests_on_a_recognition_that_succeeded(server: AsrServer) -> None:
    status, body = await get(f"http://127.0.0.1:{server.port}/readyz")

    assert status == 200
    assert "recognised at warm-up" in body["checks"]["models"]["detail"]


class BrokenEngine(ScriptedEngine):
    """Fails on everything but the warm-up."""

    def __init__(self, error: Exception, *, from_start: bool = False) -> None:
        super().__init__()
        self._error = error
        self._working = not from_start

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        if not self._working:
            raise self._error
        self._working = False
        return super().transcribe(segment, hints)


def with_engine(engine: ScriptedEngine) -> Models:
    return Models(engine=engine, detector=LoudnessDetector())


async def test_a_server_whose_engine_fails_at_warm_up_lives_but_is_not_ready() -> None:
    models = with_engine(BrokenEngine(EngineError("weights are damaged"), from_start=True))
    async with await serve(scripted(), models=models) as server:
        with pytest.raises(EngineError, match="damaged"):
            await server.wait_ready()
        base = f"http://127.0.0.1:{server.port}"
        ready, body = await get(f"{base}/readyz")
        alive, _ = await get(f"{base}/livez")
        refused, why = await refusal(server)

        assert (ready, alive, refused) == (503, 200, 503)
        assert body["checks"]["models"]["detail"] == "weights are damaged"
        assert why["code"] == "ServiceUnavailable"


async def test_a_failed_recognition_fails_its_item_and_not_the_session() -> None:
    async with await serve(scripted(), models=with_engine(BrokenEngine(EngineError("too loud")))) as server:
        await server.wait_ready()
        async with connected(server.url, VAD_8K) as client:
            await client.append((spoken("w1") + silence(0.7)) * 2)
            await client.finish()

            failed = client.of_type(".failed")
            started = client.of_type("speech_started")
            assert [e["item_id"] for e in failed] == [e["item_id"] for e in started]
            assert failed[0]["error"]["message"] == "too loud"
            assert client.transcripts == []


async def test_an_internal_fault_ends_its_session_with_1011() -> None:
    async with await serve(scripted(), models=with_engine(BrokenEngine(ZeroDivisionError("oops")))) as server:
        await server.wait_ready()
        async with connected(server.url, VAD_8K) as client:
            await client.append(spoken("w1") + silence(0.7))
            error = (await client.receive_until("error"))["error"]
            async with asyncio.timeout(DEADLINE_S):
                await client.socket.receive()

            assert (error["type"], error["code"]) == ("server_error", "internal_error")
            assert "oops" not in error["message"]
            assert client.socket.close_code == 1011


class WordBomb(ScriptedEngine):
    """Breaks on the word w13."""

    def transcribe(self, segment: Segment, hints: Hints) -> Transcript:
        transcript = super().transcribe(segment, hints)
        if "w13" in transcript.text:
            raise ZeroDivisionError
        return transcript


async def test_an_internal_fault_of_one_session_leaves_the_others_unharmed() -> None:
    async with await serve(scripted(), models=with_engine(WordBomb())) as server:
        await server.wait_ready()
        async with connected(server.url, VAD_8K) as healthy, connected(server.url, VAD_8K) as ill:
            await healthy.append(spoken("w1") + silence(0.7))
            await ill.append(spoken("w13") + silence(0.7))
            await ill.receive_until("error")
            await healthy.append(spoken("w2") + silence(0.7))
            await healthy.finish()

            assert healthy.transcripts == ["w1", "w2"]


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"no": "type"}', '{"type": "nonsense"}'])
async def test_nonsense_is_an_error_that_the_session_survives(server: AsrServer, text: str) -> None:
    async with connected(server.url) as client:
        await client.socket.send_str(text)
        error = (await client.receive_until("error"))["error"]
        await client.finish()

        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")


async def test_a_binary_frame_is_an_error_that_the_session_survives(server: AsrServer) -> None:
    async with connected(server.url) as client:
        await client.socket.send_bytes(spoken("w1"))
        error = (await client.receive_until("error"))["error"]
        await client.finish()

        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_value")


async def test_the_largest_append_is_taken(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(bytes(15 * 1024 * 1024))
        await client.finish()

        assert client.order == ["finished"]


async def test_no_compression_is_agreed_to(server: AsrServer) -> None:
    async with aiohttp.ClientSession() as http, http.ws_connect(server.url, compress=15) as socket:
        assert socket.compress == 0


async def test_the_client_may_close_after_the_session_is_finished(server: AsrServer) -> None:
    async with connected(server.url) as client:
        await client.finish()
        await client.socket.close()

        assert client.socket.close_code == 1000


async def test_an_idle_session_expires_with_an_error() -> None:
    async with await serve(scripted(idle_timeout_s=0.2)) as server:
        await server.wait_ready()
        async with connected(server.url) as client:
            error = (await client.receive_until("error"))["error"]
            await client.socket.receive()

            assert (error["type"], error["code"]) == ("server_error", "session_expired")
            assert client.socket.close_code == 1000


async def test_sessions_are_told_when_the_server_shuts_down() -> None:
    async with await serve(scripted()) as server:
        await server.wait_ready()
        async with aiohttp.ClientSession() as http, http.ws_connect(server.url) as socket:
            client = Client(socket)
            await client.receive_until("session.created")
            closing = asyncio.create_task(server.close())
            error = (await client.receive_until("error"))["error"]
            await client.socket.receive()
            await closing

            assert error["code"] == "session_expired"
            assert client.socket.close_code == 1001


async def test_a_client_that_reads_late_gets_everything(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        for _ in range(20):
            await client.append(spoken("w1", "w2") + silence(0.6))
        await client.send(FINISH)
        await client.receive_until("session.finished")

        assert client.transcripts == ["w1 w2"] * 20


async def test_metrics_count_sessions_and_audio(server: AsrServer) -> None:
    async with connected(server.url, VAD_8K) as client:
        await client.append(silence(2.0))
        await client.finish()
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{server.port}/metrics") as response,
    ):
        exposed = await response.text()

    assert "qa_server_audio_seconds_total" in exposed
    assert "qa_server_sessions_total" in exposed


async def test_bodies_of_refusals_are_json_of_the_vendors_shape(server: AsrServer) -> None:
    _, body = await refusal(server, query="?model=nope")

    assert json.dumps(body)
    assert body["request_id"].startswith("req_")
