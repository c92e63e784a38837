"""Stored figures of calls that have ended; queues, recovery, scorecards and judgements in schema report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

FOLDER = Path(__file__).parents[1] / "sql"
SQL = FOLDER / "0008_figures.sql"
STATEMENT_END = re.compile(r";\n(?! )")
HEAD = re.compile(r"^(?:CREATE(?: OR REPLACE)? VIEW|COMMENT ON (?:VIEW|COLUMN)) ([\w.]+)", re.MULTILINE)
ADDED_VIEWS = ("queue_hourly", "recovery", "scorecard", "scorecard_answer")
CHANGED_VIEWS = ("agent_daily", "call_quality", "alert_log", "emotion_timeline")
DROPPED = (
    "INDEX qa.incident_created_at",
    *(f"VIEW report.{view}" for view in (*ADDED_VIEWS, *CHANGED_VIEWS)),
    *(f"VIEW qa.{view}" for view in ("figured", "figured_agent", "figured_anger")),
    *(f"FUNCTION qa.{name}" for name in ("store_figures", "call_figures", "agent_figures", "anger_figures")),
    *(f"TABLE qa.{table}" for table in ("call_figure", "agent_figure", "anger_figure")),
    *(f"VIEW qa.{view}" for view in ("interruption", "response", "turn", "spoken")),
    *(f"FUNCTION qa.{name}" for name in ("characters_said", "words_said")),
)
# An entry's columns by name: those that came later can be dropped by the migrations that added them.
SPOKEN_OF = """
        e.call_id, e.leg_id, e.kind, e.ordinal, e.utterance_id, e.start_ms, e.end_ms, e.text, e.language,
        e.emotion, e.emotion_confidence, e.emotion_abstained, e.engine, e.model,
        max("""
BEFORE = ("0001_tables.sql", "0002_report.sql", "0003_anger_rank.sql")

# Columns of the stored figures are those of the views, under the same names.
COLUMNS = sa.text("""
    SELECT c.relname, a.attname
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'qa'::regnamespace AND c.relkind = 'r' AND c.relname LIKE '%\\_figure'
        AND a.attnum > 0 AND NOT a.attisdropped
""")


def upgrade() -> None:
    for statement in statements(SQL):
        op.get_bind().exec_driver_sql(statement)
    for table, column in op.get_bind().execute(COLUMNS).all():
        where = (
            "The call." if column == "call_id" else "As in schema report, or a sum that its columns rest on."
        )
        op.execute(f"COMMENT ON COLUMN qa.{table}.{column} IS '{where}'")


def downgrade() -> None:
    for dropped in DROPPED:
        op.execute(f"DROP {dropped}")
    op.execute("ALTER TABLE qa.incident ADD acknowledged_at timestamptz, ADD acknowledged_by text")
    op.execute("ALTER TABLE qa.incident ADD dismissed_reason text")
    for name in BEFORE:
        for statement in filter(_is_wanted, statements(FOLDER / name)):
            op.get_bind().exec_driver_sql(statement.replace("        e.*,\n        max(", SPOKEN_OF))
    op.execute("GRANT SELECT ON ALL TABLES IN SCHEMA report TO qa_report")


def _is_wanted(statement: str) -> bool:
    """Whether a statement of an earlier migration makes, or explains, what was dropped."""
    made = [f"report.{view}" for view in CHANGED_VIEWS] + ["qa.spoken", "qa.response"]
    made += [f"qa.incident.{column}" for column in ("acknowledged_at", "acknowledged_by", "dismissed_reason")]
    head = HEAD.search(statement)
    return head is not None and any(head[1] == name or head[1].startswith(f"{name}.") for name in made)


def statements(sql: Path) -> Iterator[str]:
    """The statements of a file, one by one."""
    yield from (part for part in STATEMENT_END.split(sql.read_text(encoding="utf-8")) if part.strip())
