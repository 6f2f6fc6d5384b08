"""`constellation accounts`: whose the work is, and what each may use.

They talk to the database, as whoever operates the host may: the first key must come from somewhere.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
)
from constellation_pipelines.commands.owner import owner_connection, person
from constellation_pipelines.domain.errors import InvalidInput

if TYPE_CHECKING:
    from constellation_pipelines.store.accounts import Account

app = typer.Typer()

NONE = "none"
LARGEST = 1e9

Name = Annotated[str, typer.Argument(help="The account's name. It never changes.")]
Limit = Annotated[str | None, typer.Option(metavar="N|none")]


@app.command()
def create(name: Name, as_json: JsonFlag = False) -> None:
    """Make an account. `constellation keys create` gives it a key."""
    from constellation_pipelines.store import accounts, audit

    with owner_connection() as connection:
        found = accounts.create(connection, name)
        audit.record_of_host(connection, "account.created", name, account=name, actor=person())
    if as_json:
        print_json(facts(found))
    else:
        typer.echo(f"made account {found.name}; give it a key: constellation keys create {name}")


@app.command("list")
def list_accounts(as_json: JsonFlag = False) -> None:
    """List accounts, their quotas and what they have used this month."""
    from constellation_pipelines.store import accounts

    with owner_connection() as connection:
        found = accounts.list_all(connection)
    if as_json:
        print_json([facts(account) for account in found])
        return
    print_table(
        ("ACCOUNT", "KEYS", "RUNS AT ONCE", "GPU-HOURS", "OF", "KM2 PER JOB", "SINCE"),
        [
            (
                account.name,
                account.keys,
                account.quota.running_runs,
                account.gpu_hours_this_month,
                account.quota.gpu_hours_per_month,
                account.quota.km2_per_job,
                moment(account.created_at.isoformat()),
            )
            for account in found
        ],
        empty="there is no account: `constellation accounts create` makes one",
    )


@app.command()
def show(name: Name, as_json: JsonFlag = False) -> None:
    """Show an account, its quota and what it has used this month."""
    from constellation_pipelines.store import accounts

    with owner_connection() as connection:
        found = accounts.find(connection, name)
    print_json(facts(found)) if as_json else print_account(found)


@app.command()
def set_quota(
    name: Name,
    running_runs: Limit = None,
    gpu_hours_per_month: Limit = None,
    km2_per_job: Limit = None,
    as_json: JsonFlag = False,
) -> None:
    """Set what an account may use; what is not named stays. What runs goes on."""
    from dataclasses import replace

    from constellation_pipelines.store import accounts, audit, quotas

    told = {
        "running_runs": limit(running_runs, "--running-runs", whole=True),
        "gpu_hours_per_month": limit(gpu_hours_per_month, "--gpu-hours-per-month"),
        "km2_per_job": limit(km2_per_job, "--km2-per-job"),
    }
    given = (running_runs, gpu_hours_per_month, km2_per_job)
    changes: dict[str, Any] = {
        key: value for (key, value), text in zip(told.items(), given, strict=True) if text
    }
    if not changes:
        raise InvalidInput("name what to set: --running-runs, --gpu-hours-per-month, --km2-per-job")
    with owner_connection() as connection:
        quota = replace(accounts.find(connection, name).quota, **changes)
        found = accounts.set_quota(connection, name, quota)
        quotas.note_spent(connection)
        audit.record_of_host(
            connection, "account.quota_set", name, account=name, actor=person(), **changes
        )
    print_json(facts(found)) if as_json else print_account(found)


def limit(text: str | None, option: str, *, whole: bool = False) -> float | int | None:
    """A number above 0, or None for `none` and for nothing. Raises InvalidInput."""
    if text in (None, NONE):
        return None
    assert text is not None
    try:
        number = float(text) if text.isascii() else 0.0
    except ValueError:
        number = 0.0
    if not 0 < number <= LARGEST or (whole and not (text.isdigit() and number <= 1e6)):
        kind = "a whole number from 1 to 1,000,000" if whole else "a number above 0"
        raise InvalidInput(f"{option} is {text!r}; it must be {kind}, or {NONE}")
    return int(text) if whole else number


def facts(account: "Account") -> dict[str, Any]:
    """An account as JSON."""
    return asdict(account) | {"created_at": account.created_at.isoformat()}


def print_account(account: "Account") -> None:
    """An account, for people."""
    quota = account.quota
    print_facts(
        {
            "account": account.name,
            "since": moment(account.created_at.isoformat()),
            "keys": account.keys,
            "runs at once": quota.running_runs or "no limit of its own",
            "GPU-hours this month": account.gpu_hours_this_month,
            "GPU-hours per month": quota.gpu_hours_per_month or "no limit",
            "km2 per job": quota.km2_per_job or "no limit",
        }
    )
