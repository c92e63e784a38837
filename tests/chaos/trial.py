"""A trial: a deployment with live calls on it, something done to it, and the verdict."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from qa_service.kafka import make_producer
from qa_service.storage.database import Database
from qa_service.telephony.producer import Publisher
from tests.chaos.calls import RULES, LiveCall, Switchboard
from tests.chaos.parts import Site, running_site
from tests.chaos.recovery import Watch
from tests.chaos.verdict import await_settled, find_faults
from tests.support.waiting import eventually

_DELIVERY_MS = 120_000
"""The platform that publishes outlives a broker's restart, on a laden machine too."""
_FIRST_WORDS_WITHIN_S = 90.0


@dataclass
class Trial:
    """What a test does something to."""

    site: Site
    switchboard: Switchboard
    watch: Watch
    random: Random
    faults: list[str] = field(default_factory=list)
    """What was found wrong, once it is over."""


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
        live = [LiveCall(f"call-{number}", seed) for number in range(calls)]
        switchboard = Switchboard(Publisher(producer, site.audio_topic), live)
        watch = Watch(site, switchboard)
        try:
            switchboard.begin()
            await _await_first_words(watch)
            running = Trial(site, switchboard, watch, Random(seed))
            yield running
            await site.heal()
            await switchboard.hang_up()
            database = Database(site.database.url)
            try:
                await await_settled(database, live)
                running.faults = await find_faults(site, database, live)
            finally:
                await database.close()
        finally:
            await watch.close()
            await switchboard.close()
            await producer.stop()


async def _await_first_words(watch: Watch) -> None:
    """Every leg is covered, and closely behind: faults meet calls that go well."""
    await eventually(
        lambda: len(watch.looks) > 8 and all(look.lag_s < 5 for look in watch.looks[-4:]),
        waiting_for="all legs to be live",
        within_s=_FIRST_WORDS_WITHIN_S,
    )
