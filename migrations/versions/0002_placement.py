"""Slots and memory of devices, limits, faults, what a model needs on a device."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

revision = "0002"
down_revision = "0001"

SCHEMA = "constellation"
FUNCTIONS = Path(__file__).parent.parent / "sql" / "0002_functions.sql"


def upgrade() -> None:
    devices()
    queue()
    limits()
    faults()
    profiles()
    op.execute(FUNCTIONS.read_text())


def devices() -> None:
    """Several runs on one device, each in a slot; devices that are set aside."""
    add("workers", sa.Column("boot_id", sa.Text))  # with the next, proof of which process it was
    add("workers", sa.Column("pid_started_ticks", sa.BigInteger))  # field 22 of /proc/<pid>/stat
    add("gpus", counted("slots", "slots > 0", default=1))
    add("gpus", sa.Column("parent_uuid", sa.Text))  # of a MIG instance, the GPU it is a part of
    add(
        "gpus",
        sa.Column(
            "health",
            sa.Text,
            sa.CheckConstraint("health in ('ok', 'quarantined')"),
            nullable=False,
            server_default="ok",
        ),
    )
    add("gpus", sa.Column("health_reason", sa.Text))
    add("gpus", moment("health_at"))
    add("leases", counted("slot", "slot >= 0", default=0))
    add("leases", counted("mem_mb", "mem_mb >= 0", default=0))
    op.drop_index("leases_one_live_per_gpu", "leases", schema=SCHEMA)
    unique("leases_one_live_per_slot", "leases", ["gpu_id", "slot"], "released_at is null")


def queue() -> None:
    """What the claim needs to know of a run, beside the run, so that it reads one table.

    Limits are numbered slots too: whoever takes the same number at the same time loses the race by
    a unique index.
    """
    for column in (
        sa.Column("job_id", UUID(as_uuid=True)),
        sa.Column("account", sa.Text),
        sa.Column("model_digest", sa.Text),
        sa.Column("chip_px", sa.Integer),
        sa.Column("mem_mb", sa.Integer, sa.CheckConstraint("mem_mb > 0")),  # as the run states it
        sa.Column("serial_job_id", UUID(as_uuid=True)),  # its job's id where runs go one by one
        sa.Column("account_slot", sa.Integer, sa.CheckConstraint("account_slot >= 0")),
        sa.Column("global_slot", sa.Integer, sa.CheckConstraint("global_slot >= 0")),
        reference("reserved_worker_id", "workers"),  # whose devices are kept free for this run
        moment("not_before"),  # backing off after a fault
    ):
        add("run_queue", column)
    leased = "state = 'leased'"
    unique("run_queue_account_slot", "run_queue", ["account", "account_slot"], leased)
    unique("run_queue_global_slot", "run_queue", ["global_slot"], leased)
    unique("run_queue_serial", "run_queue", ["serial_job_id"], leased)
    op.create_index(
        "run_queue_leased",
        "run_queue",
        ["worker_id"],
        schema=SCHEMA,
        postgresql_where=sa.text(leased),
    )


def limits() -> None:
    """How many runs may hold devices at once: in all, per account; null is without limit."""
    op.create_table(
        "limits",
        sa.Column("only_row", sa.Boolean, sa.CheckConstraint("only_row"), primary_key=True),
        sa.Column("running_runs", sa.Integer, sa.CheckConstraint("running_runs > 0")),
        sa.Column(
            "running_runs_per_account",
            sa.Integer,
            sa.CheckConstraint("running_runs_per_account > 0"),
        ),
        schema=SCHEMA,
    )
    op.execute(f"insert into {SCHEMA}.limits (only_row) values (true)")
    add(
        "accounts",
        sa.Column("max_running_runs", sa.Integer, sa.CheckConstraint("max_running_runs > 0")),
    )


def faults() -> None:
    """What went wrong and what was decided; how often a tile was tried."""
    op.create_table(
        "faults",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("run_id", UUID(as_uuid=True)),
        reference("gpu_id", "gpus"),
        reference("worker_id", "workers"),
        sa.Column("attempt", sa.Integer),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("decision", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("details", JSONB, nullable=False, server_default="{}"),
        moment("at", default=True),
        schema=SCHEMA,
    )
    op.create_index("faults_of_run", "faults", ["run_id", "at"], schema=SCHEMA)
    op.create_index("faults_of_gpu", "faults", ["gpu_id", "at"], schema=SCHEMA)
    op.create_table(
        "tile_attempts",
        reference("run_id", "runs", primary_key=True),
        sa.Column("row_off_px", sa.Integer, primary_key=True),
        sa.Column("col_off_px", sa.Integer, primary_key=True),
        counted("attempts", "attempts > 0", default=1),
        sa.Column("error", sa.Text, nullable=False),
        schema=SCHEMA,
    )
    add("tiles", counted("attempts", "attempts > 0", default=1))


def profiles() -> None:
    """What a model was seen to take on a kind of device: memory, a batch that fits, time."""
    op.create_table(
        "profiles",
        sa.Column("model_digest", sa.Text, primary_key=True),
        sa.Column("device_name", sa.Text, primary_key=True),
        sa.Column("chip_px", sa.Integer, primary_key=True),
        sa.Column("mem_mb", sa.Integer, sa.CheckConstraint("mem_mb > 0")),
        sa.Column("safe_batch", sa.Integer, sa.CheckConstraint("safe_batch > 0")),
        sa.Column("tiles", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("device_s", sa.Double, nullable=False, server_default="0"),
        moment("updated_at", default=True),
        schema=SCHEMA,
    )


# ---- short forms ----


def add(table: str, column: sa.Column[Any]) -> None:
    op.add_column(table, column, schema=SCHEMA)


def unique(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, unique=True, schema=SCHEMA, postgresql_where=sa.text(where)
    )


def counted(name: str, check: str, *, default: int) -> sa.Column[Any]:
    return sa.Column(
        name, sa.Integer, sa.CheckConstraint(check), nullable=False, server_default=str(default)
    )


def reference(name: str, target: str, *, primary_key: bool = False) -> sa.Column[Any]:
    return sa.Column(
        name, UUID(as_uuid=True), sa.ForeignKey(f"{SCHEMA}.{target}.id"), primary_key=primary_key
    )


def moment(name: str, *, default: bool = False) -> sa.Column[Any]:
    return sa.Column(
        name,
        TIMESTAMP(timezone=True),
        server_default=sa.func.clock_timestamp() if default else None,
        nullable=not default,
    )
