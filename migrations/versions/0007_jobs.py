"""What lists, quotes and progress look for."""

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
    # A column of its own: a policy's tables use an index only for what cannot leak, and taking a
    # member out of JSON is not known to be that.
    op.add_column(
        "jobs",
        sa.Column("model", sa.Text, sa.Computed("params ->> 'model'", persisted=True)),
        schema=SCHEMA,
    )
    for name, columns in (
        ("jobs_of_model", ["model", "created_at", "id"]),
        ("jobs_of_state", ["state", "created_at", "id"]),
        ("jobs_by_priority", ["priority", "created_at", "id"]),
    ):
        op.create_index(name, "jobs", columns, schema=SCHEMA)
    op.create_index(
        "scenes_footprint_plane",
        "scenes",
        [sa.text("(footprint::geometry)")],
        schema=SCHEMA,
        postgresql_using="gist",
    )
