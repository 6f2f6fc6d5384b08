"""What quotes look for: the latest runs of a model on a device."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

SCHEMA = "constellation"


def upgrade() -> None:
    op.create_index(
        "runs_completed_on",
        "runs",
        ["model_id", "gpu_id", "created_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'COMPLETED'"),
    )
