"""`constellation jobs`: submit and follow jobs."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from constellation_pipelines.commands.client import connect, segment
from constellation_pipelines.commands.follow import done, follow, outcome_of
from constellation_pipelines.commands.logs import print_lines
from constellation_pipelines.commands.output import (
    JsonFlag,
    moment,
    print_facts,
    print_json,
    print_table,
)
from constellation_pipelines.domain.errors import ConstellationError, InvalidInput

app = typer.Typer()

ModelOption = Annotated[str, typer.Option("--model", "-m", help="name@version, or a name.")]
SceneOption = Annotated[
    list[str], typer.Option("--scene", "-s", help="A scene's key or id; give it once per scene.")
]
AoiOption = Annotated[
    Path | None, typer.Option("--aoi", help="GeoJSON file: run only tiles that touch its area.")
]
AreaOption = Annotated[
    str | None, typer.Option(help="Name or id of a kept area, instead of --aoi.")
]
GsdOption = Annotated[
    bool, typer.Option("--accept-gsd-mismatch", help="Run scenes of an unsuitable pixel size.")
]
NoReuseOption = Annotated[
    bool, typer.Option("--no-reuse", help="Compute tiles again that have a valid result.")
]
CloudOption = Annotated[
    float | None,
    typer.Option(
        "--max-cloud-fraction",
        min=0,
        max=1,
        help="Skip tiles that are clouded beyond this share, by the scene's quality mask.",
    ),
]
PriorityOption = Annotated[int, typer.Option(min=-100, max=100, help="Higher runs first.")]
SerialOption = Annotated[bool, typer.Option("--serial", help="Run the scenes one by one.")]
GpusOption = Annotated[
    int, typer.Option(min=1, max=64, help="GPUs of one host that each run asks for.")
]
MemoryOption = Annotated[
    int | None, typer.Option(min=1, max=10_000_000, help="Memory it needs on each GPU.")
]
FailedOption = Annotated[
    float | None,
    typer.Option(
        "--max-failed-tile-ratio",
        min=0,
        max=1,
        help="A run fails when more of its tiles than this failed; half of them if not told.",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(help="The same key with the same request gives the same job; else a fresh one."),
]
JobArgument = Annotated[str, typer.Argument(help="A job's id.")]


@app.command()
def submit(
    model: ModelOption,
    scene: SceneOption,
    aoi: AoiOption = None,
    area: AreaOption = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    priority: PriorityOption = 0,
    accept_gsd_mismatch: GsdOption = False,
    no_reuse: NoReuseOption = False,
    max_cloud_fraction: CloudOption = None,
    serial: SerialOption = False,
    gpus: GpusOption = 1,
    gpu_mem_mb: MemoryOption = None,
    max_failed_tile_ratio: FailedOption = None,
    idempotency_key: KeyOption = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow it to its end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Submit a job. With --wait the exit code is 0 only when it completes."""
    from uuid import uuid4

    request = request_of(model, scene, aoi, accept_gsd_mismatch, no_reuse, max_cloud_fraction)
    request |= {} if area is None else {"area": area}
    request |= {"priority": priority} | ({} if name is None else {"name": name})
    request |= {"mode": "serial" if serial else "parallel"}
    request |= {"gpu_count": gpus, "gpu_mem_mb": gpu_mem_mb}
    if max_failed_tile_ratio is not None:
        request["max_failed_tile_ratio"] = max_failed_tile_ratio
    key = idempotency_key or uuid4().hex
    if not (key.isascii() and key.isprintable()):
        raise InvalidInput("--idempotency-key may hold printable ASCII only")
    with connect() as client:
        job = client.post("/jobs", request, headers={"Idempotency-Key": key})
        if not as_json:
            tiles = job["tiles_planned"] - job["tiles_reused"]
            typer.echo(f"submitted {job['id']}: {tiles} tiles to run, {job['tiles_reused']} reused")
        if wait:
            job = follow(client, job["id"], quiet=as_json)
    if as_json:
        print_json(job)
    if wait:
        end_as(job)


