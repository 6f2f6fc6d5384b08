"""What quotes and progress look for: the latest runs of a model, the latest tiles of a run."""

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
    op.drop_index("tiles_of_run", "tiles", schema=SCHEMA)
    op.create_index("tiles_of_run", "tiles", ["run_id", "created_at"], schema=SCHEMA)
