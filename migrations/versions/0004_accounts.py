"""Accounts: quotas, keys, sessions, audit events, whose each row is, and row-level security."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

revision = "0004"
down_revision = "0003"

SCHEMA = "constellation"
TENANCY = Path(__file__).parent.parent / "sql" / "0004_tenancy.sql"


def upgrade() -> None:
    accounts()
    keys()
    sessions()
    audit()
    owners()
    op.execute(TENANCY.read_text())


def accounts() -> None:
    """What an account may use; null is without limit."""
    add("accounts", positive("max_gpu_hours_per_month"))
    add("accounts", positive("max_km2_per_job"))
    # Not valid: it holds for every row from now on, and not for limits that were set by then.
    op.execute(
        f"alter table {SCHEMA}.accounts add constraint accounts_name_is_plain check "
        "(name ~ '^[A-Za-z0-9][A-Za-z0-9._@|:+-]{0,99}$' and name <> 'system') not valid"
    )
    op.execute(
        f"insert into {SCHEMA}.accounts (id, name) values (gen_random_uuid(), 'local') "
        "on conflict do nothing"
    )


def keys() -> None:
    """A key opens what its scope allows, until it expires or is revoked. Only its hash is kept."""
    add("api_keys", sa.Column("name", sa.Text, nullable=False, server_default=""))
    add(
        "api_keys",
        sa.Column(
            "scope",
            sa.Text,
            sa.CheckConstraint("scope in ('viewer', 'operator', 'admin')"),
            nullable=False,
        ),
    )
    add("api_keys", moment("last_used_at"))
    op.create_unique_constraint("api_keys_prefix", "api_keys", ["prefix"], schema=SCHEMA)
    check("api_keys", "api_keys_hash_is_sha256", "length(hash) = 32")
    check("api_keys", "api_keys_expire_later", "expires_at > created_at")


def sessions() -> None:
    """A browser that has signed in with a key. It ends with the key, by itself, or when told to."""
    op.create_table(
        "sessions",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column(
            "key_id", UUID(as_uuid=True), sa.ForeignKey(f"{SCHEMA}.api_keys.id"), nullable=False
        ),
        moment("created_at", default=True),
        sa.Column("expires_at", TIMESTAMP(timezone=True), nullable=False),
        moment("ended_at"),
        sa.CheckConstraint("length(hash) = 32", name="sessions_hash_is_sha256"),
        sa.CheckConstraint("expires_at > created_at", name="sessions_expire_later"),
        schema=SCHEMA,
    )


def audit() -> None:
    """Who did what, to what, from where. Rows are only ever added."""
    op.create_table(
        "audit_events",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        moment("at", default=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),  # a key's prefix, an OIDC subject, a person
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("object", sa.Text),
        sa.Column("address", sa.Text),
        sa.Column("details", JSONB, nullable=False, server_default="{}"),
        schema=SCHEMA,
    )
    op.create_index("audit_events_of_account", "audit_events", ["account", "id"], schema=SCHEMA)


def owners() -> None:
    """Whose a row is, in the row itself: policies compare one column and join nothing."""
    for table in ("runs", "tiles", "leases", "areas"):
        add(table, sa.Column("account", sa.Text))
    op.execute(
        f"update {SCHEMA}.runs r set account = j.submitted_by from {SCHEMA}.jobs j "
        "where j.id = r.job_id"
    )
    op.execute(
        f"update {SCHEMA}.tiles t set account = r.account from {SCHEMA}.runs r "
        "where r.id = t.run_id"
    )
    op.execute(
        f"update {SCHEMA}.leases l set account = q.account from {SCHEMA}.run_queue q "
        "where q.run_id = l.run_id"
    )
    op.execute(f"update {SCHEMA}.areas set account = 'local'")
    for table in ("runs", "tiles", "areas"):  # a lease of a run that no job asked for has none
        op.alter_column(table, "account", nullable=False, schema=SCHEMA)
    op.drop_constraint("areas_name_key", "areas", schema=SCHEMA)
    op.create_unique_constraint("areas_name", "areas", ["account", "name"], schema=SCHEMA)
    same_account("runs", "job_id", "jobs", "submitted_by")
    op.drop_constraint("tiles_run_id_fkey", "tiles", schema=SCHEMA)
    same_account("tiles", "run_id", "runs", "account")
    index("jobs_of_account", "jobs", ["submitted_by", "created_at", "id"])
    index("events_of_account", "events", ["account", "id"])
    index("leases_of_account", "leases", ["account", "released_at"])


# ---- short forms ----


def same_account(table: str, column: str, target: str, account: str) -> None:
    """What a row belongs to is of the row's own account."""
    op.create_unique_constraint(f"{target}_account", target, ["id", account], schema=SCHEMA)
    op.create_foreign_key(
        f"{table}_of_own_account",
        table,
        target,
        [column, "account"],
        ["id", account],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
    )


def add(table: str, column: sa.Column[Any]) -> None:
    op.add_column(table, column, schema=SCHEMA)


def check(table: str, name: str, condition: str) -> None:
    op.create_check_constraint(name, table, sa.text(condition), schema=SCHEMA)


def index(name: str, table: str, columns: list[str]) -> None:
    op.create_index(name, table, columns, schema=SCHEMA)


def positive(name: str) -> sa.Column[Any]:
    """A finite number above 0, or null."""
    finite = sa.CheckConstraint(f"{name} > 0 and {name} < 'Infinity'")
    return sa.Column(name, sa.Double, finite)


def moment(name: str, *, default: bool = False) -> sa.Column[Any]:
    return sa.Column(
        name,
        TIMESTAMP(timezone=True),
        server_default=sa.func.clock_timestamp() if default else None,
        nullable=not default,
    )
