"""Section 6.1 and 6.4: keys, quotas and limits of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from qa_service.asr_server import AsrServer, ServerConfig, StartError, serve
from qa_service.asr_server.keys import digest_of, digest_text
from tests.asr_server.support import DEADLINE_S, VAD_8K, Client, connected, silence
from tests.asr_server.test_server import refusal


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def scripted(**changes: object) -> ServerConfig:
    return ServerConfig(**{"port": 0, "engine": "scripted", **changes})  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"{digest_text(digest_of('one'))}  a customer\ntwo\n")
    return path


def write(file: Path, *lines: str) -> None:
    file.write_text("\n".join(lines))


async def open_and_finish(server: AsrServer, key: str) -> None:
    async with connected(server.url, headers=bearer(key)) as client:
        await client.finish()


async def test_keys_may_be_configured_by_their_digests() -> None:
    config = scripted(api_keys=(digest_text(digest_of("right")),))
    async with await serve(config) as server:
        await server.wait_ready()
        await open_and_finish(server, "right")
        status, body = await refusal(server, key=config.api_keys[0])

        assert (status, body["code"]) == (401, "InvalidApiKey")


async def test_a_key_file_alone_is_enough_and_its_changes_count_at_once(file: Path) -> None:
    async with await serve(scripted(api_keys_file=file)) as server:
        await server.wait_ready()
        await open_and_finish(server, "one")
        write(file, "three")
        status, body = await refusal(server, key="one")
        await open_and_finish(server, "three")

        assert (status, body["code"]) == (401, "InvalidApiKey")


async def test_a_revoked_key_ends_its_own_sessions_without_any_handshake(file: Path) -> None:
    async with await serve(scripted(api_keys_file=file)) as server:
        await server.wait_ready()
        async with (
            connected(server.url, headers=bearer("one")) as revoked,
            connected(server.url, headers=bearer("two")) as kept,
        ):
            write(file, "two")
            error = (await revoked.receive_until("error"))["error"]
            async with asyncio.timeout(DEADLINE_S):
                await revoked.socket.receive()
            await kept.finish()

            assert (error["type"], error["code"]) == ("server_error", "session_expired")
            assert "revoked" in error["message"]
            assert revoked.socket.close_code == 1001
            assert kept.order == ["finished"]


async def test_a_key_file_that_is_missing_keeps_the_server_from_starting(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="QA_SERVER_API_KEYS_FILE"):
        await serve(scripted(api_keys_file=tmp_path / "nowhere"))


async def test_a_key_that_opens_too_many_sessions_a_second_is_refused_with_429() -> None:
    """Twenty at once against one a second: only a machine that takes 19 s for them could grant them all."""
    async with await serve(scripted(api_keys=("hasty", "calm"), sessions_per_second=1)) as server:
        await server.wait_ready()
        async with aiohttp.ClientSession() as http:
            attempts = [http.ws_connect(server.url, headers=bearer("hasty")) for _ in range(20)]
            outcomes = await asyncio.gather(*attempts, return_exceptions=True)
            await open_and_finish(server, "calm")
        refused = [error for error in outcomes if isinstance(error, aiohttp.WSServerHandshakeError)]

        assert refused
        assert {error.status for error in refused} == {429}
        assert len(refused) < 20


async def test_refused_handshakes_use_up_no_quota() -> None:
    async with await serve(scripted(api_keys=("key",), sessions_per_second=1)) as server:
        await server.wait_ready()
        for _ in range(3):
            status, _ = await refusal(server, query="?model=unheard-of", key="key")

            assert status == 404
        await open_and_finish(server, "key")


async def test_a_message_that_is_too_long_ends_its_session_with_1009() -> None:
    async with await serve(scripted(no_auth=True, max_message_bytes=100_000)) as server:
        await server.wait_ready()
        async with connected(server.url, VAD_8K) as client, connected(server.url, VAD_8K) as other:
            await client.append(silence(3.0))
            await client.append(silence(10.0))
            async with asyncio.timeout(DEADLINE_S):
                while not client.socket.closed:
                    await client.socket.receive()
            await other.finish()

            assert client.socket.close_code == 1009
            assert other.order == ["finished"]


async def test_a_session_outlives_the_quota_of_its_key() -> None:
    async with await serve(scripted(api_keys=("key",), sessions_per_second=1)) as server:
        await server.wait_ready()
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(server.url, headers=bearer("key")) as socket,
        ):
            client = Client(socket)
            await refusal(server, key="key")
            await client.finish()

            assert client.order == ["finished"]
