"""Which rule sets calls are pinned to: the present one for new calls, stored ones for calls in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import structlog

from qa_service import metrics
from qa_service.domain.call_log import CallRules
from qa_service.domain.partition import RuleBook
from qa_service.domain.writes import StoredCall
from qa_service.rules.errors import RuleFileError
from qa_service.rules.ruleset import RuleSet, load_rule_set
from qa_service.rules.scorecards import Scorecard, ScoredRules
from qa_service.storage.errors import StorageError
from qa_service.storage.store import Store

_log = structlog.get_logger(__name__)

Newest: TypeAlias = Callable[[], Awaitable[tuple[int, str, str] | None]]
"""Reads the newest published rule set: version, hash and source; None: none was published yet."""


class RuleSets:
    """Rule sets by hash; one that a stored call is pinned to is read from the store once."""

    def __init__(self, current: RuleSet, store: Store, scorecard: Scorecard | None = None) -> None:
        """``scorecard``: what calls are graded by when they end; None: not at all."""
        self._current = current
        self._store = store
        self._scorecard = scorecard
        self._by_hash: dict[str, RuleSet] = {current.hash: current}
        self._looked_at = 0
        """Version of the newest published rule set that was looked at."""

    async def publish(self) -> None:
        """Store the present rule set by its hash, before any call is pinned to it."""
        await self._store.save_rule_set(self._current.hash, self._current.source)

    async def prepare(self, calls: Iterable[StoredCall]) -> None:
        """Make the rule sets of stored calls available to :attr:`book`."""
        for rule_set_hash in {stored.call.rule_set_hash for stored in calls} - self._by_hash.keys():
            source = await self._store.rule_set(rule_set_hash)
            self._by_hash[rule_set_hash] = self._load(rule_set_hash, source)

    async def follow(self, newest: Newest, every_s: float) -> None:
        """Put the newest published rule set in force for new calls, for ever."""
        while True:
            await self.renew(newest)
            await asyncio.sleep(every_s)

    async def renew(self, newest: Newest) -> None:
        """Look for a newer rule set once; one that cannot be had or read leaves the present one in force."""
        try:
            found = await newest()
            if found is not None and found[0] != self._looked_at:
                await self._put_in_force(*found)
        except StorageError as error:
            _log.warning("rule_set_not_looked_up", error=str(error), using=self._current.hash)

    async def _put_in_force(self, version: int, published_hash: str, source: str) -> None:
        try:
            loaded = load_rule_set(source, f"published rule set {version}")
        except RuleFileError as error:
            self._looked_at = version
            metrics.RULE_SETS_REFUSED.inc()
            _log.error("rule_set_refused", version=version, using=self._current.hash, error=str(error))
            return
        # Another release may have published it, under the hash that the rules have there.
        await self._store.save_rule_set(loaded.hash, loaded.source)
        self._by_hash[loaded.hash] = loaded
        self._looked_at, before, self._current = version, self._current, loaded
        _log.info(
            "rule_set_changed",
            version=version,
            rule_set=loaded.hash,
            published_as=published_hash,
            before=before.hash,
        )

    @property
    def book(self) -> RuleBook:
        """What the core needs to pin and to evaluate."""
        return RuleBook(current=lambda: self._current.hash, start=self._start)

    def _load(self, rule_set_hash: str, source: str | None) -> RuleSet:
        """Load a stored rule set, or fall back on the present one and say so: calls matter more."""
        if source is None:
            _log.error("rule_set_missing", rule_set_hash=rule_set_hash, using=self._current.hash)
            return self._current
        try:
            return load_rule_set(source, f"stored rule set {rule_set_hash}")
        except RuleFileError as error:  # written for another version of the language
            _log.error(
                "rule_set_unreadable", rule_set_hash=rule_set_hash, using=self._current.hash, error=str(error)
            )
            return self._current

    def _start(self, rule_set_hash: str, call_id: str) -> CallRules:
        rules = self._by_hash[rule_set_hash].start(call_id)
        return ScoredRules(rules, call_id=call_id, card=self._scorecard)
