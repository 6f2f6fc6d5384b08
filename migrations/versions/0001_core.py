"""Jobs, runs, devices, leases, scenes, models, tiles, events."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from geoalchemy2 import Geography, Geometry
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

revision = "0001"
down_revision = None

SCHEMA = "constellation"
FUNCTIONS = Path(__file__).parent.parent / "sql" / "0001_functions.sql"


def upgrade() -> None:
    catalogue()
    work()
    placement()
    results()
    op.execute(FUNCTIONS.read_text())


def catalogue() -> None:
    table(
        "accounts",
        key(),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        moment("created_at", default=True),
    )
    table(
        "api_keys",
        key(),
        reference("account_id", "accounts", nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        moment("created_at", default=True),
        moment("expires_at"),
        moment("revoked_at"),
    )
    table(
        "areas",
        key(),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("geom", footprint_type(), nullable=False),
        moment("created_at", default=True),
    )
    table(
        "scenes",
        key(),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("grid", JSONB, nullable=False),
        sa.Column("bands", JSONB, nullable=False),
        sa.Column("nodata", sa.Double),
        sa.Column("gsd_m", sa.Double, sa.CheckConstraint("gsd_m > 0"), nullable=False),
        sa.Column("footprint", footprint_type(), nullable=False),
        sa.Column("area_km2", sa.Double, nullable=False),
        moment("start_at"),
        moment("end_at"),
        sa.Column("item", JSONB, nullable=False),
        moment("partitioned_at"),  # when Dagster learnt of it as a partition
        moment("created_at", default=True),
        sa.CheckConstraint("key !~ '[,[:cntrl:]]'", name="scenes_key_fits_a_partition"),
    )
    gist("scenes", "footprint")
    table(
        "models",
        key(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("document", JSONB, nullable=False),
        moment("created_at", default=True),
        sa.UniqueConstraint("name", "version"),
    )


def work() -> None:
    table(
        "jobs",
        key(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("params", JSONB, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        state("PENDING", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"),
        sa.Column("origin", sa.Text, sa.CheckConstraint("origin in ('api', 'dagster')")),
        sa.Column("submitted_by", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("request_digest", sa.Text),
        moment("cancel_requested_at"),
        moment("created_at", default=True),
        moment("started_at"),
        moment("finished_at"),
        sa.UniqueConstraint("submitted_by", "idempotency_key"),
    )
    op.create_index("jobs_newest", "jobs", ["created_at", "id"], schema=SCHEMA)
    table(
        "runs",
        key(),
        reference("job_id", "jobs", nullable=False),
        reference("scene_id", "scenes"),
        reference("model_id", "models"),
        sa.Column("gpu_id", UUID(as_uuid=True)),
        state(
            "PENDING",
            "QUEUED",
            "STARTING",
            "RUNNING",
            "CANCELLING",
            "COMPLETED",
            "FAILED",
            "CANCELLED",
        ),
        sa.Column("dagster_status", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("tiles_planned", sa.Integer, nullable=False, server_default="0"),
        sa.Column("tiles_reused", sa.Integer, nullable=False, server_default="0"),
        sa.Column("tiles_completed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("tiles_failed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("exit_code", sa.Integer),
        sa.Column("error", sa.Text),
        sa.Column("metrics", JSONB, nullable=False, server_default="{}"),
        moment("created_at", default=True),
        moment("started_at"),
        moment("finished_at"),
    )
    op.create_index("runs_of_job", "runs", ["job_id"], schema=SCHEMA)
    op.create_index("runs_of_scene", "runs", ["scene_id"], schema=SCHEMA)
    op.create_index(
        "runs_pending",
        "runs",
        ["created_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'PENDING'"),
    )
    op.create_index(
        "runs_open",
        "runs",
        ["state"],
        schema=SCHEMA,
        postgresql_where=sa.text("state not in ('COMPLETED', 'FAILED', 'CANCELLED')"),
    )
    table(
        "events",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("job_id", UUID(as_uuid=True)),
        sa.Column("run_id", UUID(as_uuid=True)),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        moment("ts", default=True),
        moment("published_at"),
    )
    op.create_index(
        "events_outbox",
        "events",
        ["id"],
        schema=SCHEMA,
        postgresql_where=sa.text("published_at is null"),
    )
    op.create_index("events_of_job", "events", ["job_id", "id"], schema=SCHEMA)


def placement() -> None:
    table(
        "workers",
        key(),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        # The same instant in both, so that a later heartbeat shows that the worker has begun.
        sa.Column("started_at", TIMESTAMP(timezone=True), server_default=sa.func.now()),
        sa.Column("heartbeat_at", TIMESTAMP(timezone=True), server_default=sa.func.now()),
        moment("stopped_at"),
    )
    table(
        "gpus",
        key(),
        sa.Column("uuid", sa.Text, nullable=False, unique=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("idx", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("total_mem_mb", sa.Integer, nullable=False),
        sa.Column("compute_capability", sa.Text),
        sa.Column("simulated", sa.Boolean, nullable=False),
        reference("worker_id", "workers"),  # who offers it now; null while nobody does
        sa.Column("engine_ready", sa.Boolean, nullable=False, server_default=sa.false()),
        moment("seen_at", default=True),
    )
    op.execute(sa.schema.CreateSequence(sa.Sequence("fence", schema=SCHEMA)))
    table(
        "run_queue",
        sa.Column("run_id", UUID(as_uuid=True), primary_key=True),
        sa.Column("instance_ref", sa.Text, nullable=False),
        sa.Column("resume", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column(
            "gpu_count",
            sa.Integer,
            sa.CheckConstraint("gpu_count >= 0"),
            nullable=False,
            server_default="1",
        ),
        sa.Column(
            "state",
            sa.Text,
            sa.CheckConstraint("state in ('queued', 'leased', 'done')"),
            nullable=False,
            server_default="queued",
        ),
        reference("worker_id", "workers"),
        sa.Column("fence", sa.BigInteger),  # the number every write of the lease holder names
        sa.Column("pid", sa.Integer),  # for people to read; never signal a pid read from here
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("exit_code", sa.Integer),
        moment("enqueued_at", default=True),
        moment("leased_at"),
        moment("heartbeat_at"),
        moment("finished_at"),
    )
    op.create_index(
        "run_queue_next",
        "run_queue",
        [sa.text("priority desc"), "enqueued_at"],
        schema=SCHEMA,
        postgresql_where=sa.text("state = 'queued'"),
    )
    table(
        "leases",
        sa.Column("fence", sa.BigInteger, primary_key=True),
        reference("gpu_id", "gpus", nullable=False, primary_key=True),
        reference("worker_id", "workers", nullable=False),
        sa.Column("run_id", UUID(as_uuid=True), nullable=False),
        moment("acquired_at", default=True),
        moment("expires_at", nullable=False),
        moment("released_at"),
    )
    op.create_index(
        "leases_one_live_per_gpu",
        "leases",
        ["gpu_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("released_at is null"),
    )


def results() -> None:
    table(
        "tiles",
        key(),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        reference("scene_id", "scenes", nullable=False),
        reference("model_id", "models", nullable=False),
        reference("run_id", "runs", nullable=False),
        reference("job_id", "jobs", nullable=False),
        sa.Column("row_off_px", sa.Integer, nullable=False),
        sa.Column("col_off_px", sa.Integer, nullable=False),
        sa.Column("height_px", sa.Integer, nullable=False),
        sa.Column("width_px", sa.Integer, nullable=False),
        state("COMPLETED", "FAILED"),
        sa.Column("footprint", footprint_type(), nullable=False),
        sa.Column(
            "geom_3857",
            Geometry("MULTIPOLYGON", srid=3857, spatial_index=False),
            nullable=False,
        ),
        number("area_km2", nullable=False),
        sa.Column("class_counts", JSONB, nullable=False),
        sa.Column("top_class", sa.SmallInteger),
        number("confidence"),
        sa.Column(
            "valid_fraction",
            sa.Double,
            sa.CheckConstraint("valid_fraction between 0 and 1"),
            nullable=False,
        ),
        sa.Column("gsd_mismatch", sa.Boolean, nullable=False, server_default=sa.false()),
        number("read_ms", nullable=False),
        number("infer_ms", nullable=False),
        sa.Column("error", sa.Text),
        moment("created_at", default=True),
        sa.CheckConstraint(
            "(state = 'FAILED') = (error is not null)", name="tiles_failed_says_why"
        ),
    )
    gist("tiles", "footprint")
    gist("tiles", "geom_3857")
    op.create_index("tiles_of_run", "tiles", ["run_id"], schema=SCHEMA)
    op.create_index("tiles_of_scene", "tiles", ["scene_id", "model_id"], schema=SCHEMA)
    table(
        "coverage_cells",
        reference("model_id", "models", nullable=False, primary_key=True),
        sa.Column("z", sa.SmallInteger, primary_key=True),
        sa.Column("x", sa.Integer, primary_key=True),
        sa.Column("y", sa.Integer, primary_key=True),
        sa.Column("tiles", sa.Integer, nullable=False),
        sa.Column("area_km2", sa.Double, nullable=False),
        sa.Column("top_class", sa.SmallInteger),
        moment("updated_at", default=True),
    )


# ---- short forms ----


def table(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(name, *columns, schema=SCHEMA)


def key() -> sa.Column[Any]:
    return sa.Column("id", UUID(as_uuid=True), primary_key=True)


def reference(
    name: str, target: str, *, nullable: bool = True, primary_key: bool = False
) -> sa.Column[Any]:
    return sa.Column(
        name,
        UUID(as_uuid=True),
        sa.ForeignKey(f"{SCHEMA}.{target}.id"),
        nullable=nullable and not primary_key,
        primary_key=primary_key,
    )


def moment(name: str, *, default: bool = False, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(
        name,
        TIMESTAMP(timezone=True),
        server_default=sa.func.clock_timestamp() if default else None,
        nullable=nullable and not default,
    )


def state(*names: str) -> sa.Column[Any]:
    allowed = ", ".join(f"'{name}'" for name in names)
    return sa.Column("state", sa.Text, sa.CheckConstraint(f"state in ({allowed})"), nullable=False)


def number(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    """A double that is neither NaN nor infinite."""
    finite = sa.CheckConstraint(f"{name} not in ('NaN', 'Infinity', '-Infinity')")
    return sa.Column(name, sa.Double, finite, nullable=nullable)


def footprint_type() -> Geography:
    return Geography("MULTIPOLYGON", srid=4326, spatial_index=False)


def gist(table_name: str, column: str) -> None:
    op.create_index(
        f"{table_name}_{column}", table_name, [column], schema=SCHEMA, postgresql_using="gist"
    )
