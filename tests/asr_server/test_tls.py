from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from qa_service.asr_server import AsrServer, ServerConfig, StartError, TlsFiles, serve
from tests.asr_server.certificates import Authority, Issued
from tests.asr_server.support import FINISH, VAD_8K, Client, silence, spoken


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "our-ca")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Issued:
    return authority.issue("server")


def config(certificate: Issued, client_ca: Path | None = None) -> ServerConfig:
    tls = TlsFiles(cert_file=certificate.cert, key_file=certificate.key, client_ca_file=client_ca)
    return ServerConfig(port=0, no_auth=True, engine="scripted", tls=tls)


async def transcribe(server: AsrServer, context: ssl.SSLContext) -> list[str]:
    async with aiohttp.ClientSession() as http, http.ws_connect(server.url, ssl=context) as socket:
        client = Client(socket)
        await client.send(VAD_8K)
        await client.append(spoken("w1") + silence(1.0))
        await client.send(FINISH)
        await client.receive_until("session.finished")
        return client.transcripts


async def status(server: AsrServer, path: str, context: ssl.SSLContext) -> tuple[int, str]:
    url = f"https://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession() as http, http.get(url, ssl=context) as response:
        return response.status, await response.text()


async def test_a_session_goes_over_tls(authority, certificate):
    async with await serve(config(certificate)) as server:
        await server.wait_ready()

        assert server.url.startswith("wss://")
        assert await transcribe(server, authority.trusting()) == ["w1"]


async def test_a_client_that_does_not_trust_the_ca_gets_nowhere(certificate, tmp_path):
    stranger = Authority(tmp_path, "another-ca")
    async with await serve(config(certificate)) as server:
        await server.wait_ready()
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await transcribe(server, stranger.trusting())


async def test_nothing_is_served_in_the_clear_beside_it(certificate):
    async with await serve(config(certificate)) as server, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"http://127.0.0.1:{server.port}/livez")


async def test_old_versions_of_tls_are_refused(authority, certificate):
    context = authority.trusting()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with await serve(config(certificate)) as server:
        with pytest.raises(aiohttp.ClientConnectionError):
            await status(server, "/livez", context)


async def test_a_session_needs_a_certificate_where_clients_have_a_ca(authority, certificate):
    client = authority.issue("client")
    async with await serve(config(certificate, authority.cert)) as server:
        await server.wait_ready()
        refused, body = await status(server, "/api-ws/v1/realtime", authority.trusting())
        alive, _ = await status(server, "/livez", authority.trusting())

        assert (refused, alive) == (403, 200)
        assert '"AccessDenied"' in body
        assert await transcribe(server, authority.trusting(client)) == ["w1"]


async def test_a_certificate_of_another_ca_is_not_taken(authority, certificate, tmp_path):
    foreign = Authority(tmp_path, "another-ca").issue("client")
    async with await serve(config(certificate, authority.cert)) as server:
        await server.wait_ready()
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await transcribe(server, authority.trusting(foreign))


async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path):
    authority = Authority(tmp_path, "our-ca")
    certificate = authority.issue("server")
    async with await serve(config(certificate)) as server:
        await server.wait_ready()
        before = await shown(server, authority)
        renew(authority)
        with capture_logs() as logs:
            await status(server, "/api-ws/v1/realtime", authority.trusting())

        assert before != await shown(server, authority)
        assert "server_certificate_renewed" in [line["event"] for line in logs]


async def test_files_that_do_not_belong_together_change_nothing(tmp_path):
    authority = Authority(tmp_path, "our-ca")
    certificate = authority.issue("server")
    async with await serve(config(certificate)) as server:
        await server.wait_ready()
        before = await shown(server, authority)
        certificate.key.write_bytes(authority.issue("other").key.read_bytes())
        os.utime(certificate.key, (1, 1))
        with capture_logs() as logs:
            await status(server, "/api-ws/v1/realtime", authority.trusting())

        assert before == await shown(server, authority)
        assert ("server_certificate_unusable", "error") in [
            (line["event"], line["log_level"]) for line in logs
        ]


async def shown(server: AsrServer, authority: Authority) -> bytes:
    """The certificate that the server shows to a new client."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=authority.trusting())
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


def renew(authority: Authority) -> None:
    issued = authority.issue("server")
    for file in (issued.cert, issued.key):  # so that the times differ on any file system
        os.utime(file, (2, 2))


@pytest.mark.parametrize("missing", ["cert", "key"])
async def test_files_that_are_not_there_are_named_at_start(certificate, tmp_path, missing):
    nowhere = tmp_path / "nowhere.pem"
    broken = Issued(
        nowhere if missing == "cert" else certificate.cert, nowhere if missing == "key" else certificate.key
    )
    with pytest.raises(StartError, match="QA_SERVER_TLS_CERT_FILE") as caught:
        await serve(config(broken))

    assert str(nowhere) in str(caught.value)
