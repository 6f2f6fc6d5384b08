"""Runs of remote scenes wait until their first pixels are on a host."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

revision = "0005"
down_revision = "0004"

SCHEMA = "constellation"

# How far the pixels of a run are is whoever's the run is.
TENANCY = f"""
grant select on {SCHEMA}.stagings to constellation_api, constellation_api_all;
alter table {SCHEMA}.stagings enable row level security;
create policy own on {SCHEMA}.stagings to constellation_api
  using (exists (select 1 from {SCHEMA}.run_queue q where q.run_id = stagings.run_id));
create policy every on {SCHEMA}.stagings to constellation_api_all using (true);
"""


def upgrade() -> None:
    op.create_table(
        "stagings",
        sa.Column(
            "run_id",
            UUID(as_uuid=True),
            sa.ForeignKey(f"{SCHEMA}.run_queue.run_id", ondelete="cascade"),
            primary_key=True,
        ),
        reference("scene_id", "scenes", nullable=False),
        reference("worker_id", "workers"),  # on whose host the pixels are
        sa.Column(
            "state",
            sa.Text,
            sa.CheckConstraint("state in ('wanted', 'ready', 'whole')"),
            nullable=False,
            server_default="wanted",
        ),
        sa.Column("everything", sa.Boolean, nullable=False, server_default=sa.false()),
        counted("attempts", sa.Integer),  # that failed in a row
        sa.Column("not_before", TIMESTAMP(timezone=True)),
        sa.Column("note", sa.Text),  # why the last attempt failed
        counted("done_bytes", sa.BigInteger),
        counted("wanted_bytes", sa.BigInteger),
        sa.Column(
            "updated_at",
            TIMESTAMP(timezone=True),
            nullable=False,
            server_default=sa.func.clock_timestamp(),
        ),
        sa.CheckConstraint("state = 'wanted' or worker_id is not null", name="stagings_on_a_host"),
        schema=SCHEMA,
    )
    op.execute(TENANCY)


def counted(name: str, kind: type[sa.Integer]) -> sa.Column[int]:
    return sa.Column(
        name, kind, sa.CheckConstraint(f"{name} >= 0"), nullable=False, server_default="0"
    )


def reference(name: str, target: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(
        name, UUID(as_uuid=True), sa.ForeignKey(f"{SCHEMA}.{target}.id"), nullable=nullable
    )
