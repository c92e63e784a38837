"""The tables as the program sees them; what the columns mean is written in the database itself.

The database's comments (``migrations/sql/``, shown in ``docs/data-dictionary.md``) document each table
and column. A test compares these definitions with a migrated database.

There are few tables and fewer indexes on purpose, since all of it is on the write path: the log is one
table for all kinds of entries, with the seldom-used parts of an entry in ``detail``, and there are no
foreign keys: all rows of a call are written by the one owner of its partition in one transaction.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

SCHEMA = "qa"
"""Schema of the tables; not configurable, since views and rights name it."""

REPORT_SCHEMA = "report"
"""Schema of the views for analysts."""

REPORT_ROLE = "qa_report"
"""Group role that may read the views and nothing else."""

metadata = sa.MetaData(schema=SCHEMA)

_now = sa.text("now()")


def _moment(name: str, *, nullable: bool = True, default_now: bool = False) -> sa.Column[object]:
    server_default = _now if default_now else None
    return sa.Column(name, TIMESTAMP(timezone=True), nullable=nullable, server_default=server_default)


rule_set = sa.Table(
    "rule_set",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    _moment("created_at", nullable=False, default_now=True),
    sa.Column("created_by", sa.Text, nullable=False, server_default=sa.text("CURRENT_USER")),
)

partition_claim = sa.Table(
    "partition_claim",
    metadata,
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("next_offset", sa.BigInteger),
    sa.Column("write_seq", sa.BigInteger, nullable=False),
    _moment("claimed_at", nullable=False, default_now=True),
    sa.Column("token", sa.Uuid),
    sa.Column("former_token", sa.Uuid),
)

call = sa.Table(
    "call",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("rule_set_hash", sa.Text, nullable=False),
    sa.Column("origin_ts", sa.BigInteger, nullable=False),
    sa.Column(
        "started_at",
        TIMESTAMP(timezone=True),
        # Computed here so that reports and their index agree; bounded to the years 1970 to 9999, so that
        # a telephony platform's broken clock cannot make a call impossible to store.
        sa.Computed("to_timestamp(LEAST(GREATEST(origin_ts, 0), 253402300799000) / 1000.0)", persisted=True),
    ),
    sa.Column("call_seq", sa.Integer, nullable=False),
    sa.Column("control_offset", sa.BigInteger, nullable=False),
    sa.Column("tenant", sa.Text),
    sa.Column("ended", sa.Boolean, nullable=False),
    _moment("created_at", nullable=False, default_now=True),
    _moment("updated_at", nullable=False, default_now=True),
    sa.Index("call_live", "topic", "partition", postgresql_where=sa.text("NOT ended")),
    sa.Index("call_started_at", "started_at"),
)

leg = sa.Table(
    "leg",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("leg_id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("role_is_explicit", sa.Boolean, nullable=False),
    sa.Column("emotion_policy", sa.Text, nullable=False),
    sa.Column("emotion_enforced_by", sa.Text, nullable=False),
    sa.Column("codec", sa.Text, nullable=False),
    sa.Column("rate", sa.Integer, nullable=False),
    sa.Column("tenant", sa.Text),
    sa.Column("agent_id", sa.Text),
    sa.Column("queue", sa.Text),
    sa.Column("direction", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("attributes", JSONB, nullable=False),
    sa.Column("origin_ms", sa.BigInteger, nullable=False),
    sa.Column("covered_until", sa.BigInteger, nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("covered_seq", sa.BigInteger),
    sa.Column("recogniser_state", sa.Text),
    sa.Column("ended", sa.Boolean, nullable=False),
    _moment("created_at", nullable=False, default_now=True),
    _moment("updated_at", nullable=False, default_now=True),
)

log_entry = sa.Table(
    "log_entry",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("call_seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("leg_id", sa.Text),
    sa.Column("start_ms", sa.BigInteger, nullable=False),
    sa.Column("end_ms", sa.BigInteger, nullable=False),
    sa.Column("start_pos", sa.BigInteger),
    sa.Column("end_pos", sa.BigInteger),
    sa.Column("ordinal", sa.Integer),
    sa.Column("utterance_id", sa.Uuid),
    sa.Column("text", sa.Text),
    sa.Column("language", sa.Text),
    sa.Column("emotion", sa.Text),
    sa.Column("emotion_confidence", sa.Double),
    sa.Column("emotion_abstained", sa.Boolean),
    sa.Column("anger_score", sa.Double),
    sa.Column("anger_rank", sa.Double),
    sa.Column("anger_daily", sa.Double),
    sa.Column("loudness_dbfs", sa.Double),
    sa.Column("reason", sa.Text),
    sa.Column("time_source", sa.Text),
    sa.Column("engine", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("source_offset", sa.BigInteger),
    sa.Column("detail", JSONB, nullable=False),
    _moment("durable_at", nullable=False, default_now=True),
    sa.Index(
        "log_entry_utterance_id",
        "utterance_id",
        unique=True,
        postgresql_where=sa.text("utterance_id IS NOT NULL"),
    ),
)

incident = sa.Table(
    "incident",
    metadata,
    sa.Column("incident_id", sa.Uuid, primary_key=True),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("call_seq", sa.Integer, nullable=False),
    sa.Column("rule_id", sa.Text, nullable=False),
    sa.Column("rule_version", sa.Integer, nullable=False),
    sa.Column("rule_set_hash", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("audience", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("anchor", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("n", sa.Integer, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("opened_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger),
    sa.Column("evidence", JSONB, nullable=False),
    _moment("created_at", nullable=False, default_now=True),
    _moment("updated_at", nullable=False, default_now=True),
    sa.Index("incident_call_id", "call_id"),
    sa.Index("incident_created_at", "created_at"),
)

call_figure = sa.Table(
    "call_figure",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("agent_ids", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("queues", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("duration_s", sa.Double),
    sa.Column("customer_talk_s", sa.Double, nullable=False),
    sa.Column("agent_talk_s", sa.Double, nullable=False),
    sa.Column("overtalk_s", sa.Double, nullable=False),
    sa.Column("silence_s", sa.Double, nullable=False),
    sa.Column("unheard_s", sa.Double, nullable=False),
    sa.Column("agent_responses", sa.BigInteger, nullable=False),
    sa.Column("agent_response_avg_s", sa.Double),
    sa.Column("agent_response_max_s", sa.Double),
    sa.Column("utterances", sa.BigInteger, nullable=False),
    sa.Column("agent_words_per_min", sa.Double),
    sa.Column("customer_words_per_min", sa.Double),
    sa.Column("agent_characters_per_s", sa.Double),
    sa.Column("customer_characters_per_s", sa.Double),
    sa.Column("emotion_utterances", sa.BigInteger, nullable=False),
    sa.Column("surprised", sa.BigInteger, nullable=False),
    sa.Column("neutral", sa.BigInteger, nullable=False),
    sa.Column("happy", sa.BigInteger, nullable=False),
    sa.Column("sad", sa.BigInteger, nullable=False),
    sa.Column("disgusted", sa.BigInteger, nullable=False),
    sa.Column("angry", sa.BigInteger, nullable=False),
    sa.Column("fearful", sa.BigInteger, nullable=False),
    sa.Column("abstained", sa.BigInteger, nullable=False),
    sa.Column("not_given", sa.BigInteger, nullable=False),
    sa.Column("sent_s", sa.Double, nullable=False),
    sa.Column("heard_s", sa.Double, nullable=False),
    sa.Column("speech_s", sa.Double, nullable=False),
    sa.Column("talk_s", sa.Double, nullable=False),
    sa.Column("together_s", sa.Double, nullable=False),
    sa.Column("agent_interruptions", sa.BigInteger, nullable=False),
    sa.Column("customer_interruptions", sa.BigInteger, nullable=False),
    sa.Column("dead_airs", sa.BigInteger, nullable=False),
    sa.Column("longest_dead_air_s", sa.Double, nullable=False),
    sa.Column("customer_responses", sa.BigInteger, nullable=False),
    sa.Column("customer_response_avg_s", sa.Double),
    sa.Column("agent_pace_words_per_min", sa.Double),
    sa.Column("customer_pace_words_per_min", sa.Double),
    sa.Column("agent_pace_characters_per_min", sa.Double),
    sa.Column("customer_pace_characters_per_min", sa.Double),
    sa.Column("agent_loudness_dbfs", sa.Double),
    sa.Column("customer_loudness_dbfs", sa.Double),
)


agent_figure = sa.Table(
    "agent_figure",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("agent_id", sa.Text, primary_key=True),
    sa.Column("talk_s", sa.Double, nullable=False),
    sa.Column("overtalk_s", sa.Double, nullable=False),
    sa.Column("words", sa.BigInteger),
    sa.Column("worded_s", sa.Double),
    sa.Column("responses", sa.BigInteger, nullable=False),
    sa.Column("response_s", sa.Double),
    sa.Column("interruptions", sa.BigInteger, nullable=False),
    sa.Column("interrupted", sa.BigInteger, nullable=False),
)


anger_figure = sa.Table(
    "anger_figure",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("leg_id", sa.Text, primary_key=True),
    sa.Column("began_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("utterances", sa.BigInteger, nullable=False),
    sa.Column("recovered_ms", sa.BigInteger),
    sa.Column("agent_id", sa.Text),
)


alert_judgement = sa.Table(
    "alert_judgement",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("incident_id", sa.Uuid, nullable=False),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("judged_by", sa.Text, nullable=False),
    _moment("judged_at", nullable=False, default_now=True),
    sa.Index("alert_judgement_incident", "incident_id", "id"),
    sa.Index("alert_judgement_call_id", "call_id"),
)

emotion_correction = sa.Table(
    "emotion_correction",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("utterance_id", sa.Uuid, nullable=False),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("emotion", sa.Text, nullable=False),
    sa.Column("corrected_by", sa.Text, nullable=False),
    _moment("corrected_at", nullable=False, default_now=True),
    sa.Index("emotion_correction_utterance", "utterance_id", "id"),
    sa.Index("emotion_correction_call_id", "call_id"),
)

scorecard = sa.Table(
    "scorecard",
    metadata,
    sa.Column("hash", sa.Text, primary_key=True),
    sa.Column("scorecard_id", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    _moment("created_at", nullable=False, default_now=True),
)

scorecard_result = sa.Table(
    "scorecard_result",
    metadata,
    sa.Column("call_id", sa.Text, primary_key=True),
    sa.Column("scorecard_hash", sa.Text, primary_key=True),
    sa.Column("scorecard_id", sa.Text, nullable=False),
    sa.Column("scorecard_version", sa.Integer, nullable=False),
    sa.Column("score", sa.Double),
    sa.Column("auto_failed", sa.Boolean, nullable=False),
    sa.Column("answered", sa.Integer, nullable=False),
    sa.Column("left_out", sa.Integer, nullable=False),
    sa.Column("answers", JSONB, nullable=False),
    _moment("created_at", nullable=False, default_now=True),
    _moment("updated_at", nullable=False, default_now=True),
)

rule_set_version = sa.Table(
    "rule_set_version",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("published_by", sa.Text, nullable=False),
    _moment("activated_at", nullable=False, default_now=True),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("event_id", sa.Uuid, nullable=False, unique=True),
    sa.Column("call_id", sa.Text, nullable=False),
    sa.Column("shard", sa.SmallInteger, nullable=False),
    sa.Column("call_seq", sa.Integer, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    _moment("created_at", nullable=False, default_now=True),
)