@app.command()
def quote(
    model: ModelOption,
    scene: SceneOption,
    aoi: AoiOption = None,
    area: AreaOption = None,
    accept_gsd_mismatch: GsdOption = False,
    no_reuse: NoReuseOption = False,
    max_cloud_fraction: CloudOption = None,
    priority: PriorityOption = 0,
    serial: SerialOption = False,
    gpus: GpusOption = 1,
    gpu_mem_mb: MemoryOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check a job, count its tiles and say what they would take, without submitting it."""
    request = request_of(model, scene, aoi, accept_gsd_mismatch, no_reuse, max_cloud_fraction)
    request |= {} if area is None else {"area": area}
    request |= {"priority": priority, "mode": "serial" if serial else "parallel"}
    request |= {"gpu_count": gpus, "gpu_mem_mb": gpu_mem_mb}
    with connect() as client:
        found = client.post("/jobs/quote", request)
    if as_json:
        print_json(found)
        return
    print_table(
        ("SCENE", "TILES", "REUSED", "GSD MISMATCH"),
        [
            (part["scene"], part["tiles_planned"], part["tiles_reused"], part["gsd_mismatch"])
            for part in found["scenes"]
        ],
        empty="",
    )
    typer.echo(f"{found['model']}: {found['tiles_to_run']} tiles to run")
    typer.echo(f"device time  {known(found['device_s'], seconds, found['device_s_reason'])}")
    typer.echo(f"finished at  {known(found['finish_at'], moment, found['finish_reason'])}")


@app.command("list")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state.")] = None,
    model: Annotated[str | None, typer.Option(help="Only jobs of this name@version.")] = None,
    account: Annotated[str | None, typer.Option(help="Only jobs that it submitted.")] = None,
    after: Annotated[
        datetime | None, typer.Option(help="Only jobs created then or later, in your time.")
    ] = None,
    before: Annotated[
        datetime | None, typer.Option(help="Only jobs created before then, in your time.")
    ] = None,
    bbox: Annotated[
        str | None, typer.Option(help="Only jobs there: west,south,east,north in degrees.")
    ] = None,
    near: Annotated[str | None, typer.Option(help="Only jobs near lon,lat.")] = None,
    radius_km: Annotated[float, typer.Option(min=0.001, help="How far --near reaches.")] = 100,
    sort: Annotated[str, typer.Option(help="newest, oldest or priority.")] = "newest",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first unless told otherwise."""
    wanted = {
        "state": [one.upper() for one in state] if state else None,
        "model": model,
        "submitted_by": account,
        "created_after": instant(after),
        "created_before": instant(before),
        "bbox": bbox,
        "near": near,
        "radius_m": None if near is None else radius_km * 1000,
        "sort": sort,
    }
    with connect() as client:
        found = list(client.pages("/jobs", most=limit, **wanted))
    if as_json:
        print_json(found)
        return
    print_table(
        ("JOB", "NAME", "STATE", "TILES", "FAILED", "KM2", "SUBMITTED"),
        [
            (
                job["id"],
                job["name"],
                job["state"],
                f"{done(job)}/{job['tiles_planned']}",
                job["tiles_failed"],
                job["area_km2"],
                moment(job["created_at"]),
            )
            for job in found
        ],
        empty="no jobs",
    )


@app.command()
def show(job_id: JobArgument, as_json: JsonFlag = False) -> None:
    """Show a job and its runs."""
    with connect() as client:
        job = client.get(f"/jobs/{segment(job_id)}")
    print_json(job) if as_json else print_job(job)


@app.command()
def watch(job_id: JobArgument, as_json: JsonFlag = False) -> None:
    """Follow a job to its end. The exit code is 0 only when it completes."""
    with connect() as client:
        job = follow(client, job_id, quiet=as_json)
    if as_json:
        print_json(job)
    end_as(job)


@app.command(context_settings={"ignore_unknown_options": True})
def priority(
    job_id: JobArgument,
    value: Annotated[int, typer.Argument(metavar="N", min=-100, max=100)],
    as_json: JsonFlag = False,
) -> None:
    """Give a job another priority, from -100 to 100; higher runs first. It counts at once."""
    with connect() as client:
        job = client.patch(f"/jobs/{segment(job_id)}", {"priority": value})
    print_json(job) if as_json else typer.echo(f"{job['id']} has priority {job['priority']}")


@app.command()
def cancel(job_id: JobArgument, as_json: JsonFlag = False) -> None:
    """Cancel a job."""
    with connect() as client:
        job = client.post(f"/jobs/{segment(job_id)}/cancel")
    if as_json:
        print_json(job)
    elif job["state"] == "CANCELLED":
        typer.echo(f"{job['id']} is CANCELLED")
    else:
        typer.echo(f"{job['id']} is {job['state']}; its runs are asked to stop")


@app.command()
def logs(
    job_id: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the job is over.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print what a job's runs logged and printed; with --json one object a line."""
    with connect() as client:
        print_lines(client, job_id, follow=follow, as_json=as_json)


@app.command()
def retry(job_id: JobArgument, as_json: JsonFlag = False) -> None:
    """Run the scenes of a failed or cancelled job again that did not complete."""
    with connect() as client:
        job = client.post(f"/jobs/{segment(job_id)}/retry")
    print_json(job) if as_json else typer.echo(f"{job['id']} is {job['state']} again")


def request_of(
    model: str,
    scenes: list[str],
    aoi: Path | None,
    accept_gsd_mismatch: bool,
    no_reuse: bool,
    max_cloud_fraction: float | None,
) -> dict[str, Any]:
    """The body of a submission."""
    return {
        "model": model,
        "scenes": scenes,
        "aoi": None if aoi is None else read_aoi(aoi),
        "accept_gsd_mismatch": accept_gsd_mismatch,
        "reuse": not no_reuse,
        "max_cloud_fraction": max_cloud_fraction,
    }


def known(span: dict[str, Any], show: Callable[[Any], Any], reason: str | None) -> str:
    """A range for people, and why a part of it is not known."""
    why = f" ({reason})" if reason else ""
    if span["expected"] is None:
        return f"not known{why}"
    if span["low"] is None or span["high"] is None:
        return f"about {show(span['expected'])}{why}"
    return f"about {show(span['expected'])}, {show(span['low'])} to {show(span['high'])}{why}"


def instant(local: datetime | None) -> str | None:
    """A person's local time as the API takes it."""
    return None if local is None else local.astimezone().isoformat()


def seconds(value: float) -> str:
    """Seconds as people read them."""
    return f"{value:,.1f} s"


def read_aoi(path: Path) -> Any:
    """The GeoJSON document in a file."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no GeoJSON object")
    return found


def print_job(job: dict[str, Any]) -> None:
    """A job and its runs, for people."""
    print_facts(
        {
            "job": job["id"],
            "name": job["name"],
            "state": job["state"] + stopping(job),
            "priority": job["priority"],
            "model": job["params"].get("model"),
            "submitted": f"{moment(job['created_at'])} by {job['submitted_by']} ({job['origin']})",
            "over": job["params"].get("area"),
            "tiles": f"{done(job)} of {job['tiles_planned']}",
            "failed tiles": job["tiles_failed"],
            "skipped tiles": job["tiles_skipped"],
            "area": f"{job['area_km2']:,.1f} km2",
            "rate": rate_of(job["progress"]),
            "error": job["error"],
        }
    )
    print_errors(job["progress"])
    print_table(
        ("RUN", "SCENE", "STATE", "TILES", "FAILED", "GPU", "SIMULATED", "ERROR"),
        [
            (
                run["id"],
                run["scene_key"],
                run["state"],
                f"{done(run)}/{run['tiles_planned']}",
                run["tiles_failed"],
                run["device_uuid"],
                run["simulated"],
                run["error"],
            )
            for run in job["runs"]
        ],
        empty="no runs yet",
    )
    print_waiting([run for run in job["runs"] if run["waiting"]])


def rate_of(progress: dict[str, Any]) -> str | None:
    """How fast a job goes on, and when it ends at this rate; nothing where nothing runs."""
    if progress["tiles_per_s"] is None:
        return None
    end = progress["eta_at"]
    until = f"done about {moment(end)}" if end else "no end can be told"
    return f"{progress['tiles_per_s'] * 60:,.1f} tiles/min, {until}"


def print_errors(progress: dict[str, Any]) -> None:
    """What went wrong, by class; nothing where all went well."""
    rows = [(one["kind"], one["count"], one["latest"]) for one in progress["faults"]]
    rows += [("failed tiles", one["tiles"], one["error"]) for one in progress["tile_errors"]]
    if rows:
        print_table(("WENT WRONG", "COUNT", "FOR EXAMPLE"), rows, empty="")


def print_waiting(runs: list[dict[str, Any]]) -> None:
    """What each run waits for; nothing where none waits."""
    if not runs:
        return
    print_table(
        ("WAITING RUN", "PLACE", "STARTS ABOUT", "WHY IT WAITS"),
        [
            (
                run["id"],
                run["waiting"]["place"],
                moment(run["waiting"]["estimated_start_at"]),
                run["waiting"]["reason"],
            )
            for run in runs
        ],
        empty="",
    )


def stopping(job: dict[str, Any]) -> str:
    """A word on runs that have not stopped yet."""
    open_runs = sum(run["state"] == "CANCELLING" for run in job["runs"])
    return f" ({open_runs} runs are stopping)" if open_runs else ""


def end_as(job: dict[str, Any]) -> None:
    """Raise ConstellationError unless the job completed."""
    if job["state"] != "COMPLETED":
        raise ConstellationError(outcome_of(job))
