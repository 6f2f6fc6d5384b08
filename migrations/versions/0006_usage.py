"""What accounts have used: by day, model and account."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

SCHEMA = "constellation"
USAGE = Path(__file__).parent.parent / "sql" / "0006_usage.sql"


def upgrade() -> None:
    # The lease's share of what its device took meanwhile; null where the driver does not tell.
    finite = sa.CheckConstraint("energy_j >= 0 and energy_j < 'Infinity'")
    op.add_column("leases", sa.Column("energy_j", sa.Double, finite), schema=SCHEMA)
    # Rows come in the order of their time: a few pages of ranges are enough to find a month's.
    op.create_index(
        "tiles_created", "tiles", ["created_at"], schema=SCHEMA, postgresql_using="brin"
    )
    op.create_index("leases_acquired", "leases", ["acquired_at"], schema=SCHEMA)
    op.execute(USAGE.read_text())
