"""Cells of the coverage map, of each account its own, in place of those that nobody read."""

from pathlib import Path

from alembic import op

revision = "0012"
down_revision = "0011"

COVERAGE = Path(__file__).parent.parent / "sql" / "0012_coverage.sql"


def upgrade() -> None:
    op.drop_table("coverage_cells", schema="constellation")
    op.execute(COVERAGE.read_text())
