"""Which rules a call that begins now is pinned to, when rules are published in the database."""

from __future__ import annotations

import pytest

from qa_service.rules.ruleset import load_rule_set
from qa_service.storage.errors import StoreUnavailable
from qa_service.testing.store import MemoryStore
from qa_service.worker.rule_book import RuleSets

RULE = """
version: 1
rules:
  - id: quiet
    version: %d
    severity: low
    description: Silence.
    when: {silence: {of: call, longer_than: 9s}}
"""
FIRST, SECOND = (load_rule_set(RULE % version, "rules") for version in (1, 2))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def published(version: int, source: str):
    async def newest():
        return version, "hash-of-another-release", source

    return newest


async def test_a_published_rule_set_is_for_new_calls_and_stored_before_any_is_pinned_to_it(store):
    rule_sets = RuleSets(FIRST, store)
    book = rule_sets.book
    running = book.start(book.current(), "call-1")

    await rule_sets.renew(published(1, SECOND.source))

    assert book.current() == SECOND.hash
    assert store.rule_sets[SECOND.hash] == SECOND.source
    assert book.start(FIRST.hash, "call-1") is not running, "the rules of calls in flight are still known"


async def test_a_broken_rule_set_leaves_the_present_one_in_force_and_a_mended_one_follows(store):
    rule_sets = RuleSets(FIRST, store)

    await rule_sets.renew(published(1, "rules: nonsense"))
    assert rule_sets.book.current() == FIRST.hash

    await rule_sets.renew(published(2, SECOND.source))
    assert rule_sets.book.current() == SECOND.hash


async def test_a_rule_set_that_cannot_be_stored_is_not_put_in_force_until_it_can(store):
    rule_sets = RuleSets(FIRST, store)

    store.fail_with = StoreUnavailable("gone")
    await rule_sets.renew(published(1, SECOND.source))
    assert rule_sets.book.current() == FIRST.hash

    store.fail_with = None
    await rule_sets.renew(published(1, SECOND.source))
    assert rule_sets.book.current() == SECOND.hash
