"""Each figure of the report views, checked against calls worked out by hand.

The main call, in seconds of call time (two legs, both heard from 0 to 20):

    customer   1─3 "hello hello"        6─9 angry      10─11 (abstained)        15─16 (no label)
    agent           4─5 "yes sir"            8─10                    gap 12─14            17─18 (no emotion)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
import sqlalchemy as sa
import structlog

from qa_service.domain.entries import CallStarted, Gap, LegUpdated, Quiet
from qa_service.domain.writes import WriteBatch
from qa_service.rules.ruleset import default_rule_set
from qa_service.rules.scorecards import default_scorecard
from qa_service.storage.database import Database
from qa_service.storage.figures import MOST_WAITING, FigureKeeper
from qa_service.storage.judgements import judge
from qa_service.storage.store import PostgresStore
from qa_service.testing.stored_calls import make_call, store_calls
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

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
VIEWS = (
    "agent_daily",
    "alert_log",
    "call_quality",
    "coverage",
    "emotion_timeline",
    "queue_hourly",
    "recovery",
    "scorecard",
    "scorecard_answer",
)


class Writer:
    """Writes calls entry by entry, with times in seconds."""

    def __init__(self, call_id: str) -> None:
        self.call_id = call_id
        self.entries = []
        self.legs = {}
        self._ordinals = {}
        self.add(None, CallStarted("abc", 0))

    def add(self, leg, body, start: float = 0, end: float | None = None) -> None:
        ms = (round(start * 1000), round((start if end is None else end) * 1000))
        self.entries.append(an_entry(len(self.entries) + 1, body, call_id=self.call_id, leg=leg, ms=ms))

    def leg(self, leg: str, role: str, start: float = 0, **described) -> None:
        policy = "on" if role == "customer" else "off_role"
        described = {"role": role, "emotion_policy": policy} | described
        self.legs[leg] = a_leg(leg, self.call_id, **described)
        self.add(leg, a_started_leg(**described), start)

    def say(
        self, leg: str, start: float, end: float, text: str = "hm", emotion: str | None = None, **more
    ) -> None:
        ordinal = self._ordinals[leg] = self._ordinals.get(leg, 0) + 1
        said = an_utterance(ordinal, call_id=self.call_id, leg=leg, text=text, emotion=emotion, **more)
        self.add(leg, said, start, end)

    def quiet(self, leg: str, start: float, end: float, source: str = "progress") -> None:
        self.add(leg, Quiet(start_pos=0, end_pos=0, time_source=source), start, end)

    def gap(self, leg: str, start: float, end: float, reason: str = "lost") -> None:
        self.add(leg, Gap(reason=reason, start_pos=0, end_pos=0), start, end)

    def batch(self, claim, nth: int, **more) -> WriteBatch:
        call = a_call(self.call_id, **more.pop("call", {}))
        return a_batch(
            claim, nth, calls=(call,), legs=tuple(self.legs.values()), entries=tuple(self.entries), **more
        )


def the_main_call() -> Writer:
    call = Writer("call-1")
    call.leg("agent", "agent", agent_id="a-7", queue="billing")
    call.leg("customer", "customer")
    call.say("customer", 1, 3, "hello hello", "neutral", loudness_dbfs=-20.0)
    call.say("agent", 4, 5, "yes sir")
    ranked = {"anger_score": 7.25, "anger_rank": 0.02, "anger_daily": 12.5}
    told = {"emotion_distribution": {"angry": 0.9, "other": 0.1}, **ranked}
    call.say("customer", 6, 9, "no no no", "angry", emotion_confidence=0.9, loudness_dbfs=-14.0, **told)
    call.say("agent", 8, 10, "please wait a moment now")
    call.say("customer", 10, 11, "你好你好", None, emotion_abstained=True, language="zh")
    call.gap("agent", 12, 14)
    call.say("customer", 15, 16, "well", None, emotion_confidence=None)
    call.say("agent", 17, 18, "good bye", "happy")  # a label that must never show: the policy is off
    call.quiet("customer", 16, 20, "gate")
    call.quiet("agent", 18, 20)
    return call


@pytest.fixture
async def store(database):
    return PostgresStore(database)


@pytest.fixture
async def claim(store):
    return await store.claim(TOPIC, 3, "w")


@pytest.fixture
def select(database):
    async def select(query: str) -> list[dict]:
        async with database.transaction() as connection:
            return [dict(row) for row in (await connection.execute(sa.text(query))).mappings()]

    return select


@pytest.fixture
async def main_call(store, claim):
    incidents = (
        an_incident(2, "one", state="closed", opened_ms=8000, closed_ms=11000),
        an_incident(1, "two", severity="low", opened_ms=9000),
        an_incident(2, "three", state="withdrawn"),
    )
    await store.write(the_main_call().batch(claim, 1, incidents=incidents, call={"ended": True}))


async def test_call_quality_of_the_main_call(main_call, select):
    (found,) = await select("SELECT * FROM report.call_quality")

    assert found == {
        "call_id": "call-1",
        "tenant": "acme",
        "started_at": STARTED,
        "ended": True,
        "agent_ids": ["a-7"],
        "queues": ["billing"],
        "duration_s": 20,
        "customer_talk_s": 7,  # 2 + 3 + 1 + 1
        "agent_talk_s": 4,  # 1 + 2 + 1
        "agent_talk_share": pytest.approx(4 / 11),
        "overtalk_s": 1,  # 8 to 9
        # 0-1, 3-4, 5-6, 11-12, 14-15, 16-17, 18-20; not the gap from 12 to 14
        "silence_s": 8,
        "unheard_s": 2,
        # 3 to 4 and 16 to 17; the agent's turn at 8 overlaps the customer's
        "agent_responses": 2,
        "agent_response_avg_s": 1,
        "agent_response_max_s": 1,
        "utterances": 7,
        "agent_words_per_min": pytest.approx(60 * 9 / 4),
        "customer_words_per_min": pytest.approx(60 * 6 / 6),  # the Chinese utterance left out
        "agent_characters_per_s": pytest.approx((6 + 20 + 7) / 4),
        "customer_characters_per_s": pytest.approx((10 + 6 + 4 + 4) / 7),
        "emotion_utterances": 4,
        "surprised_share": 0,
        "neutral_share": 0.25,
        "happy_share": 0,
        "sad_share": 0,
        "disgusted_share": 0,
        "angry_share": 0.25,
        "fearful_share": 0,
        "abstained_share": 0.25,
        "not_given_share": 0.25,
        "alerts": 2,
        "alerts_severe": 1,
        "alerts_open": 1,
        "coverage_share": pytest.approx(38 / 40),
        "hearing": "speech",
        "rule_set_hash": "abc",
        "talk_s": 10,  # 2 + 1 + 5 + 1 + 1
        "overtalk_share": pytest.approx(1 / 10),
        "agent_interruptions": 1,  # at 8, into 6 to 9
        "customer_interruptions": 0,  # at 10 the agent has just ended
        "dead_airs": 0,
        "longest_dead_air_s": 2,  # 18 to 20; from 11 to 15 nobody could hear the agent
        "customer_responses": 2,  # at 6, and at 10 at once; across the gap none
        "customer_response_avg_s": 0.5,
        "agent_pace_words_per_min": pytest.approx(60 * 5 / 2),  # of the one turn of 2 s
        "agent_pace_characters_per_min": None,
        "customer_pace_words_per_min": pytest.approx(60 * 5 / 5),
        "customer_pace_characters_per_min": None,  # too short
        "agent_loudness_dbfs": None,
        "customer_loudness_dbfs": pytest.approx((-20 * 2 - 14 * 3) / 5),
        "sent_s": 40,
        "heard_s": 38,
    }


async def test_coverage_of_the_main_call(main_call, select):
    agent, customer = await select("SELECT * FROM report.coverage ORDER BY leg_id")

    no_gaps = {
        f"gap_{reason}_s": 0
        for reason in (
            "paused",
            "not_sent",
            "lost",
            "offset_lost",
            "buffer_overflow",
            "capacity",
            "recogniser_failed",
            "recogniser_mute",
        )
    }
    common = {
        "call_id": "call-1",
        "tenant": "acme",
        "started_at": STARTED,
        "emotion_enforced_by": "none",
        "ended": False,
        "span_s": 20,
        "sent_s": 20,
        "hearing": "speech",
    }
    assert agent == common | no_gaps | {
        "leg_id": "agent",
        "role": "agent",
        "emotion_policy": "off_role",
        "heard_s": 18,
        "speech_s": 4,
        "quiet_s": 14,
        "quiet_inferred_s": 0,
        "coverage_share": pytest.approx(0.9),
        "gaps": 1,
        "gap_lost_s": 2,
    }
    assert customer == common | no_gaps | {
        "leg_id": "customer",
        "role": "customer",
        "emotion_policy": "on",
        "heard_s": 20,
        "speech_s": 7,
        "quiet_s": 13,
        "quiet_inferred_s": 4,
        "coverage_share": 1,
        "gaps": 0,
    }


async def test_emotion_timeline_of_the_main_call_knows_the_customer_alone(main_call, select):
    found = await select("SELECT * FROM report.emotion_timeline ORDER BY start_s")

    assert [(row["start_s"], row["end_s"], row["outcome"], row["emotion"]) for row in found] == [
        (1, 3, "labelled", "neutral"),
        (6, 9, "labelled", "angry"),
        (10, 11, "abstained", None),
        (15, 16, "not_given", None),
    ]
    assert {row["leg_id"] for row in found} == {"customer"}
    assert found[1] | {"utterance_id": None} == {
        "call_id": "call-1",
        "tenant": "acme",
        "leg_id": "customer",
        "ordinal": 2,
        "utterance_id": None,
        "spoken_at": STARTED + timedelta(seconds=6),
        "start_s": 6,
        "end_s": 9,
        "outcome": "labelled",
        "emotion": "angry",
        "emotion_confidence": 0.9,
        "language": "en",
        "text": "no no no",
        "engine": "asr-server",
        "model": "base",
        "anger_rank": 0.02,
        "anger_daily": 12.5,
        "anger_score": 7.25,
        "emotion_distribution": {"angry": 0.9, "other": 0.1},
        "loudness_dbfs": -14,
        "corrected_emotion": None,
        "corrected_by": None,
    }
    assert [row["anger_rank"] for row in found] == [None, 0.02, None, None]
    assert found[0]["emotion_distribution"] is None


async def test_alert_log_of_the_main_call(main_call, select):
    found = await select("SELECT * FROM report.alert_log ORDER BY opened_s DESC, state")

    assert [row["state"] for row in found] == ["opened", "closed", "withdrawn"]
    alert = found[1]
    assert (alert["rule_id"], alert["severity"], alert["audience"]) == (
        "angry-customer",
        "high",
        "supervisor",
    )
    assert (alert["opened_s"], alert["closed_s"], alert["duration_s"]) == (8, 11, 3)
    assert alert["opened_at"] == STARTED + timedelta(seconds=8)
    assert alert["closed_at"] == STARTED + timedelta(seconds=11)
    assert (alert["agent_ids"], alert["queues"], alert["changes"]) == (["a-7"], ["billing"], 2)
    assert [piece["text"] for piece in alert["evidence"]] == ["Hello there."]
    assert alert["acknowledged_after_s"] is None


async def test_an_acknowledged_alert_tells_how_long_that_took(main_call, database, select):
    await judge(database, str(an_id("two")), "dismissed", by="lee", reason="a joke")
    await judge(database, str(an_id("two")), "acknowledged", by="kim", reason=None)
    async with database.transaction() as connection:
        await connection.execute(
            sa.text(
                "UPDATE qa.alert_judgement SET judged_at = created_at + interval '90 seconds' "
                "FROM qa.incident AS i WHERE i.incident_id = alert_judgement.incident_id"
            )
        )

    (found,) = await select("SELECT * FROM report.alert_log WHERE acknowledged_at IS NOT NULL")

    assert (found["acknowledged_by"], found["acknowledged_after_s"]) == ("kim", 90)
    assert (found["verdict"], found["dismissed_reason"], found["judgements"]) == ("acknowledged", None, 2)


async def test_agent_daily_adds_up_the_calls_of_a_day(main_call, store, claim, select):
    other = Writer("call-2")
    other.leg("agent", "agent", agent_id="a-7")
    other.leg("customer", "customer")
    other.say("customer", 0, 1, "one two", "sad")
    other.say("agent", 4, 6, "three")
    await store.write(other.batch(claim, 2))
    blind = Writer("call-3")
    blind.leg("agent", "agent", agent_id="a-7")
    blind.gap("agent", 0, 10, "recogniser_failed")
    await store.write(blind.batch(claim, 3))
    next_day = Writer("call-4")
    next_day.leg("agent", "agent", agent_id="a-7")
    tomorrow = round((STARTED + timedelta(days=1)).timestamp() * 1000)
    await store.write(next_day.batch(claim, 4, call={"origin_ts": tomorrow}))

    today, later = await select("SELECT * FROM report.agent_daily ORDER BY day")

    assert today == {
        "day": date(2026, 1, 1),
        "tenant": "acme",
        "agent_id": "a-7",
        "calls": 3,
        "duration_s": 20 + 6 + 10,
        "talk_s": 4 + 2,
        "talk_share": pytest.approx(6 / (6 + 8)),
        "overtalk_s": 1,
        "silence_s": 8 + 3,
        "responses": 3,
        "response_avg_s": pytest.approx((1 + 1 + 3) / 3),
        "words_per_min": pytest.approx(60 * (9 + 1) / (4 + 2)),
        "alerts": 2,
        "alert_calls": 1,
        "customer_utterances": 5,
        "customer_angry_share": pytest.approx(1 / 5),
        "customer_neutral_share": pytest.approx(1 / 5),
        "customer_abstained_share": pytest.approx(1 / 5),
        "coverage_share": pytest.approx((38 + 6 + 1) / (40 + 6 + 1 + 10)),
        "blind_calls": 1,
        "interruptions": 1,
        "interrupted": 0,
        "dead_airs": 0,
        "score_avg": None,
    }
    assert (later["day"], later["calls"], later["talk_share"]) == (date(2026, 1, 2), 1, None)


async def test_a_quiet_a_blind_and_an_unsent_call_look_different(store, claim, select):
    quiet, blind, unsent = Writer("quiet"), Writer("blind"), Writer("unsent")
    for call in (quiet, blind, unsent):
        call.leg("customer", "customer")
    quiet.quiet("customer", 0, 10)
    blind.gap("customer", 0, 7, "recogniser_mute")
    blind.say("customer", 7, 10, "at last")
    unsent.gap("customer", 0, 6, "paused")
    unsent.gap("customer", 6, 10, "not_sent")
    for nth, call in enumerate((quiet, blind, unsent), 1):
        await store.write(call.batch(claim, nth))
    columns = "call_id, hearing, coverage_share"

    for view in ("coverage", "call_quality"):
        found = await select(f"SELECT {columns} FROM report.{view} ORDER BY call_id")  # noqa: S608
        assert [tuple(row.values()) for row in found] == [
            ("blind", "blind", pytest.approx(0.3)),
            ("quiet", "quiet", 1),
            ("unsent", "nothing_sent", None),
        ]
    silence = await select("SELECT silence_s, unheard_s FROM report.call_quality ORDER BY call_id")
    assert [tuple(row.values()) for row in silence] == [(0, 7), (10, 0), (0, 10)]
    (paused,) = await select("SELECT * FROM report.coverage WHERE call_id = 'unsent'")
    assert (paused["gaps"], paused["gap_paused_s"], paused["gap_not_sent_s"]) == (2, 6, 4)


async def test_a_description_counts_from_when_it_was_given(store, claim, select):
    call = Writer("call-1")
    call.leg("line", "other", emotion_policy="off_unknown_role", role_is_explicit=False)
    call.say("line", 0, 1, "before", "angry")
    update = {"role_is_explicit": True, "source_offset": 1}
    call.add("line", LegUpdated(role="customer", emotion_policy="on", **update), 1)
    call.say("line", 1, 2, "between", "sad")
    call.add("line", LegUpdated(role="customer", emotion_policy="off_opt_out", **update), 2)
    call.say("line", 2, 3, "after", "angry")
    await store.write(call.batch(claim, 1))

    timeline = await select("SELECT text, emotion FROM report.emotion_timeline")
    (quality,) = await select("SELECT customer_talk_s, sad_share, angry_share FROM report.call_quality")

    assert timeline == [{"text": "between", "emotion": "sad"}]
    assert quality == {"customer_talk_s": 2, "sad_share": 1, "angry_share": 0}


async def test_an_answer_across_a_gap_is_not_one(store, claim, select):
    call = Writer("call-1")
    call.leg("agent", "agent")
    call.leg("customer", "customer")
    call.say("customer", 0, 1)
    call.gap("agent", 2, 3, "lost")
    call.say("agent", 4, 5)
    call.say("customer", 6, 7)
    call.gap("customer", 7, 9, "not_sent")
    call.say("agent", 9, 10)
    await store.write(call.batch(claim, 1))

    (found,) = await select("SELECT agent_responses, agent_response_avg_s FROM report.call_quality")

    assert found == {"agent_responses": 1, "agent_response_avg_s": 2}


async def test_a_call_with_nothing_in_it_yet_has_a_row(store, claim, select):
    await store.write(a_batch(claim, calls=(a_call(),)))

    (found,) = await select("SELECT * FROM report.call_quality")

    assert (found["duration_s"], found["utterances"], found["hearing"]) == (None, 0, "nothing_sent")
    assert (found["agent_talk_share"], found["angry_share"], found["coverage_share"]) == (None, None, None)


async def test_every_column_of_schema_report_is_commented(select):
    bare = await select(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema IN ('qa', 'report') AND table_name <> 'alembic_version' "
        "AND table_name NOT IN (SELECT viewname FROM pg_views WHERE schemaname = 'qa') AND col_description("
        "format('%I.%I', table_schema, table_name)::regclass, ordinal_position::int) IS NULL"
    )

    assert bare == []


async def test_the_reader_sees_the_views_and_nothing_else(main_call, database):
    async with database.transaction() as connection:
        await connection.execute(sa.text("SET LOCAL ROLE qa_report"))
        for view in VIEWS:
            rows = await connection.execute(sa.text(f"SELECT * FROM report.{view}"))  # noqa: S608
            assert rows.all() or view in {"recovery", "scorecard", "scorecard_answer"}

    for relation in (
        "call",
        "leg",
        "log_entry",
        "incident",
        "outbox",
        "rule_set",
        "partition_claim",
        "spoken",
    ):
        with pytest.raises(sa.exc.DBAPIError, match="permission denied for schema qa"):
            await as_reader(database, f"SELECT * FROM qa.{relation}")  # noqa: S608
    with pytest.raises(sa.exc.DBAPIError, match="cannot delete from view"):
        await as_reader(database, "DELETE FROM report.call_quality")
    with pytest.raises(sa.exc.DBAPIError, match="permission denied for schema report"):
        await as_reader(database, "CREATE TABLE report.mine ()")


async def as_reader(database, statement: str) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(sa.text("SET LOCAL ROLE qa_report"))
        await connection.execute(sa.text(statement))


async def test_recovery_counts_sustained_anger_and_how_fast_it_went(store, claim, select):
    call = Writer("call-1")
    call.leg("agent", "agent", agent_id="a-7")
    call.leg("customer", "customer")
    call.say("agent", 0, 1)
    for start, emotion in (
        (2, "angry"),
        (6, None),
        (10, "angry"),
        (20, "neutral"),
        (24, "angry"),
        (30, "sad"),
    ):
        call.say("customer", start, start + 1, emotion=emotion, emotion_abstained=emotion is None)
    call.say("customer", 40, 41, emotion="angry")
    call.say("customer", 50, 51, emotion="angry")
    await store.write(call.batch(claim, 1))

    (found,) = await select("SELECT * FROM report.recovery")

    # From 2 to 20, past what was left open; at 24 it was one label alone, from 40 on it lasted.
    assert (found["agent_id"], found["calls"], found["angry_stretches"], found["recovered"]) == (
        "a-7",
        1,
        2,
        1,
    )
    assert (found["recovered_share"], found["recovery_avg_s"], found["recovery_median_s"]) == (0.5, 18, 18)


async def test_queue_hourly_adds_up_the_calls_of_a_queue(main_call, store, claim, select):
    other = Writer("call-2")
    other.leg("agent", "agent", queue="billing")
    other.say("agent", 0, 4)
    await store.write(other.batch(claim, 2))
    later = Writer("call-3")
    later.leg("agent", "agent", queue="billing")
    in_an_hour = round((STARTED + timedelta(hours=1)).timestamp() * 1000)
    await store.write(later.batch(claim, 3, call={"origin_ts": in_an_hour}))

    first, second = await select("SELECT * FROM report.queue_hourly ORDER BY hour")

    assert (first["hour"], first["queue"], first["calls"], first["live_calls"]) == (STARTED, "billing", 2, 1)
    assert first["agent_talk_share"] == pytest.approx((4 + 4) / (4 + 4 + 7))
    assert first["overtalk_share"] == pytest.approx(1 / (10 + 4))
    assert (first["alerts"], first["alert_calls"], first["agent_interruptions"]) == (2, 1, 1)
    assert (second["hour"], second["calls"]) == (STARTED + timedelta(hours=1), 1)


async def test_the_figures_of_a_call_that_has_ended_are_stored_and_those_of_a_live_one_are_not(
    store, claim, select
):
    call = the_main_call()
    await store.write(call.batch(claim, 1))
    live = await select("SELECT * FROM report.call_quality")
    assert await select("SELECT * FROM qa.call_figure") == []

    await store.write(a_batch(claim, 2, calls=(a_call(ended=True),)))

    assert len(await select("SELECT * FROM qa.call_figure")) == 1
    assert await select("SELECT * FROM report.call_quality") == [live[0] | {"ended": True}]


async def test_a_call_whose_figures_cannot_be_stored_is_stored_all_the_same(store, claim, select, database):
    async with database.transaction() as connection:
        await connection.execute(sa.text("ALTER TABLE qa.call_figure ADD CHECK (utterances < 7)"))

    await store.write(the_main_call().batch(claim, 1, call={"ended": True}))

    assert await select("SELECT * FROM qa.call_figure") == []
    assert [row["utterances"] for row in await select("SELECT * FROM report.call_quality")] == [7]


@pytest.fixture
async def keeper(database: Database) -> AsyncIterator[FigureKeeper]:
    keeper = FigureKeeper(database)
    keeper.start()
    yield keeper
    await keeper.close()


async def test_no_transaction_waits_for_the_figures_of_a_call_that_has_ended(keeper, claim, select, database):
    store = PostgresStore(database, figures=keeper)
    async with database.transaction() as elsewhere:
        await elsewhere.execute(sa.text("LOCK TABLE qa.agent_figure"))  # holds up who stores figures
        await store.write(the_main_call().batch(claim, 1, call={"ended": True}))
        assert [row["utterances"] for row in await select("SELECT * FROM report.call_quality")] == [7]
        assert await select("SELECT * FROM qa.call_figure") == []

    await keeper.settle()

    assert len(await select("SELECT * FROM qa.call_figure")) == 1


async def test_figures_of_a_call_that_went_on_are_not_those_of_its_first_end(claim, select, database):
    keeper = FigureKeeper(database)  # not started: what it is told of waits
    store = PostgresStore(database, figures=keeper)
    call = the_main_call()
    await store.write(call.batch(claim, 1, call={"ended": True}))
    async with database.transaction() as connection:
        await connection.execute(sa.select(sa.func.qa.store_figures(["call-1"])))

    call.say("agent", 60, 64)
    batch = call.batch(claim, 2, call={"ended": True})
    await store.write(msgspec.structs.replace(batch, entries=batch.entries[-1:]))

    assert [row["utterances"] for row in await select("SELECT * FROM report.call_quality")] == [8]


async def test_a_call_that_goes_on_gets_no_figures(keeper, claim, select, database):
    store = PostgresStore(database, figures=keeper)
    await store.write(the_main_call().batch(claim, 1))
    keeper.add(["call-1"])

    await keeper.settle()

    assert await select("SELECT * FROM qa.call_figure") == []


async def test_what_waits_as_the_worker_ends_is_stored_before(claim, select, database):
    keeper = FigureKeeper(database)
    await PostgresStore(database, figures=keeper).write(the_main_call().batch(claim, 1, call={"ended": True}))
    keeper.start()

    await keeper.close()

    assert len(await select("SELECT * FROM qa.call_figure")) == 1


async def test_figures_that_cannot_be_stored_are_told_and_hold_nothing_up(keeper, claim, select, database):
    async with database.transaction() as connection:
        await connection.execute(sa.text("ALTER TABLE qa.call_figure ADD CHECK (utterances < 7)"))
    with structlog.testing.capture_logs() as logs:
        await PostgresStore(database, figures=keeper).write(
            the_main_call().batch(claim, 1, call={"ended": True})
        )
        await keeper.settle()

    assert [(log["event"], log["call_ids"]) for log in logs] == [("figures_not_stored", ["call-1"])]


def test_of_too_many_calls_that_wait_the_oldest_are_left_to_the_reports():
    keeper = FigureKeeper(Database("postgresql+asyncpg://nobody@localhost:1/none"))
    with structlog.testing.capture_logs() as logs:
        keeper.add(f"call-{number}" for number in range(MOST_WAITING + 2))

    assert [log["call_ids"] for log in logs] == [["call-0", "call-1"]]


async def test_a_score_and_its_answers_are_shown(store, claim, select, database):
    rules, card = default_rule_set(), default_scorecard()
    await store_calls(database, [3, 4], rules=rules, card=card, first_day=date(2026, 1, 1))

    scores = await select("SELECT * FROM report.scorecard")
    answers = await select("SELECT * FROM report.scorecard_answer")
    daily = await select("SELECT * FROM report.agent_daily")

    made = {seed: make_call(seed, rules=rules, card=card, origin_ts=0).outputs.scores[0] for seed in (3, 4)}
    assert {row["call_id"]: row["score"] for row in scores} == {s.call_id: s.score for s in made.values()}
    assert {row["scorecard_hash"] for row in scores} == {card.hash}
    asked = sum(len(section.questions) for section in card.sections)
    assert len(answers) == 2 * asked
    assert {(row["call_id"], row["question"]): row["verdict"] for row in answers} == {
        (score.call_id, answer.question): answer.verdict
        for score in made.values()
        for answer in score.answers
    }
    assert sum(row["calls"] * row["score_avg"] for row in daily) == pytest.approx(
        sum(score.score for score in made.values())
    )
