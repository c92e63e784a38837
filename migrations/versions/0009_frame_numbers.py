"""What a frame number of -1 means, of a leg that only had silence so far."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BEFORE = "Frame number of the newest frame that is covered; NULL: none is known."
COMMENT = "Frame number of the newest frame that is covered; -1: none is yet; NULL: none is known."


def upgrade() -> None:
    op.execute(f"COMMENT ON COLUMN qa.leg.covered_seq IS '{COMMENT}'")


def downgrade() -> None:
    op.execute(f"COMMENT ON COLUMN qa.leg.covered_seq IS '{BEFORE}'")
