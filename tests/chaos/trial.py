"""A trial: a deployment with live calls on it, something done to it, and the verdict."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from qa_service.kafka import make_producer
from qa_service.storage.database import Database
from qa_service.telephony.producer import Publisher
from tests.chaos.calls import LEGS, RULES, LiveCall, Switchboard
from tests.chaos.parts import Program, Site, running_site
from tests.chaos.recovery import Watch
from tests.chaos.verdict import await_settled, find_faults
from tests.support.waiting import eventually

_DELIVERY_MS = 120_000
"""The platform that publishes outlives a broker's restart, on a laden machine too."""
_FIRST_WORDS_WITHIN_S = 180.0


@dataclass
class Trial:
    """What a test does something to."""

    site: Site
    switchboard: Switchboard
    watch: Watch
    random: Random
    spared: list[Program] = field(default_factory=list)
    """Workers that no fault strikes at present."""
    faults: list[str] = field(default_factory=list)
    """What was found wrong, once it is over."""

    async def query(self, statement: str) -> list[dict[str, Any]]:
        async with reading(self.site) as database, database.transaction() as connection:
            return [dict(row) for row in (await connection.execute(sa.text(statement))).mappings()]


@contextlib.asynccontextmanager
async def reading(site: Site) -> AsyncIterator[Database]:
    """New connections to the rows, past all links: older ones have not outlived a restart."""
    database = Database(site.database.url)
    try:
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def trial(
    home: Path,
    cache_dir: Path,
    *,
    calls: int,
    workers: int = 2,
    seed: int = 0,
    rules: str = RULES,
    **settings: str,
) -> AsyncIterator[Trial]:
    """Calls are live when the block begins; at its end all is healed, they hang up, and are judged.

    What the judgement found stands in ``faults``.
    """
    async with running_site(home, cache_dir, rules=rules, workers=workers, **settings) as site:
        producer = make_producer(site.kafka, linger_ms=5, request_timeout_ms=_DELIVERY_MS)
        await producer.start()
        switchboard = Switchboard(Publisher(producer, site.audio_topic))
        watch = Watch(site, switchboard)
        try:
            switchboard.begin([LiveCall(f"call-{number}", seed) for number in range(calls)])
            running = Trial(site, switchboard, watch, Random(seed))
            await _await_first_words(running, calls)
            yield running
            await site.heal()
            await switchboard.hang_up()
            async with reading(site) as database:
                await await_settled(database, switchboard.calls)
                running.faults = await find_faults(site, database, switchboard.calls)
        finally:
            await watch.close()
            await switchboard.close()
            await producer.stop()


async def _await_first_words(trial: Trial, calls: int) -> None:
    """Something of every leg is covered."""

    async def are_covered() -> bool:
        (row,) = await trial.query("select count(*) as legs from qa.leg where covered_until > 0")
        return row["legs"] >= calls * len(LEGS)

    await eventually(are_covered, waiting_for="words of every leg", within_s=_FIRST_WORDS_WITHIN_S)
