"""A TCP proxy in front of PostgreSQL that can break a connection at the worst moment."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Fault = Literal["before_commit", "after_commit", "hang"]


class FaultyProxy:
    """Passes bytes on until ``fault`` is set, which strikes once.

    A COMMIT, or what commits by itself: whatever holds the bytes of ``commits``. ``before_commit``: it never
    reaches the server. ``after_commit``: the server commits, its answer never reaches the client. ``hang``:
    nothing is passed on any more, for good.
    """

    def __init__(self, database_url: str) -> None:
        self._target = urlsplit(database_url)
        self.fault: Fault | None = None
        self.commits = b"COMMIT"
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port or 5432)
        swallow = asyncio.Event()
        directions = [
            asyncio.create_task(self._to_server(reader, up_writer, swallow)),
            asyncio.create_task(self._to_client(up_reader, writer, swallow)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            for side in (writer, up_writer):
                side.transport.abort()

    async def _to_server(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallow: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if self.fault == "hang":
                await asyncio.Event().wait()
            if self.commits in data and self.fault is not None:
                fault, self.fault = self.fault, None
                if fault == "before_commit":
                    return
                swallow.set()
            writer.write(data)

    async def _to_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallow: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 16):
            if swallow.is_set():
                return
            writer.write(data)


@asynccontextmanager
async def faulty_proxy(database_url: str) -> AsyncIterator[FaultyProxy]:
    proxy = FaultyProxy(database_url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    parts = urlsplit(database_url)
    user = parts.netloc.rpartition("@")[0]
    proxy.url = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"))
    try:
        yield proxy
    finally:
        server.close()
