"""What lists, quotes and progress look for; webhooks."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, UUID

revision = "0007"
down_revision = "0006"

SCHEMA = "constellation"
WEBHOOKS = Path(__file__).parent.parent / "sql" / "0007_webhooks.sql"


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
    webhooks()


def webhooks() -> None:
    """Where an account is told of its jobs, and what was told or is to be told."""
    op.create_table(
        "webhooks",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("event_types", ARRAY(sa.Text)),  # null: all of jobs
        sa.Column("secret", sa.Text, nullable=False),  # signing takes all of it, so no hash
        moment("created_at", default=True),
        sa.UniqueConstraint("id", "account", name="webhooks_account"),
        schema=SCHEMA,
    )
    op.create_index("webhooks_of_account", "webhooks", ["account"], schema=SCHEMA)
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("webhook_id", UUID(as_uuid=True), nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),  # as it is signed, the same at each attempt
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("status", sa.Integer),  # of the last answer
        sa.Column("error", sa.Text),
        moment("created_at", default=True),
        moment("due_at", default=True),
        moment("sending_until"),
        moment("delivered_at"),
        moment("gave_up_at"),
        sa.CheckConstraint(
            "delivered_at is null or gave_up_at is null", name="webhook_deliveries_end_once"
        ),
        sa.ForeignKeyConstraint(
            ["webhook_id", "account"],
            [f"{SCHEMA}.webhooks.id", f"{SCHEMA}.webhooks.account"],
            name="webhook_deliveries_of_own_account",
            ondelete="cascade",
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "webhook_deliveries_of_hook", "webhook_deliveries", ["webhook_id", "id"], schema=SCHEMA
    )
    op.create_index(
        "webhook_deliveries_due",
        "webhook_deliveries",
        ["due_at", "id"],
        schema=SCHEMA,
        postgresql_where=sa.text("delivered_at is null and gave_up_at is null"),
    )
    op.execute(WEBHOOKS.read_text())


def moment(name: str, *, default: bool = False) -> sa.Column[Any]:
    return sa.Column(
        name,
        TIMESTAMP(timezone=True),
        server_default=sa.func.clock_timestamp() if default else None,
        nullable=not default,
    )
