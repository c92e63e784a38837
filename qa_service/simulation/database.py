"""The database as a process sees it: far away, at times not there, and with COMMITs whose outcome is unknown.

Decided here: a transaction takes effect at one moment, some way after it was sent and before its answer
arrives. Between the two the connection may break, and whoever sent it may have been frozen, killed or fenced
off. A transaction that is under way when its sender dies may still be carried out.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

from qa_service.domain.writes import Claim, StoredCall, WriteBatch
from qa_service.simulation.loop import VirtualLoop
from qa_service.simulation.network import Network
from qa_service.storage.errors import StoreUnavailable
from qa_service.testing.store import MemoryStore

_T = TypeVar("_T")

_WAY_S: Final = 0.03
"""Longest way there, and back."""
_REFUSED_AFTER_S: Final = 0.5


Backup: TypeAlias = dict[str, object]
"""What a database held at one moment."""


class Server:
    """The database server: a :class:`MemoryStore` that can be away, lose answers and be set back."""

    def __init__(self, loop: VirtualLoop, network: Network) -> None:
        self.tables = MemoryStore()
        self.is_up = True
        self.lose_requests = 0
        """So many writes do not arrive."""
        self.lose_answers = 0
        """So many writes are carried out, and nobody learns it."""
        self.writes_in_flight = 0
        self.on_write: list[Callable[[WriteBatch], None]] = []
        """Called with each batch that is stored, after it is."""
        self.loop = loop
        self.network = network

    def back_up(self) -> Backup:
        """Keep what is stored at this moment."""
        kept = {name: value for name, value in vars(self.tables).items() if name not in _VOLATILE}
        return copy.deepcopy(kept)

    def restore(self, backup: Backup) -> None:
        """Go back to a former moment."""
        vars(self.tables).update(copy.deepcopy(backup))

    async def carry_out(self, batch: WriteBatch) -> None:
        """One transaction."""
        before = self.tables.claims.get((batch.topic, batch.partition))
        await self.tables.write(batch)
        if before is None or before.write_seq != batch.write_seq:
            for hear in self.on_write:
                hear(batch)


_VOLATILE: Final = {"fail_with", "listeners", "locked_shards"}


class DistantStore:
    """The :class:`~qa_service.storage.store.Store` of one process."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def claim(self, topic: str, partition: int, owner: str) -> Claim:
        """See :class:`~qa_service.storage.store.Store`."""
        return await self._ask("db.claim", lambda tables: tables.claim(topic, partition, owner))

    async def load_calls(self, topic: str, partition: int) -> tuple[StoredCall, ...]:
        """See :class:`~qa_service.storage.store.Store`."""
        return await self._ask("db.load", lambda tables: tables.load_calls(topic, partition))

    async def load_call(self, call_id: str) -> StoredCall | None:
        """See :class:`~qa_service.storage.store.Store`."""
        return await self._ask("db.look_up", lambda tables: tables.load_call(call_id))

    async def save_rule_set(self, rule_set_hash: str, source: str) -> None:
        """See :class:`~qa_service.storage.store.Store`."""
        await self._ask("db.rules", lambda tables: tables.save_rule_set(rule_set_hash, source))

    async def rule_set(self, rule_set_hash: str) -> str | None:
        """See :class:`~qa_service.storage.store.Store`."""
        return await self._ask("db.rules", lambda tables: tables.rule_set(rule_set_hash))

    async def ping(self) -> None:
        """See :class:`~qa_service.storage.store.Store`."""
        await self._ask("db.ping", lambda tables: tables.ping())

    async def write(self, batch: WriteBatch) -> None:
        """See :class:`~qa_service.storage.store.Store`."""
        server = self._server
        # A part of the world, not of the process: once sent, a transaction does not die with its sender.
        sent = server.loop.spawn(None, self._transact(batch), name="transaction")
        await server.network.pass_point("db.write")
        await asyncio.wait([sent])
        await server.network.pass_point("db.written", longest_s=_WAY_S)
        answer = sent.result()
        if answer is not None:
            raise answer

    async def _transact(self, batch: WriteBatch) -> Exception | None:
        """Carry a batch out; returns what its sender is told."""
        server = self._server
        server.writes_in_flight += 1
        try:
            await asyncio.sleep(server.network.random.random() * _WAY_S)
            return await self._take_effect(batch)
        finally:
            server.writes_in_flight -= 1

    async def _take_effect(self, batch: WriteBatch) -> Exception | None:
        server = self._server
        if server.lose_requests:
            server.lose_requests -= 1
            return StoreUnavailable("the connection broke on the way there")
        if not server.is_up:
            await asyncio.sleep(_REFUSED_AFTER_S)
            return StoreUnavailable("the database is away")
        try:
            await server.carry_out(batch)
        except Exception as error:  # noqa: BLE001 - the answer, whatever it is, is the sender's
            return error
        if server.lose_answers:
            server.lose_answers -= 1
            return StoreUnavailable("the connection broke on the way back")
        return None

    async def _ask(self, point: str, ask: Callable[[MemoryStore], Awaitable[_T]]) -> _T:
        network = self._server.network
        await network.pass_point(point, longest_s=_WAY_S)
        if not self._server.is_up:
            await asyncio.sleep(_REFUSED_AFTER_S)
            raise StoreUnavailable("the database is away")
        answer = await ask(self._server.tables)
        await network.pass_point(f"{point}.answered", longest_s=_WAY_S)
        return answer
