"""What people say of alerts, labels and rules is kept, all of it, and the newest counts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from qa_service.cli.alerts import alerts
from qa_service.cli.emotion import emotion
from qa_service.cli.rules import rules
from qa_service.emotion_training.manifest import read_manifest
from qa_service.emotion_training.recordings import write_corpus
from qa_service.storage.errors import NotStored
from qa_service.storage.judgements import (
    AlertFilter,
    correct_emotion,
    judge,
    list_alerts,
    read_corrections,
    read_judgements,
)
from qa_service.storage.rule_versions import publish, read_history, read_newest, read_source
from qa_service.storage.store import PostgresStore
from tests.storage.builders import (
    TOPIC,
    a_batch,
    a_call,
    a_leg,
    a_started_leg,
    an_entry,
    an_id,
    an_incident,
    an_utterance,
)

pytestmark = pytest.mark.postgres

RULES = """\
version: 1
rules:
  - id: quiet
    version: 1
    severity: low
    description: Silence.
    when: {silence: {of: call, longer_than: 9s}}
"""


@pytest.fixture
async def two_alerts(database):
    store = PostgresStore(database)
    claim = await store.claim(TOPIC, 0, "w")
    entries = (
        an_entry(1, a_started_leg(agent_id="a-7")),
        an_entry(2, an_utterance(start_pos=4000, end_pos=12000), ms=(500, 1500)),
    )
    incidents = (
        an_incident(1, "one"),
        an_incident(1, "two", rule_id="dead-air"),
        an_incident(2, "gone", state="withdrawn"),
    )
    await store.write(
        a_batch(claim, calls=(a_call(),), legs=(a_leg(),), entries=entries, incidents=incidents)
    )


async def test_the_newest_judgement_counts_and_the_earlier_ones_stay(two_alerts, database):
    alert = await judge(database, str(an_id("one")), "dismissed", by="kim", reason="a joke")
    await judge(database, str(alert)[:8], "acknowledged", by="lee", reason=None)

    listed = {row["incident_id"]: row for row in await list_alerts(database, AlertFilter())}
    history = await read_judgements(database, alert)

    assert set(listed) == {an_id("one"), an_id("two")}, "a withdrawn alert is not listed"
    assert (listed[alert]["verdict"], listed[alert]["judged_by"]) == ("acknowledged", "lee")
    assert listed[an_id("two")]["verdict"] is None
    assert [(row["verdict"], row["judged_by"], row["reason"]) for row in history] == [
        ("dismissed", "kim", "a joke"),
        ("acknowledged", "lee", None),
    ]


async def test_alerts_are_found_by_what_is_known_of_them(two_alerts, database):
    async def found(**wanted) -> list[str]:
        return sorted(row["rule_id"] for row in await list_alerts(database, AlertFilter(**wanted)))

    await judge(database, str(an_id("one")), "acknowledged", by="kim", reason=None)

    assert await found(open_only=True) == ["dead-air"]
    assert await found(rule_id="angry-customer") == ["angry-customer"]
    assert len(await found(agent_id="a-7")) == 2
    assert await found(agent_id="a-8") == []
    assert await found(since=datetime.now(UTC) + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("name", "why"), [("deadbeef", "there is no alert"), ("xyz", "is no id"), ("ab", "first 6")]
)
async def test_an_alert_that_is_not_there_is_named(two_alerts, database, name, why):
    with pytest.raises(NotStored, match=why):
        await judge(database, name, "acknowledged", by="kim", reason=None)


async def test_corrected_labels_become_a_corpus_of_the_very_stretches(two_alerts, database, tmp_path):
    said = an_utterance().utterance_id
    await correct_emotion(database, str(said), "angry", by="kim")
    await correct_emotion(database, str(said)[:9], "sad", by="lee")
    recording = np.arange(16000, dtype="int16")
    soundfile.write(tmp_path / "call-1-customer.wav", recording, 8000)
    missing: list[str] = []

    corrections = await read_corrections(database)
    manifest = write_corpus(
        corrections, str(tmp_path / "{call_id}-{leg}.wav"), tmp_path / "out", missing.append
    )

    (clip,) = read_manifest(manifest).clips
    assert (clip.speaker, read_manifest(manifest).counts(), missing) == ("s-1", {"sad": 1}, [])
    assert soundfile.read(clip.path, dtype="int16")[0].tolist() == recording[4000:12000].tolist()


async def test_an_utterance_without_a_recording_is_left_out_and_told(two_alerts, database, tmp_path):
    await correct_emotion(database, str(an_utterance().utterance_id), "angry", by="kim")
    missing: list[str] = []

    manifest = write_corpus(
        await read_corrections(database), str(tmp_path / "{call_id}-{leg}.wav"), tmp_path, missing.append
    )

    assert (manifest.read_text(), len(missing)) == ("", 1)
    assert "call-1-customer.wav" in missing[0]


async def test_rule_sets_are_versions_with_who_and_when(database):
    assert await read_newest(database) is None

    await publish(database, rule_set_hash="aaaa", source="one", name="first", by="kim")
    await publish(database, rule_set_hash="bbbb", source="two", name="second", by="lee")
    await publish(database, rule_set_hash="aaaa", source="one", name="back", by="kim")

    history = await read_history(database)
    newest = await read_newest(database)
    assert [(each.version, each.hash, each.published_by) for each in history] == [
        (3, "aaaa", "kim"),
        (2, "bbbb", "lee"),
        (1, "aaaa", "kim"),
    ]
    assert newest == (history[0], "one")
    assert await read_source(database, "bb") == ("bbbb", "two")
    with pytest.raises(NotStored):
        await read_source(database, "cc")


def test_the_commands_say_what_they_did(database_url, tmp_path):
    environment = {"QA_DATABASE_URL": database_url}

    def invoke(group, *arguments: str):
        return CliRunner().invoke(group, arguments, env=environment, catch_exceptions=False)

    (tmp_path / "mine.yaml").write_text(RULES)
    published = invoke(rules, "publish", str(tmp_path / "mine.yaml"), "--by", "kim")
    history = json.loads(invoke(rules, "history", "--json").output)
    shown = invoke(rules, "show", history[0]["hash"][:12])

    assert published.output.startswith("version 1: mine.yaml, hash ")
    assert (history[0]["published_by"], history[0]["name"]) == ("kim", "mine.yaml")
    assert shown.output == RULES
    assert invoke(alerts, "list").output == "no alerts\n"
    assert invoke(alerts, "list", "--since", "soon").exit_code == 2
    assert invoke(alerts, "dismiss", "abcdef").exit_code == 2, "a dismissal needs a reason"
    assert invoke(emotion, "manifest", "--json").output == "[]\n"
