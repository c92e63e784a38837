"""Whether all came out as it was said, from the rows in PostgreSQL and the alerts on their topic.

Nothing here looks at how it came about. Words are compared with those that were played, so the outcome of an
undisturbed run is not one among many: it is the only right one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from qa_service.alerts.following import follow
from qa_service.domain.entries import Gap, LogEntry, Quiet, Utterance
from qa_service.simulation.words import RATE_HZ
from qa_service.storage import rows, tables
from qa_service.storage.database import Database
from qa_service.storage.transcripts import are_settled
from tests.chaos.calls import LEGS, LiveCall
from tests.chaos.parts import Site
from tests.support.waiting import eventually

SETTLED_WITHIN_S = 900.0
"""Far beyond what reading a few minutes again takes, on a busy machine too."""
_PLACE_MS = 100
"""A word may seem to lie so far outside its utterance: the recogniser's times are whole voice frames."""


async def await_settled(database: Database, calls: Sequence[LiveCall]) -> None:
    """Return once the calls have ended in the database and nothing of them waits for the relay."""
    names = [call.call_id for call in calls]
    await eventually(
        lambda: are_settled(database, names),
        waiting_for="the calls to be stored and published",
        within_s=SETTLED_WITHIN_S,
    )


async def find_faults(site: Site, database: Database, calls: Sequence[LiveCall]) -> list[str]:
    """Everything that is wrong, in words; empty if nothing is."""
    events = [event async for event in follow(site.kafka, site.alerts_topic, until_end=True)]
    faults: list[str] = []
    for call in calls:
        log = await _read_log(database, call.call_id)
        incidents = await _read_incidents(database, call.call_id)
        own = [event for event in events if event["data"]["call_id"] == call.call_id]
        found = [*judge_log(call, log), *judge_incidents(call, incidents), *judge_alerts(incidents, own)]
        faults += (f"{call.call_id}: {fault}" for fault in found)
    return faults


async def _read_log(database: Database, call_id: str) -> list[LogEntry]:
    entry = tables.log_entry
    chosen = sa.select(entry).where(entry.c.call_id == call_id).order_by(entry.c.call_seq)
    async with database.transaction() as connection:
        return [rows.entry_from_row(row) for row in (await connection.execute(chosen)).mappings()]


async def _read_incidents(database: Database, call_id: str) -> list[dict[str, Any]]:
    chosen = sa.select(tables.incident).where(tables.incident.c.call_id == call_id)
    async with database.transaction() as connection:
        return [dict(row) for row in (await connection.execute(chosen)).mappings()]


def judge_log(call: LiveCall, log: list[LogEntry]) -> Iterator[str]:
    if [entry.call_seq for entry in log] != list(range(1, len(log) + 1)):
        yield "its log has holes"
    for leg in LEGS:
        bodies = [entry.body for entry in log if entry.leg_id == leg]
        releases = [body for body in bodies if isinstance(body, Utterance | Quiet | Gap)]
        yield from (f"{leg}: {fault}" for fault in _judge_coverage(releases, call.sent_samples))
        utterances = [body for body in releases if isinstance(body, Utterance)]
        yield from (f"{leg}: {fault}" for fault in _judge_words(call, leg, utterances))


def _judge_coverage(releases: list[Utterance | Quiet | Gap], sent: int) -> Iterator[str]:
    covered = 0
    for release in releases:
        if not covered <= release.start_pos <= release.end_pos:
            yield f"{release} overlaps what is covered up to {covered}"
        if isinstance(release, Gap):
            yield f"{release} says that something was not heard"
        covered = release.end_pos
    if covered != sent:
        yield f"covered up to {covered} of {sent} samples"


def _judge_words(call: LiveCall, leg: str, utterances: list[Utterance]) -> Iterator[str]:
    if [utterance.ordinal for utterance in utterances] != list(range(1, len(utterances) + 1)):
        yield "utterances are numbered with holes"
    said = call.said[leg]
    heard = [(text, utterance) for utterance in utterances for text in utterance.text.split()]
    if [word.text for word in said] != [text for text, _ in heard]:
        yield _describe_difference([word.text for word in said], [text for text, _ in heard])
        return
    for word, (_, utterance) in zip(said, heard, strict=True):
        start_ms, end_ms = (pos * 1000 // RATE_HZ for pos in (utterance.start_pos, utterance.end_pos))
        if not start_ms - _PLACE_MS <= word.start_ms < word.end_ms <= end_ms + _PLACE_MS:
            yield f"{word} stands in an utterance from {start_ms} to {end_ms} ms"


def _describe_difference(said: list[str], heard: list[str]) -> str:
    at = next((n for n, pair in enumerate(zip(said, heard, strict=False)) if pair[0] != pair[1]), None)
    at = min(len(said), len(heard)) if at is None else at
    return (
        f"{len(said)} words were said and {len(heard)} are stored; from word {at} on "
        f"{said[at : at + 5]} became {heard[at : at + 5]}"
    )


def judge_incidents(call: LiveCall, incidents: list[dict[str, Any]]) -> Iterator[str]:
    found = Counter(row["rule_id"] for row in incidents)
    if found != call.incidents:
        yield f"incidents {dict(found)}, not {dict(call.incidents)}"
    if still := [row["rule_id"] for row in incidents if row["state"] != "closed"]:
        yield f"incidents of {still} are still open"


def judge_alerts(incidents: list[dict[str, Any]], events: list[dict[str, Any]]) -> Iterator[str]:
    """Events may come again, with the same id; what counts is when each came first."""
    first = list({event["id"]: event for event in events}.values())
    story = defaultdict(list)
    for event in first:
        story[event["data"]["incident_id"]].append(event["type"].rpartition(".")[2])
    if missing := {str(row["incident_id"]) for row in incidents} ^ story.keys():
        yield f"incidents and alerts differ in {sorted(missing)}"
    for incident_id, kinds in story.items():
        opened, *rest = kinds
        if opened != "opened" or rest[-1:] != ["closed"] or {"opened", "closed"} & set(rest[:-1]):
            yield f"alerts of {incident_id} came as {kinds}"
