"""Quotas: whether an account may have what a job would take."""

from constellation_pipelines.domain.errors import QuotaExceeded
from constellation_pipelines.store.accounts import GPU_HOURS
from constellation_pipelines.store.database import Connection

# Hours are summed for accounts that have a quota of them only.
FIND = f"""
select max_km2_per_job as most_km2, max_gpu_hours_per_month as most_hours,
       case when max_gpu_hours_per_month is not null
            then ({GPU_HOURS.format(account="%(account)s")}) end as hours,
       to_char(date_trunc('month', now(), 'UTC') + interval '1 month', 'YYYY-MM-DD') as until
  from constellation.accounts where name = %(account)s
"""

# An account is written only where it changes. That of a month that is over says nothing any more.
NOTE_SPENT = f"""
with seen as (
  select a.id, case when a.max_gpu_hours_per_month <= ({GPU_HOURS.format(account="a.name")})
                    then (date_trunc('month', now(), 'UTC') + interval '1 month') end as until
    from constellation.accounts a
   where a.max_gpu_hours_per_month is not null or a.gpu_hours_spent_until is not null
)
update constellation.accounts a set gpu_hours_spent_until = seen.until
  from seen where a.id = seen.id and a.gpu_hours_spent_until is distinct from seen.until
returning a.name, seen.until
"""

WAKE = "select pg_notify('constellation_queue', '')"


def note_spent(connection: Connection) -> None:
    """Note which accounts have used up their GPU-hours of this month: no run of theirs starts
    until the next one. Those that have some again are started at once.
    """
    changed = connection.execute(NOTE_SPENT).fetchall()
    if any(row["until"] is None for row in changed):
        connection.execute(WAKE)


def check(connection: Connection, account: str, km2: float, *, field: str = "aoi") -> None:
    """Raise QuotaExceeded for a job of this size that the account may not submit now, pointing at
    `field` where it is too large.

    Runs at once are no matter of submission: more than the account may have wait their turn.
    """
    row = connection.execute(FIND, {"account": account}).fetchone()
    if row is None:
        return
    if row["most_km2"] is not None and km2 > row["most_km2"]:
        raise QuotaExceeded(
            f"the job's tiles cover {km2:,.1f} km2, and account {account} may have "
            f"{row['most_km2']:,.1f} km2 per job: draw a smaller area or name fewer scenes",
            field=field,
        )
    if row["most_hours"] is not None and row["hours"] >= row["most_hours"]:
        raise QuotaExceeded(
            f"account {account} has used {row['hours']:,.2f} of its {row['most_hours']:,.2f} "
            f"GPU-hours of this month; the next month begins on {row['until']} (UTC)"
        )
