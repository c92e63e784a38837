"""Schema report, and the role that may read it."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SQL = Path(__file__).parents[1] / "sql" / "0002_report.sql"

# Roles belong to the server, not to the database: another database's migration may be creating it too.
CREATE_ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'qa_report') THEN
        CREATE ROLE qa_report NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role qa_report is missing; have an administrator run CREATE ROLE qa_report NOLOGIN'
            USING ERRCODE = 'insufficient_privilege';
END
$$
"""


def upgrade() -> None:
    op.execute(CREATE_ROLE)
    for statement in SQL.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    # The role stays: other databases of the server may use it.
    op.execute("DROP SCHEMA report CASCADE")
    for view in ("named", "response", "leg_audio", "spoken"):
        op.execute(f"DROP VIEW qa.{view}")
    op.execute("DROP FUNCTION qa.seconds")
