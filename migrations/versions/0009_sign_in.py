"""Sessions of people whom an identity provider has named; accounts whose GPU-hours are used up."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

SCHEMA = "constellation"

# Whose it is stands in the key, or in the session itself. A login begins one session, however often
# its answer is sent here again.
SESSIONS = f"""
alter table {SCHEMA}.sessions
  alter column key_id drop not null,
  add column account_id uuid references {SCHEMA}.accounts (id),
  add column scope text check (scope in ('viewer', 'operator', 'admin')),
  add column actor text check (actor <> ''),
  add column login_hash bytea unique check (length(login_hash) = 32),
  add constraint sessions_of_key_or_login check (
    case when key_id is null
         then num_nulls(account_id, scope, actor, login_hash) = 0
         else num_nulls(account_id, scope, actor, login_hash) = 4 end)
"""

# Until when an account may start no run, noted by the dispatcher: the claim sums no leases.
SPENT = f"alter table {SCHEMA}.accounts add column gpu_hours_spent_until timestamptz"


def upgrade() -> None:
    op.execute(sa.text(SESSIONS))
    op.execute(sa.text(SPENT))
