"""Judgements of alerts, corrections of emotion labels, versions of the rule set."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql" / "0006_judgements.sql"


def upgrade() -> None:
    for statement in SQL.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for table in ("alert_judgement", "emotion_correction", "rule_set_version"):
        op.execute(f"DROP TABLE qa.{table}")
