"""One WebSocket of the server: what is read, what is written, how it ends.

Decided here: reading, working and writing go on independently, so a client that reads late cannot stop
itself from being heard (section 1.4). Pings go out every 25 s and their answers are not waited for: a client
that sends lives, and one that does not is caught by the idle limit. After ``session.finished`` the client
closes, or we do 7 s later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Final

import structlog
from aiohttp import WSMessage, WSMsgType, web

from qa_service.asr_server.session import Session
from qa_service.protocol import PING_INTERVAL_S, CloseCode, ErrorCode, ErrorType, ServerSession

_log = structlog.get_logger(__name__)

_INBOX_CHARACTERS: Final = 64 * 1024 * 1024  # of text read ahead of the work; beyond it the socket waits
_CONGESTED_TEXTS: Final = 64  # waiting to be written: from here on no more partials
_FLUSH_S: Final = 2.0  # for the last texts before we close

_CLOSING: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


class Connection:
    """A session on its socket, from the upgrade to the close.

    ``open_session`` makes the session, given where its texts go and whether that is congested.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        protocol: ServerSession,
        open_session: Callable[[Callable[[str], None], Callable[[], bool]], Session],
        *,
        idle_timeout_s: float,
        close_wait_s: float,
    ) -> None:
        self._socket = socket
        self._protocol = protocol
        self._idle_timeout_s = idle_timeout_s
        self._close_wait_s = close_wait_s
        self._inbox = _Inbox()
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._session = open_session(self._outbox.put_nowait, self._is_congested)
        # Set when the server, or this session, has to stop.
        self._stopping = asyncio.Event()
        self._stop_message = ""

    def stop(self, message: str) -> None:
        """Have the session end soon; ``message`` says why."""
        self._stop_message = message
        self._stopping.set()

    async def run(self) -> None:
        """Serve the session to its end; raises nothing that concerns this session alone."""
        self._outbox.put_nowait(self._protocol.created())
        reader, worker = _start(self._read()), _start(self._work())
        writer, pinger, stopping = _start(self._write()), _start(self._ping()), _start(self._stopping.wait())
        tasks: set[asyncio.Task[object]] = {reader, worker, writer, pinger, stopping}
        try:
            ends: set[asyncio.Future[object]] = {reader, worker, writer, stopping, self._session.fault}  # type: ignore[arg-type] # what they give does not matter
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            await self._end(reader, worker)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._session.close()

    async def _end(self, reader: asyncio.Task[object], worker: asyncio.Task[object]) -> None:
        """Close as whatever happened first asks for."""
        if (error := _error_of(self._session.fault) or _error_of(worker)) is not None:
            _log.error("session_failed", session=self._protocol.session_id, exc_info=error)
            message = "The server failed; open a new session."
            await self._close_with_error(ErrorCode.INTERNAL, message, CloseCode.INTERNAL)
        elif self._session.finished:
            await asyncio.wait({reader}, timeout=self._close_wait_s)
            await self._socket.close(code=CloseCode.NORMAL)
        elif self._stopping.is_set():
            await self._close_with_error(ErrorCode.SESSION_EXPIRED, self._stop_message, CloseCode.GOING_AWAY)
        elif isinstance(_error_of(reader), TimeoutError):
            message = f"Nothing came for {self._idle_timeout_s:g} s; open a new session."
            await self._close_with_error(ErrorCode.SESSION_EXPIRED, message, CloseCode.NORMAL)
        # Else the client has closed: nobody is left to be told anything.

    async def _close_with_error(self, code: ErrorCode, message: str, close_code: CloseCode) -> None:
        for text in self._protocol.error(ErrorType.SERVER, code, message):
            self._outbox.put_nowait(text)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                await self._outbox.join()
        await self._socket.close(code=close_code)

    async def _read(self) -> None:
        """Put what comes into the inbox until the client closes; TimeoutError if nothing comes."""
        while True:
            message: WSMessage = await self._socket.receive(timeout=self._idle_timeout_s)
            if message.type in _CLOSING:
                return
            await self._inbox.put(message.data if message.type is WSMsgType.TEXT else None)

    async def _work(self) -> None:
        """Carry out what has come, in order, until the session is finished."""
        while not self._session.finished:
            text = await self._inbox.get()
            if text is None:
                for reply in self._protocol.receive_binary().replies:
                    self._outbox.put_nowait(reply)
            else:
                await self._session.receive(text)
        await self._outbox.join()

    async def _write(self) -> None:
        """Write what is to be told; ends when the socket is gone."""
        while True:
            text = await self._outbox.get()
            try:
                await self._socket.send_str(text)
            except ConnectionError:
                return
            finally:
                self._outbox.task_done()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING_INTERVAL_S)
            with contextlib.suppress(ConnectionError):
                await self._socket.ping()

    def _is_congested(self) -> bool:
        return self._outbox.qsize() > _CONGESTED_TEXTS


class _Inbox:
    """Texts in order, None for a binary message; full when they hold too many characters."""

    def __init__(self) -> None:
        self._texts: deque[str | None] = deque()
        self._characters = 0
        self._changed = asyncio.Condition()

    async def put(self, text: str | None) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._characters <= _INBOX_CHARACTERS)
            self._texts.append(text)
            self._characters += len(text or "")
            self._changed.notify_all()

    async def get(self) -> str | None:
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._texts))
            text = self._texts.popleft()
            self._characters -= len(text or "")
            self._changed.notify_all()
            return text


def _start(work: Coroutine[object, object, object]) -> asyncio.Task[object]:
    return asyncio.create_task(work)


def _error_of(future: asyncio.Future[None] | asyncio.Task[object]) -> BaseException | None:
    """The exception that a future or task ended with, if it did."""
    return future.exception() if future.done() and not future.cancelled() else None
