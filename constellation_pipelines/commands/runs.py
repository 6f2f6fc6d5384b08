"""`constellation runs`: look at one run and its tiles."""

from typing import Annotated, Any

import typer

from constellation_pipelines.commands.client import Client, connect, segment
from constellation_pipelines.commands.follow import done
from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
)

MOST_AT_ONCE = 10_000

app = typer.Typer()

RunArgument = Annotated[str, typer.Argument(help="A run's id.")]


@app.command()
def show(run_id: RunArgument, as_json: JsonFlag = False) -> None:
    """Show a run."""
    with connect() as client:
        run = client.get(f"/runs/{segment(run_id)}")
    if as_json:
        print_json(run)
        return
    print_facts(
        {
            "run": run["id"],
            "job": run["job_id"],
            "scene": run["scene_key"],
            "model": run["model"],
            "state": run["state"],
            "attempt": run["attempt"],
            "tiles": f"{done(run)} of {run['tiles_planned']}",
            "failed tiles": run["tiles_failed"],
            "GPU": run["device_uuid"],
            "simulated": run["simulated"],
            "started": moment(run["started_at"]),
            "finished": moment(run["finished_at"]),
            "waits": run["waiting"] and run["waiting"]["reason"],
            "error": run["error"],
        }
        | {f"output {name}": path for name, path in run["outputs"].items()}
    )


@app.command()
def tiles(
    run_id: RunArgument,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 1000,
    as_json: JsonFlag = False,
) -> None:
    """List the tiles that a run wrote; with --json as one GeoJSON FeatureCollection."""
    with connect() as client:
        found = features(client, run_id, limit)
    if as_json:
        print_json({"type": "FeatureCollection", "features": found})
        return
    print_table(
        ("ROW", "COLUMN", "STATE", "TOP CLASS", "CONFIDENCE", "KM2", "ERROR"),
        [
            (
                one["row_off_px"],
                one["col_off_px"],
                one["state"],
                one["top_class"],
                one["confidence"],
                one["area_km2"],
                one["error"],
            )
            for one in (feature["properties"] for feature in found)
        ],
        empty="no tile was written yet, or later runs have computed all of them anew",
    )


def features(client: Client, run_id: str, most: int) -> list[dict[str, Any]]:
    """Features of a run's tiles, page by page, up to `most`."""
    found: list[dict[str, Any]] = []
    after = None
    while len(found) < most:
        limit = min(most - len(found), MOST_AT_ONCE)
        page = client.get(f"/runs/{segment(run_id)}/tiles", limit=limit, after=after)
        found += page["features"]
        after = page["next"]
        if after is None:
            break
    return found
