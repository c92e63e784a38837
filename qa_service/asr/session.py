"""One session of the recogniser: one WebSocket, one leg, from the handshake to ``session.finished``.

What to send and what answers mean is decided in :mod:`qa_service.protocol.client`; here are the socket, the
waits and the one verdict that everything else needs: how a session was lost, and whether a new one may do
better (:class:`SessionLost`). A session is never repaired. Whoever uses it keeps the audio and opens another.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import types
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import aiohttp
import structlog

from qa_service import metrics
from qa_service.protocol.client import ClientSession, SessionState
from qa_service.protocol.errors import MalformedMessage
from qa_service.protocol.events import ErrorEvent, SessionCreated, SessionFinished
from qa_service.protocol.limits import FINISH_TIMEOUT_S, MAX_MESSAGE_BYTES, PING_INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from qa_service.asr.endpoint import RecogniserEndpoint
    from qa_service.protocol.config import Extensions, SessionConfig
    from qa_service.protocol.events import ServerEvent

_log = structlog.get_logger(__name__)

LossReason: TypeAlias = Literal[
    "connect_failed",
    "unauthorised",
    "rate_limited",
    "refused",
    "closed",
    "protocol_error",
    "server_error",
    "timeout",
    "slow_recogniser",
    "internal",
]
"""Why a session ended other than we asked.

``connect_failed``: no connection, or the server is unwell (5xx). ``unauthorised``: 401 or 403.
``rate_limited``: 429. ``refused``: any other refusal of the handshake or of our configuration. ``closed``:
the connection went away. ``protocol_error``: something came that is no event. ``server_error``: an error
event that ends the session. ``timeout``: no handshake, configuration, pong or ``session.finished`` in time.
``slow_recogniser``: more audio waited to be sent than may. ``internal``: our own fault, see the log.
"""

_REFUSALS: Final = {
    400: "it finds the request invalid (400); check QA_ASR_URL and QA_ASR_MODEL",
    404: "it does not know the model or the path (404); check QA_ASR_MODEL and QA_ASR_URL",
}
_TOO_MANY: Final = 429
_SERVER_FAULT: Final = 500
_BYTES_PER_SAMPLE: Final = 2  # 16-bit PCM
_COUNT_EVERY_S: Final = 5  # of audio: a counter's lock is dear beside an append
# The goodbye must not hold up a successor session.
_CLOSE_WITHIN_S: Final = 2.0
_WS_TIMEOUT: Final = aiohttp.ClientWSTimeout(ws_close=_CLOSE_WITHIN_S)  # pyright: ignore[reportCallIssue] - an attrs class


@dataclass(frozen=True, slots=True)
class SessionLost:
    """How a session was lost; ``retryable``: a new one may fare better without a person's help."""

    reason: LossReason
    detail: str
    retryable: bool
    status: int | None = None
    """HTTP status of a refused handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Waits in seconds, and how much audio may wait to be sent."""

    connect_s: float = 10.0
    """For TCP, TLS and the upgrade."""
    configure_s: float = 10.0
    """From the upgrade to ``session.updated``; 5 to 10 are advised (section 8.2)."""
    finish_s: float = FINISH_TIMEOUT_S + 10.0
    """From sending ``session.finish`` to ``session.finished``; a busy server gets more than the SDKs give."""
    ping_s: float = PING_INTERVAL_S
    """Between pings; half of it without a pong or anything else from the server loses the session."""
    queue_bytes: int = 2 * 1024 * 1024
    """131 s of 8 kHz PCM: a replay of a whole leg buffer (120 s) fits at once."""


class _Lost(Exception):  # noqa: N818 - carries the value through the session's own task, never further
    def __init__(self, lost: SessionLost) -> None:
        super().__init__(lost.detail)
        self.lost = lost


