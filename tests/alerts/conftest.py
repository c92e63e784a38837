"""A producer that writes down what it is given and fails when told to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest


@dataclass
class Sent:
    topic: str
    key: bytes
    value: bytes
    headers: dict[str, bytes]


@dataclass
class FakeProducer:
    """``refuse(record)`` returns the error that a record gets instead of an acknowledgement, or None."""

    sent: list[Sent] = field(default_factory=list)
    refuse: object = staticmethod(lambda _record: None)
    gate: asyncio.Event | None = None
    refusals: int = 0

    async def send(self, topic, value, key, *, headers):
        record = Sent(topic, key, value, dict(headers))
        future = asyncio.get_running_loop().create_future()
        error = self.refuse(record)
        if error is None:
            self.sent.append(record)
            if self.gate is None or self.gate.is_set():
                future.set_result(None)
        else:
            self.refusals += 1
            future.set_exception(error)
        return future

    async def send_and_wait(self, topic, value, key, *, headers):
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)  # let other calls go ahead
        future = await self.send(topic, value, key, headers=headers)
        return await future


@pytest.fixture
def producer() -> FakeProducer:
    return FakeProducer()
