"""The seam between the server and its clients' connections, for whoever wants to stand in between."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web


class Network(Protocol):
    """How the connections of clients reach the server."""

    async def open(
        self, request: web.Request, /, *, close_timeout_s: float, max_message_bytes: int
    ) -> web.WebSocketResponse | web.Response:
        """The WebSocket, not yet prepared, for a handshake that the server takes; or another answer to it."""
        ...


class DirectNetwork:
    """Nothing stands in between."""

    async def open(
        self, _request: web.Request, /, *, close_timeout_s: float, max_message_bytes: int
    ) -> web.WebSocketResponse:
        """An ordinary WebSocket."""
        return web.WebSocketResponse(timeout=close_timeout_s, compress=False, max_msg_size=max_message_bytes)
