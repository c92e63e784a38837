"""Claims, the call log, incidents and the outbox."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql" / "0001_tables.sql"


def upgrade() -> None:
    for statement in SQL.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for table in ("outbox", "incident", "log_entry", "leg", "call", "partition_claim", "rule_set"):
        op.execute(f"DROP TABLE qa.{table}")
