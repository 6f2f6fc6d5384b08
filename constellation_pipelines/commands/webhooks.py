"""`constellation webhooks`: have other programs told of jobs."""

from typing import Annotated

import typer

from constellation_pipelines.commands.client import connect, segment
from constellation_pipelines.commands.output import JsonFlag, moment, print_json, print_table

app = typer.Typer()

WebhookArgument = Annotated[str, typer.Argument(help="A webhook's id.")]


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="https:// URL that takes a POST of each event.")],
    event: Annotated[
        list[str] | None,
        typer.Option("--event", "-e", help="Such as job.completed; give it once per type."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Have the events of your jobs posted to a URL. The secret that signs them is shown once."""
    with connect() as client:
        made = client.post("/webhooks", {"url": url, "event_types": event or None})
    if as_json:
        print_json(made)
        return
    typer.echo(f"added {made['id']}; its secret, which is not shown again:\n{made['secret']}")


@app.command("list")
def list_webhooks(as_json: JsonFlag = False) -> None:
    """List webhooks."""
    with connect() as client:
        found = client.get("/webhooks")["items"]
    if as_json:
        print_json(found)
        return
    print_table(
        ("WEBHOOK", "URL", "EVENTS", "ACCOUNT", "ADDED"),
        [
            (
                one["id"],
                one["url"],
                one["event_types"] or "all of jobs",
                one["account"],
                moment(one["created_at"]),
            )
            for one in found
        ],
        empty="no webhooks",
    )


@app.command()
def remove(webhook_id: WebhookArgument, as_json: JsonFlag = False) -> None:
    """Remove a webhook, and what it has not been told yet."""
    with connect() as client:
        removed = client.delete(f"/webhooks/{segment(webhook_id)}")
    print_json(removed) if as_json else typer.echo(f"removed {removed['id']}")


@app.command()
def deliveries(
    webhook_id: WebhookArgument,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List what a webhook was told and is to be told, newest first."""
    with connect() as client:
        path = f"/webhooks/{segment(webhook_id)}/deliveries"
        found = list(client.pages(path, most=limit))
    if as_json:
        print_json(found)
        return
    print_table(
        ("DELIVERY", "EVENT", "ATTEMPTS", "STATUS", "DELIVERED", "NEXT ATTEMPT", "ERROR"),
        [
            (
                one["id"],
                one["event_type"],
                one["attempts"],
                one["status"],
                moment(one["delivered_at"]),
                None if one["delivered_at"] or one["gave_up_at"] else moment(one["due_at"]),
                "given up: " * bool(one["gave_up_at"]) + (one["error"] or "") or None,
            )
            for one in found
        ],
        empty="nothing was to be told yet",
    )
