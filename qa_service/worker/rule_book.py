"""Which rule sets calls are pinned to: the present one for new calls, stored ones for calls in flight."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from qa_service.domain.call_log import CallRules
from qa_service.domain.partition import RuleBook
from qa_service.domain.writes import StoredCall
from qa_service.rules.errors import RuleFileError
from qa_service.rules.ruleset import RuleSet, load_rule_set
from qa_service.storage.store import Store

_log = structlog.get_logger(__name__)


class RuleSets:
    """Rule sets by hash; one that a stored call is pinned to is read from the store once."""

    def __init__(self, current: RuleSet, store: Store) -> None:
        self._current = current
        self._store = store
        self._by_hash: dict[str, RuleSet] = {current.hash: current}

    async def publish(self) -> None:
        """Store the present rule set by its hash, before any call is pinned to it."""
        await self._store.save_rule_set(self._current.hash, self._current.source)

    async def prepare(self, calls: Iterable[StoredCall]) -> None:
        """Make the rule sets of stored calls available to :attr:`book`."""
        for rule_set_hash in {stored.call.rule_set_hash for stored in calls} - self._by_hash.keys():
            source = await self._store.rule_set(rule_set_hash)
            self._by_hash[rule_set_hash] = self._load(rule_set_hash, source)

    @property
    def book(self) -> RuleBook:
        """What the core needs to pin and to evaluate."""
        return RuleBook(current_hash=self._current.hash, start=self._start)

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
        return self._by_hash[rule_set_hash].start(call_id)
