"""`constellation keys`: what opens the API. They talk to the database, as `accounts` does."""

import re
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from constellation_pipelines.commands.output import JsonFlag, moment, print_json, print_table
from constellation_pipelines.commands.owner import owner_connection, person
from constellation_pipelines.domain.account import LOCAL, Scope
from constellation_pipelines.domain.errors import InvalidInput

if TYPE_CHECKING:
    from constellation_pipelines.store.keys import Key

app = typer.Typer()

UNITS_S = {"h": 3600, "d": 86_400, "w": 604_800}
LONGEST_S = 10 * 366 * 86_400
LONGEST_NAME = 200


@app.command()
def create(
    account: Annotated[str, typer.Argument(help="The account that it opens.")] = LOCAL,
    scope: Annotated[Scope, typer.Option(help="What it opens.")] = Scope.OPERATOR,
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    expires: Annotated[
        str | None, typer.Option(metavar="90d", help="When it ends: hours h, days d, weeks w.")
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Keep it in the data directory for commands to send.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a key. It is shown this once: only its hash is kept."""
    from constellation_pipelines.commands.stack import load_settings
    from constellation_pipelines.domain.secret import new_key
    from constellation_pipelines.stack import key_file
    from constellation_pipelines.store import audit, keys

    if len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"--name must be one line of at most {LONGEST_NAME} characters")
    lasts_s = None if expires is None else seconds(expires)
    fresh = new_key()
    with owner_connection() as connection:
        found = keys.create(
            connection, fresh, account=account, scope=scope, name=name, lasts_s=lasts_s
        )
        audit.record_of_host(
            connection,
            "key.created",
            found.prefix,
            account=account,
            actor=person(),
            scope=scope.value,
        )
    if save:
        path = key_file.keep(load_settings().data_dir, fresh.text)
    if as_json:
        print_json(facts(found) | {"key": fresh.text})
        return
    typer.echo(fresh.text)
    until = f", until {moment(found.expires_at.isoformat())}" if found.expires_at else ""
    typer.echo(f"opens account {account} as {scope}{until}; it is not shown again", err=True)
    if save:
        typer.echo(f"kept in {path}", err=True)


@app.command("list")
def list_keys(
    account: Annotated[str | None, typer.Option(help="Of this account only.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List keys by their prefixes, also those that open nothing any more."""
    from constellation_pipelines.store import keys

    with owner_connection() as connection:
        found = keys.list_all(connection, account)
    if as_json:
        print_json([facts(key) for key in found])
        return
    print_table(
        ("PREFIX", "ACCOUNT", "SCOPE", "NAME", "STATE", "MADE", "EXPIRES", "LAST USED"),
        [
            (
                key.prefix,
                key.account,
                key.scope.value,
                key.name,
                state_of(key),
                shown(key.created_at),
                shown(key.expires_at),
                shown(key.last_used_at),
            )
            for key in found
        ],
        empty="there is no key: `constellation keys create` makes one",
    )


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The part between cst_ and the next _.")],
    as_json: JsonFlag = False,
) -> None:
    """Let a key open nothing any more, nor its sessions. Running servers follow within 5 s."""
    from constellation_pipelines.store import audit, keys

    prefix = prefix.removeprefix("cst_").split("_")[0]
    with owner_connection() as connection:
        found = keys.revoke(connection, prefix)
        audit.record_of_host(
            connection, "key.revoked", prefix, account=found.account, actor=person()
        )
    print_json(facts(found)) if as_json else typer.echo(f"revoked key {prefix}")


def seconds(text: str) -> float:
    """A time such as 12h, 90d or 4w. Raises InvalidInput."""
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    lasts_s = int(found[1]) * UNITS_S[found[2]] if found else 0
    if not 0 < lasts_s <= LONGEST_S:
        raise InvalidInput(
            f"--expires is {text!r}; write a time such as 12h, 90d or 4w, to 10 years"
        )
    return lasts_s


def facts(key: "Key") -> dict[str, Any]:
    """A key as JSON."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(key).items()
    }


def state_of(key: "Key") -> str:
    """Whether a key opens anything, and why not."""
    if key.is_good:
        return "good"
    return "revoked" if key.revoked_at else "expired"


def shown(at: datetime | None) -> str | None:
    """An instant, for people."""
    return None if at is None else moment(at.isoformat())