def make_http_session() -> aiohttp.ClientSession:
    """The connections of all sessions of a process, as many at once as there are legs; to be closed."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=30),
        timeout=aiohttp.ClientTimeout(total=None),
    )


class RecogniserSession:
    """A realtime session; :meth:`start` it, :meth:`append` audio, :meth:`finish` or :meth:`close` it.

    ``on_event`` gets every server event in order. ``on_lost`` is called at most once and is then the last
    call; it is not called after ``session.finished`` or :meth:`close`. Both run on the event loop and must
    not block. Audio may be appended at any time: it waits until the session is configured.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        endpoint: RecogniserEndpoint,
        config: SessionConfig,
        *,
        on_event: Callable[[ServerEvent], None],
        on_lost: Callable[[SessionLost], None],
        limits: SessionLimits | None = None,
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._on_event = on_event
        self._on_lost = on_lost
        self._limits = limits or SessionLimits()
        numbers = itertools.count(1)
        self._protocol = ClientSession(config, lambda: f"event_{next(numbers)}")
        self._bytes_per_s = config.sample_rate * _BYTES_PER_SAMPLE
        self._queue: deque[bytes] = deque()
        # Bytes of audio not yet taken by the socket, the piece being sent included.
        self._queued_bytes = 0
        # Set when there is something new for the writer: audio, or the wish to finish.
        self._wake = asyncio.Event()
        self._finish_wanted = False
        # True once the owner wants, or needs, to hear nothing more.
        self._over = False
        self._task: asyncio.Task[None] | None = None
        # The socket while audio may be written to it at once: nothing waits, and its buffer has room.
        self._open_socket: aiohttp.ClientWebSocketResponse | None = None
        # A send that was begun from outside of the writer and has to wait: the writer's to finish.
        self._begun: Awaitable[None] | None = None
        # Bytes sent and not counted yet.
        self._uncounted_bytes = 0

    @property
    def is_ready(self) -> bool:
        """Whether the configuration is confirmed, the session not finished and not lost."""
        return not self._over and self._protocol.state is SessionState.READY

    @property
    def honoured(self) -> Extensions:
        """The extensions that the server has confirmed; none before ``session.updated``."""
        return self._protocol.honoured

    @property
    def queued_bytes(self) -> int:
        """Bytes of audio that the recogniser's socket has not taken yet."""
        return self._queued_bytes

    def start(self) -> None:
        """Begin to connect; what comes of it is told through the callbacks. Without effect once closed."""
        if self._over:
            return
        self._task = asyncio.create_task(self._run(), name="recogniser-session")

    def append(self, pcm: bytes) -> None:
        """Send audio in the configured format as soon as possible, as one append; never blocks.

        Without effect once the session is lost. Raises RuntimeError after :meth:`finish`.
        """
        if self._finish_wanted:
            raise RuntimeError("the session is finishing; audio needs a new session")
        if self._over:
            return
        if self._open_socket is not None:
            self._send_at_once(self._open_socket, pcm)
            return
        self._queue.append(pcm)
        self._queued_bytes += len(pcm)
        if self._queued_bytes > self._limits.queue_bytes:
            waiting_s = self._queued_bytes / self._bytes_per_s
            self._abandon(
                SessionLost("slow_recogniser", f"{waiting_s:.0f} s of audio wait to be sent", retryable=True)
            )
        self._wake.set()

    def finish(self) -> None:
        """Say that no more audio comes, once the queue is sent; results arrive until ``SessionFinished``."""
        self._finish_wanted = True
        self._open_socket = None
        self._wake.set()

    async def wait_closed(self) -> None:
        """Return when the connection is gone, for whatever reason."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def close(self) -> None:
        """Give the session up at once: no callback is called any more."""
        self._over = True
        if self._task is not None:
            self._task.cancel()
            await self.wait_closed()

    async def _run(self) -> None:
        socket: aiohttp.ClientWebSocketResponse | None = None
        try:
            began = asyncio.get_running_loop().time()
            socket = await self._connect()
            await self._configure(socket)
            metrics.SESSION_OPEN.observe(asyncio.get_running_loop().time() - began)
            metrics.SESSIONS_OPENED.inc()
            with metrics.SESSIONS_LIVE.track_inprogress():
                await self._converse(socket)
        except _Lost as error:
            self._report(error.lost)
        except Exception:  # noqa: BLE001 - whatever it is, the leg must learn that its session is gone
            self._report(_internal_fault())
        finally:
            self._over = True
            self._open_socket = None
            self._count(0)
            if socket is not None:
                await _hang_up(socket)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        address = self._endpoint.address
        try:
            async with asyncio.timeout(self._limits.connect_s):
                return await self._http.ws_connect(
                    self._endpoint.request_url,
                    headers=self._endpoint.request_headers,
                    heartbeat=self._limits.ping_s,
                    compress=0,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=_WS_TIMEOUT,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _Lost(judge_refusal(error.status, address)) from error
        except TimeoutError as error:
            detail = f"no answer from {address} within {self._limits.connect_s:g} s; check QA_ASR_URL"
            raise _Lost(SessionLost("timeout", detail, retryable=True)) from error
        except (aiohttp.ClientError, OSError) as error:
            detail = f"cannot connect to {address}: {error}; check QA_ASR_URL"
            raise _Lost(SessionLost("connect_failed", detail, retryable=True)) from error

    async def _configure(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """From the upgrade to ``session.updated``; no audio is sent before."""
        try:
            async with asyncio.timeout(self._limits.configure_s):
                while self._protocol.state is not SessionState.READY:
                    event = await self._receive(socket)
                    self._on_event(event)
                    if isinstance(event, SessionCreated):
                        await self._send(socket, self._protocol.update())
                    elif isinstance(event, ErrorEvent):
                        raise _Lost(_judge_rejected_update(event))
        except TimeoutError as error:
            waited_for = (
                "session.created" if self._protocol.state is SessionState.CONNECTING else "session.updated"
            )
            detail = f"{self._endpoint.address} sent no {waited_for} within {self._limits.configure_s:g} s"
            raise _Lost(SessionLost("timeout", detail, retryable=True)) from error

    async def _converse(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send what is appended and hand on what comes, until ``session.finished``."""
        writer = asyncio.create_task(self._write(socket), name="recogniser-session-writer")
        try:
            while True:
                event = await self._receive(socket)
                self._on_event(event)
                if isinstance(event, SessionFinished):
                    return
                if isinstance(event, ErrorEvent) and not event.survivable:
                    detail = f"{event.type} {event.code or ''}: {event.message}"
                    raise _Lost(SessionLost("server_error", detail, retryable=True))
        finally:
            writer.cancel()
            await asyncio.wait([writer])

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> ServerEvent:
        message = await socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            try:
                return self._protocol.receive_text(message.data)
            except MalformedMessage as error:
                # It may have been a final result: only a new session can tell what was said.
                raise _Lost(SessionLost("protocol_error", str(error), retryable=True)) from error
        if message.type is aiohttp.WSMsgType.BINARY:
            raise _Lost(SessionLost("protocol_error", "a binary message came", retryable=True))
        raise _Lost(_judge_end(socket, message))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            await self._send_queue(socket)
            await self._send(socket, self._protocol.finish())
            await asyncio.sleep(self._limits.finish_s)
            detail = f"no session.finished within {self._limits.finish_s:g} s of session.finish"
            self._abandon(SessionLost("timeout", detail, retryable=True))
        except Exception:  # noqa: BLE001 - whatever it is, the leg must learn that its session is gone
            self._abandon(_internal_fault())

    async def _send_queue(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Send what is appended until no more is to come."""
        while self._begun is not None or self._queue or not self._finish_wanted:
            if self._begun is not None:
                begun, self._begun = self._begun, None
                await begun
            while self._queue:
                pcm = self._queue.popleft()
                await self._send(socket, self._protocol.append(pcm))
                self._queued_bytes -= len(pcm)
                self._count(len(pcm))
            if not self._finish_wanted:
                self._open_socket = socket
                await self._wake.wait()
            self._wake.clear()
        self._count(0)

    def _send_at_once(self, socket: aiohttp.ClientWebSocketResponse, pcm: bytes) -> None:
        """Write audio to the socket from here: no task has to be woken for each piece of each leg.

        aiohttp's send comes to its end without waiting unless the buffer is full: only then is the writer
        woken, to go on with it, and what comes meanwhile queues.
        """
        sending = self._send(socket, self._protocol.append(pcm))
        try:
            awaited = sending.send(None)
        except StopIteration:
            pass
        else:
            self._begun = _go_on(sending, awaited)
            self._open_socket = None
            self._wake.set()
        self._count(len(pcm))

    def _count(self, sent_bytes: int) -> None:
        """Count what was sent, once for some seconds of it, or at the end (0)."""
        self._uncounted_bytes += sent_bytes
        if self._uncounted_bytes >= _COUNT_EVERY_S * self._bytes_per_s or not sent_bytes:
            metrics.AUDIO_SENT.inc(self._uncounted_bytes / self._bytes_per_s)
            self._uncounted_bytes = 0

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
        # A broken connection is the reader's to judge: it learns the close code, or the error.
        try:  # noqa: SIM105 - each append comes by here, and a context manager of its own costs more than it
            await socket.send_str(text)
        except (ConnectionError, aiohttp.ClientError):
            pass

    def _abandon(self, lost: SessionLost) -> None:
        """Lose the session from outside its main task."""
        self._report(lost)
        if self._task is not None:
            self._task.cancel()

    def _report(self, lost: SessionLost) -> None:
        if self._over:
            return
        self._over = True
        self._open_socket = None
        self._queue.clear()
        metrics.SESSIONS_LOST[lost.reason].inc()
        # Not from within the owner's own call of append.
        asyncio.get_running_loop().call_soon(self._on_lost, lost)


@types.coroutine
def _go_on(sending: Coroutine[Any, None, None], awaited: Any) -> Generator[Any, None, None]:
    """Go on with a coroutine from what it waits for, in another task than it was begun in."""
    try:
        while True:
            yield awaited
            awaited = sending.send(None)
    except StopIteration:
        return
    finally:
        sending.close()


def judge_refusal(status: int, address: str) -> SessionLost:
    """What an HTTP status means that came instead of an upgrade (section 6.1)."""
    if status == 401:  # noqa: PLR2004 - an HTTP status names itself
        detail = f"recogniser refused the API key (401) at {address}; check QA_ASR_API_KEY"
        return SessionLost("unauthorised", detail, retryable=False, status=status)
    if status == 403:  # noqa: PLR2004 - an HTTP status names itself
        detail = (
            f"recogniser denies the key this model or workspace (403) at {address}; check QA_ASR_API_KEY, "
            "QA_ASR_MODEL, QA_ASR_WORKSPACE and QA_ASR_REGION"
        )
        return SessionLost("unauthorised", detail, retryable=False, status=status)
    if status == _TOO_MANY:
        detail = (
            f"recogniser has had too many new sessions (429) at {address}; check QA_ASR_SESSIONS_PER_SECOND"
        )
        return SessionLost("rate_limited", detail, retryable=True, status=status)
    if status >= _SERVER_FAULT:
        detail = f"recogniser at {address} is unwell ({status})"
        return SessionLost("connect_failed", detail, retryable=True, status=status)
    why = _REFUSALS.get(status, f"it answered {status} instead of a WebSocket; check QA_ASR_URL")
    return SessionLost("refused", f"recogniser at {address} refused: {why}", retryable=False, status=status)


def _internal_fault() -> SessionLost:
    _log.exception("session_failed")
    return SessionLost("internal", "a fault of our own; see the log", retryable=True)


def _judge_rejected_update(event: ErrorEvent) -> SessionLost:
    where = f" ({event.param})" if event.param else ""
    detail = f"recogniser rejected the session's configuration{where}: {event.message or event.code}"
    if event.survivable:
        return SessionLost("refused", detail, retryable=False)
    return SessionLost("server_error", detail, retryable=True)


def _judge_end(socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> SessionLost:
    error = socket.exception()
    if isinstance(error, TimeoutError):
        return SessionLost("timeout", "the recogniser answers no pings any more", retryable=True)
    code = socket.close_code
    if isinstance(error, aiohttp.WebSocketError):
        return SessionLost("protocol_error", f"broken WebSocket frame: {error}", retryable=True)
    said = f": {message.extra}" if message.extra else ""
    return SessionLost("closed", f"the recogniser closed the connection (code {code}{said})", retryable=True)


async def _hang_up(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Say goodbye within a bound; aiohttp drops the connection if that is cancelled."""
    with contextlib.suppress(TimeoutError, ConnectionError, aiohttp.ClientError):
        async with asyncio.timeout(_CLOSE_WITHIN_S):
            await socket.close()
