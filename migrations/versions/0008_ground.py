"""Where a run's tiles lie, for questions by place."""

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography

revision = "0008"
down_revision = "0007"

SCHEMA = "constellation"


def upgrade() -> None:
    # Null: all of its scene. Runs of before say no more than that, as they did.
    op.add_column(
        "runs",
        sa.Column("ground", Geography("MULTIPOLYGON", srid=4326, spatial_index=False)),
        schema=SCHEMA,
    )
