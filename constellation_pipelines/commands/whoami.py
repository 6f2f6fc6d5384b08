"""`constellation whoami|about|health|metrics`: who asks, what answers, whether a job would run."""

import typer

from constellation_pipelines.commands.client import connect
from constellation_pipelines.commands.output import JsonFlag, moment, print_facts, print_json
from constellation_pipelines.domain.errors import ServiceUnavailable

app = typer.Typer()


@app.command()
def whoami(as_json: JsonFlag = False) -> None:
    """Show the account and scope that your key opens."""
    with connect() as client:
        found = client.get("/session")
    if as_json:
        print_json(found)
        return
    print_facts(
        {
            "account": found["account"],
            "scope": found["scope"],
            "by": " ".join(dict.fromkeys((found["door"], found["actor"]))),
            "until": moment(found["expires_at"]),
        }
    )


@app.command()
def about(as_json: JsonFlag = False) -> None:
    """Show which release answers, and where Dagster's pages are."""
    with connect() as client:
        found = client.get("/about")
    if as_json:
        print_json(found)
    else:
        print_facts({"version": found["version"], "Dagster": found["dagster_url"]})


@app.command()
def health(as_json: JsonFlag = False) -> None:
    """Show whether a job would run, part by part. The exit code is 0 only when it would."""
    with connect() as client:
        client.get(f"{client.url}/healthz")
        found = client.readiness()
    if as_json:
        print_json(found)
    else:
        print_facts(
            {
                name: f"{'ok' if part['ok'] else 'NOT OK'}: {part['detail']}"
                for name, part in found["parts"].items()
            }
        )
    if not found["ready"]:
        raise ServiceUnavailable("a job submitted now would not run")


@app.command()
def metrics(as_json: JsonFlag = False) -> None:
    """Show what Prometheus reads: jobs, queue, devices, requests. It takes the scope admin."""
    from prometheus_client.parser import text_string_to_metric_families

    with connect() as client:
        text = client.text(f"{client.url}/metrics")
    if not as_json:
        typer.echo(text, nl=False)
        return
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    print_json([{"name": s.name, "labels": s.labels, "value": s.value} for s in samples])
