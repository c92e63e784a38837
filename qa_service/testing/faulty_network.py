"""The asr-server's way to the network, with faults in it: does what :mod:`.faults` decides.

layer = FaultyNetwork(read_fault_file(Path("faults.yaml")))
async with await serve(config, network=network) as server: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from typing import Final, assert_never

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from qa_service.protocol import handshake_error
from qa_service.testing.faults import Effect, FaultPlan, HangUp, SessionFaults, Tell, TellBytes

_log = structlog.get_logger(__name__)

# Bytes that the kernel holds for a connection that is read slowly, so that its client notices soon.
_SMALL_BUFFER: Final = 4096
_LOOK_S: Final = 0.25  # between looks whether a connection that is not read is there at all
_REQUEST_ID: Final = "req_fault"


class FaultyNetwork:
    """Counts the handshakes of a server and gives each session the faults that the plan has for it."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan
        self._sessions = 0

    async def open(
        self, request: web.Request, /, *, close_timeout_s: float, max_message_bytes: int
    ) -> web.WebSocketResponse | web.Response:
        """A WebSocket with the faults of the next session, or the refusal that is one of them."""
        self._sessions += 1
        faults = self._plan.for_session(self._sessions)
        await asyncio.sleep(faults.handshake_delay_s)
        if faults.refusal is None:
            return _FaultySocket(
                request, faults, close_timeout_s=close_timeout_s, max_message_bytes=max_message_bytes
            )
        _log.info("fault_refused_handshake", session=self._sessions, status=faults.refusal)
        return web.Response(
            status=faults.refusal, text=_refusal_body(faults.refusal), content_type="application/json"
        )


class _FaultySocket(web.WebSocketResponse):
    """A WebSocket whose texts, in both directions, pass through the faults of their session."""

    def __init__(
        self, request: web.Request, faults: SessionFaults, *, close_timeout_s: float, max_message_bytes: int
    ) -> None:
        super().__init__(timeout=close_timeout_s, compress=False, max_msg_size=max_message_bytes)
        self._transport = request.transport
        self._faults = faults
        self._late: set[asyncio.Task[None]] = set()
        if faults.reads_slowly and self._transport is not None:
            kernel = self._transport.get_extra_info("socket")
            kernel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)

    async def send_str(self, data: str, compress: int | None = None) -> None:
        """Send a text of the server's, or what the faults make of it."""
        for effect in self._faults.tell(data):
            await self._carry_out(effect, compress)

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109 - aiohttp's signature
        """The client's next message; what its coming sets off is done first."""
        message = await super().receive(timeout)
        if message.type is WSMsgType.TEXT:
            heard = self._faults.hear(message.data)
            for effect in heard.effects:
                await self._carry_out(effect)
            await self._pause(heard.pause_s)
        return message

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        """Close, unless the session has fallen silent: then wait for the client to lose patience."""
        if self._faults.is_silent:
            await self._pause(math.inf)
        return await super().close(code=code, message=message, drain=drain)

    async def _carry_out(self, effect: Effect, compress: int | None = None) -> None:
        match effect:
            case Tell(text, 0.0):
                await super().send_str(text, compress)
            case Tell(text, late_by_s):
                self._tell_later(text, late_by_s)
            case TellBytes(data):
                await self.send_bytes(data)
            case HangUp(code):
                await self._hang_up(code)
            case _:
                assert_never(effect)

    async def _hang_up(self, code: int | None) -> None:
        _log.info("fault_ended_connection", code=code)
        if code is not None:
            await super().close(code=code)
        elif self._transport is not None:
            self._transport.abort()

    def _tell_later(self, text: str, late_by_s: float) -> None:
        async def tell() -> None:
            await asyncio.sleep(late_by_s)
            with contextlib.suppress(ConnectionError):  # too late
                await super(_FaultySocket, self).send_str(text)

        task = asyncio.create_task(tell(), name="fault-late-event")
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _pause(self, seconds: float) -> None:
        """Leave the client's messages unread, as long as there is a client."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left_s := until - loop.time()) > 0 and not self._is_gone:  # noqa: ASYNC110 - nobody would say so
            await asyncio.sleep(min(left_s, _LOOK_S))

    @property
    def _is_gone(self) -> bool:
        return self.closed or self._transport is None or self._transport.is_closing()


def _refusal_body(status: int) -> str:
    message = "A fault that was asked for."
    match status:
        case 400 | 401 | 403 | 404 | 429:
            return handshake_error(status, message, _REQUEST_ID)
        case _:
            body = {"code": "ServiceUnavailable", "message": message, "request_id": _REQUEST_ID}
            return msgspec.json.encode(body).decode()
