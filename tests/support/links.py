"""A TCP link between two parts that can be cut, stalled and slowed down, by whoever holds it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Place: TypeAlias = tuple[str, int]
"""Host and port."""

_CHUNK = 1 << 16


class Link:
    """Listens on :attr:`port` of the loopback address, and passes on what comes, both ways.

    :attr:`delay_s` holds up each chunk of bytes by so much: a far server behind a thin line.
    """

    def __init__(self, place: Place, *, listen_on: int = 0) -> None:
        """``place``: where it leads; ``listen_on`` 0: any free port, which then stays the same."""
        self.port = listen_on
        self.delay_s = 0.0
        self._target = place
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()

    @property
    def is_cut(self) -> bool:
        """Whether connections are refused."""
        return self._server is None

    async def mend(self) -> None:
        """Let everything through, at the same port as before, without delay."""
        self.delay_s = 0.0
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.transport.abort()

    def stall(self) -> None:
        """Pass nothing on any more, and break nothing: what both ends see is silence."""
        self._flows.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(*self._target)
        except OSError:  # nobody is there: the client sees its connection end at once
            self._open.discard(writer)
            writer.transport.abort()
            return
        ends = {writer, up_writer}
        self._open |= ends
        pumps = [
            asyncio.create_task(self._pump(reader, up_writer)),
            asyncio.create_task(self._pump(up_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= ends
            for pump in pumps:
                pump.cancel()
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return


@asynccontextmanager
async def linked(place: Place, *, listen_on: int = 0) -> AsyncIterator[Link]:
    """A link to a server, for the length of the block."""
    link = Link(place, listen_on=listen_on)
    await link.mend()
    try:
        yield link
    finally:
        link.cut()


def through(link: Link, url: str) -> str:
    """A URL of the server behind a link, by way of the link."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    place = f"127.0.0.1:{link.port}"
    return urlunsplit(parts._replace(netloc=f"{user}@{place}" if user else place))


def place_of(url: str) -> Place:
    """Where the server of a database URL is."""
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or 5432
