"""The realtime ASR server: handshakes, limits, health, start and stop.

Decided here: who gets a session. A wrong key, an unknown model or one session too many is answered with an
HTTP status and the body of section 6.1 before the upgrade. The port listens at once; until the models are
loaded and a recognition has succeeded, ``/readyz`` says what is missing and handshakes get 503.

    async with await serve(ServerConfig(port=0, no_auth=True)) as server:
        await server.wait_ready()
        ...  # server.url
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

import msgspec
import structlog
from aiohttp import web

from qa_service import metrics
from qa_service.asr_server import loading
from qa_service.asr_server.config import ServerConfig
from qa_service.asr_server.connection import Connection
from qa_service.asr_server.emotion_memory import EmotionMemory
from qa_service.asr_server.emotion_recogniser import VoiceEmotions
from qa_service.asr_server.errors import AsrServerError, StartError
from qa_service.asr_server.keys import KeyRing, key_id
from qa_service.asr_server.network import DirectNetwork, Network
from qa_service.asr_server.quota import SessionQuota
from qa_service.asr_server.scheduler import Scheduler
from qa_service.asr_server.session import Session
from qa_service.asr_server.tls import ServerTls
from qa_service.asr_server.voice_batches import VoiceBatches
from qa_service.asr_server.workplace import Models, Workplace
from qa_service.protocol import (
    ServerSession,
    bearer_token,
    handshake_error,
    parse_request_path,
    server_id,
)
from qa_service.web.health import Check, add_health_routes

_log = structlog.get_logger(__name__)

_PARTIALS_PER_THREAD: Final = 8  # that wait at most: with 0.3 s each, older ones would be stale
_SHUTDOWN_S: Final = 3.0  # for the sessions to end when the server does
_CLOSE_REPLY_S: Final = 2.0  # for a client's answer to our close
_WATCH_S: Final = 2.0  # between looks at whether keys or certificates have changed
_ENTROPY_BITS: Final = 128
_ANYBODY: Final = b""  # in place of a key's digest, where none is asked for


async def serve(
    config: ServerConfig, *, models: Models | None = None, network: Network | None = None
) -> AsrServer:
    """Start a server; it listens when this returns and is ready after `AsrServer.wait_ready`.

    ``models`` are used instead of those that ``config`` names; they are warmed up like them. ``network``
    may stand between the server and its clients, to cause faults for instance.

    Raises:
        StartError: no keys were given, keys or certificates cannot be read, or the address cannot be
            listened on.
    """
    if not config.api_keys and config.api_keys_file is None and not config.no_auth:
        raise StartError(
            "no API keys: set QA_SERVER_API_KEYS or QA_SERVER_API_KEYS_FILE, or pass --no-auth to serve "
            "without keys"
        )
    server = AsrServer(config, models, network or DirectNetwork())
    await server.start()
    return server


class AsrServer:
    """A running server; made by `serve`, ended by `close` or by leaving it as a context."""

    def __init__(self, config: ServerConfig, models: Models | None, network: Network) -> None:
        self._config = config
        self._given_models = models
        self._network = network
        self._keys = KeyRing(config.api_keys, config.api_keys_file)
        self._quota = SessionQuota(config.sessions_per_second)
        self._tls = None if config.tls is None else ServerTls(config.tls)
        # Live sessions, and the digests of the keys that opened them.
        self._connections: dict[Connection, bytes] = {}
        self._stopping = False
        self._scheduler = Scheduler(
            threads=config.threads,
            max_waiting_partials=_PARTIALS_PER_THREAD * config.threads,
            max_final_delay_s=config.max_final_delay_s,
        )
        self._voice_thread = ThreadPoolExecutor(1, thread_name_prefix="voice-activity")
        # What sessions work with, once it is loaded and has been tried.
        self._workplace: Workplace | None = None
        self._warm_up_s = 0.0
        self._loading: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        # Keeps what the emotion model learns over restarts, where there is one and a folder for it.
        self._memory: EmotionMemory | None = None
        self._remembering: asyncio.Task[None] | None = None
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=_SHUTDOWN_S)
        self.port = config.port
        """The port that is listened on."""

    @property
    def url(self) -> str:
        """Where clients connect to, without the model."""
        scheme = "ws" if self._tls is None else "wss"
        return f"{scheme}://{_url_host(self._config.host)}:{self.port}/api-ws/v1/realtime"

    async def start(self) -> None:
        """Listen, and begin to load the models."""
        await self._runner.setup()
        try:
            context = None if self._tls is None else self._tls.context
            await web.TCPSite(self._runner, self._config.host, self._config.port, ssl_context=context).start()
        except OSError as error:
            await self.close()
            raise StartError(
                f"cannot listen on {self._config.host}:{self._config.port}: {error.strerror or error}; "
                "set QA_SERVER_HOST and QA_SERVER_PORT to a free address"
            ) from error
        self.port = int(self._runner.addresses[0][1])
        _log.info("asr_server_listening", url=self.url)
        self._loading = asyncio.create_task(self._load(), name="load-models")
        self._watching = asyncio.create_task(self._watch(), name="watch-access")

    async def wait_ready(self) -> None:
        """Wait until sessions can be served.

        Raises:
            AsrServerError: a model cannot be had, loaded or used.
        """
        assert self._loading is not None  # noqa: S101 - set by start
        await asyncio.shield(self._loading)

    async def close(self) -> None:
        """End all sessions, close the port, let the threads go."""
        self._stopping = True
        if self._watching is not None:
            self._watching.cancel()
        if self._loading is not None:
            self._loading.cancel()
            with contextlib.suppress(asyncio.CancelledError, AsrServerError):
                await self._loading
        for connection in self._connections:
            connection.stop("The server is shutting down; open a new session.")
        await self._runner.cleanup()
        if self._remembering is not None:
            self._remembering.cancel()
        if self._memory is not None:
            await self._memory.save()
        self._scheduler.close()
        self._voice_thread.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _app(self) -> web.Application:
        app = web.Application()
        add_health_routes(app, {"models": self._check_models, "capacity": self._check_capacity})
        app.router.add_get("/{path:.*}", self._handle)
        return app

    async def _load(self) -> None:
        begun = time.monotonic()
        models = self._given_models
        if models is None:
            models = await asyncio.to_thread(loading.load, self._config)
        await asyncio.to_thread(loading.warm_up, models)
        if self._config.state_dir is not None and isinstance(models.emotions, VoiceEmotions):
            self._memory = EmotionMemory(models.emotions, self._config.state_dir)
            await asyncio.to_thread(self._memory.load)
            self._remembering = asyncio.create_task(self._memory.keep(), name="keep-emotion-memory")
        self._warm_up_s = time.monotonic() - begun
        self._workplace = Workplace(
            models=models, scheduler=self._scheduler, voices=VoiceBatches(self._voice_thread)
        )
        capabilities = models.engine.capabilities
        _log.info(
            "asr_server_ready",
            engine=capabilities.engine,
            model=capabilities.model,
            emotion=models.emotions is not None,
            seconds=round(self._warm_up_s, 1),
        )

    def _check_models(self) -> Check:
        if self._workplace is not None:
            model = self._workplace.models.engine.capabilities.model
            return Check(
                ok=True, detail=f"{model} recognised at warm-up, {self._warm_up_s:.1f} s after the start"
            )
        if self._loading is not None and self._loading.done() and not self._loading.cancelled():
            return Check(ok=False, detail=str(self._loading.exception()))
        return Check(ok=False, detail="models are being loaded")

    def _check_capacity(self) -> Check:
        count, limit = len(self._connections), self._config.max_sessions
        return Check(ok=not self._stopping and count < limit, detail=f"{count} of {limit} sessions")

    # Handshakes.

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        model = parse_request_path(request.path, request.query_string, self._config.default_model)
        if model is None:
            raise web.HTTPNotFound(text="Nothing here; sessions are at /api-ws/v1/realtime.\n")
        self._renew_access()
        key = self._identify(request)
        if isinstance(key, web.Response):
            return key
        return (
            self._refuse(request, model)
            or self._refuse_haste(key)
            or await self._await_turn()
            or await self._serve_session(request, model, key)
        )

    def _identify(self, request: web.Request) -> bytes | web.Response:
        """The digest of the client's key, or the answer to one who may not have a session at all."""
        if self._lacks_certificate(request):
            message = "Show a client certificate of the CA that this server trusts."
            return _refusal("no_certificate", 403, handshake_error(403, message, _request_id()))
        if self._config.no_auth:
            return _ANYBODY
        token = bearer_token(request.headers.get("Authorization"))
        key = None if token is None else self._keys.find(token)
        if key is None:
            message = "The API key is missing or wrong; send it as 'Authorization: Bearer KEY'."
            return _refusal("unauthorised", 401, handshake_error(401, message, _request_id()))
        return key

    def _refuse(self, request: web.Request, model: str) -> web.Response | None:
        """The answer to a handshake that cannot get a session; None if it can."""
        if model not in self._config.models:
            message = f"There is no model {model!r}; there are {', '.join(self._config.models)}."
            return _refusal("unknown_model", 404, handshake_error(404, message, _request_id()))
        if self._stopping or self._workplace is None:
            message = "The server is shutting down." if self._stopping else "The models are not loaded yet."
            return _refusal("shutting_down", 503, _unavailable(message))
        if len(self._connections) >= self._config.max_sessions:
            message = f"All {self._config.max_sessions} sessions are taken; try again later."
            return _refusal("overloaded", 429, handshake_error(429, message, _request_id()))
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return _refusal(
                "not_a_websocket", 400, handshake_error(400, "Open a WebSocket here.", _request_id())
            )
        return None

    def _refuse_haste(self, key: bytes) -> web.Response | None:
        """The answer to a key that opens sessions too fast; else it counts as one more."""
        if key == _ANYBODY or self._quota.take(key):
            return None
        message = f"A key may open {self._config.sessions_per_second} sessions a second; try again later."
        return _refusal("too_fast", 429, handshake_error(429, message, _request_id()))

    async def _await_turn(self) -> web.Response | None:
        """The answer to a session for which there is no time; else it is this one's turn."""
        wait_s = self._scheduler.admit_session()
        if wait_s:
            await asyncio.sleep(wait_s)
        if wait_s is None or self._scheduler.refuses_sessions:
            message = "The server is at its limit, finals are late; try again later."
            return _refusal("saturated", 429, handshake_error(429, message, _request_id()))
        return None

    def _lacks_certificate(self, request: web.Request) -> bool:
        if self._config.tls is None or self._config.tls.client_ca_file is None:
            return False
        return request.transport is None or not request.transport.get_extra_info("peercert")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            self._renew_access()

    def _renew_access(self) -> None:
        """Take up what has changed of keys and certificates; end the sessions of revoked keys."""
        self._keys.refresh()
        if self._tls is not None:
            self._tls.refresh()
        for connection, key in self._connections.items():
            if key != _ANYBODY and not self._keys.holds(key):
                connection.stop("The API key has been revoked.")

    async def _serve_session(self, request: web.Request, model: str, key: bytes) -> web.StreamResponse:
        workplace = self._workplace
        assert workplace is not None  # noqa: S101 - _refuse has looked
        socket = await self._network.open(
            request,
            close_timeout_s=_CLOSE_REPLY_S,
            max_message_bytes=self._config.max_message_bytes,
        )
        if isinstance(socket, web.Response):
            return socket
        await socket.prepare(request)
        protocol = ServerSession(_new_id("sess"), model, _new_id)
        connection = Connection(
            socket,
            protocol,
            lambda send, congested: Session(protocol, workplace, send, congested=congested),
            idle_timeout_s=self._config.idle_timeout_s,
            close_wait_s=self._config.close_wait_s,
        )
        self._connections[connection] = key
        metrics.SERVER_SESSIONS.inc()
        metrics.SERVER_SESSIONS_LIVE.set(len(self._connections))
        log = _log.bind(session=protocol.session_id)
        log.info("session_opened", peer=request.remote, model=model, key_id=key_id(key) or None)
        try:
            await connection.run()
        finally:
            del self._connections[connection]
            metrics.SERVER_SESSIONS_LIVE.set(len(self._connections))
            log.info("session_closed", audio_ms=protocol.received_ms, close_code=socket.close_code)
        return socket


def _new_id(prefix: str) -> str:
    return server_id(prefix, secrets.randbits(_ENTROPY_BITS))


def _request_id() -> str:
    return _new_id("req")


def _unavailable(message: str) -> str:
    """The body for a status that the protocol does not list."""
    body = {"code": "ServiceUnavailable", "message": message, "request_id": _request_id()}
    return msgspec.json.encode(body).decode()


def _refusal(reason: str, status: int, body: str) -> web.Response:
    metrics.SERVER_SESSIONS_REFUSED[reason].inc()
    return web.Response(status=status, text=body, content_type="application/json")


def _url_host(host: str) -> str:
    """How a host to listen on is connected to from this machine."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - nothing is bound here
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
