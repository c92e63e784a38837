"""Rank of anger in the call log and the emotion timeline; the recogniser's state of a leg."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FOLDER = Path(__file__).parents[1] / "sql"
SQL = FOLDER / "0003_anger_rank.sql"
SQL_BEFORE = FOLDER / "0002_report.sql"


def upgrade() -> None:
    for statement in statements(SQL):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    op.execute("DROP VIEW report.emotion_timeline")
    for statement in statements(SQL_BEFORE):
        if "report.emotion_timeline" in statement or "report.alert_log.evidence" in statement:
            op.get_bind().exec_driver_sql(statement)
    op.execute("GRANT SELECT ON report.emotion_timeline TO qa_report")
    op.execute("ALTER TABLE qa.log_entry DROP anger_score, DROP anger_rank, DROP anger_daily")
    op.execute("ALTER TABLE qa.leg DROP recogniser_state")


def statements(sql: Path) -> list[str]:
    return [part for part in sql.read_text(encoding="utf-8").split(";\n") if part.strip()]
