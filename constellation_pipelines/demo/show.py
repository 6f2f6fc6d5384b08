"""The demonstration's course: scenes in, jobs followed, results told and checked."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from constellation_pipelines.demo.client import FINAL, DemoClient, Refusal, dagster_row_count
from constellation_pipelines.demo.scenes import DemoScenes
from constellation_pipelines.lake import predictions

POLL_S = 0.25
OUTPUTS = ("classes", "values", "embeddings", "vectors", "predictions")


@dataclass
class Shown:
    """What came of each scene: a job, or the reason why there is none."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def show(
    console: Console,
    api_url: str,
    dagster_url: str,
    scenes: DemoScenes,
    *,
    key: str | None = None,
) -> bool:
    """Run the demonstration; True when every job is COMPLETED and every count agrees."""
    client = DemoClient(api_url, key)
    shown = submit_all(console, client, scenes)
    follow(console, client, shown)
    console.print(table(shown))
    for line in [*outputs_lines(shown), *refusal_lines(shown)]:
        console.print(line, soft_wrap=True, highlight=False)
    disagreements = [
        line for name, job in shown.jobs.items() for line in compare(client, dagster_url, name, job)
    ]
    for line in disagreements:
        console.print(f"[red]{line}[/red]")
    complete = all(job["state"] == "COMPLETED" for job in shown.jobs.values())
    if shown.jobs and not disagreements:
        console.print("PostGIS, GeoParquet and Dagster agree on the count of every run's tiles.")
    console.print(f"API      {api_url}  (OpenAPI: {api_url}/docs)\nDagster  {dagster_url}")
    return bool(shown.jobs) and complete and not disagreements


def submit_all(console: Console, client: DemoClient, scenes: DemoScenes) -> Shown:
    """Register every scene and submit a job for each that the model can take."""
    shown = Shown()
    model = client.model()
    for path in scenes.paths:
        scene = client.register(str(path))
        if isinstance(scene, Refusal):
            shown.refused[path.stem] = scene.detail
            continue
        job = submit(console, client, model, scene)
        if isinstance(job, Refusal):
            shown.refused[scene["key"]] = job.detail
        else:
            shown.jobs[scene["key"]] = job
    return shown


def submit(
    console: Console, client: DemoClient, model: str, scene: dict[str, Any]
) -> dict[str, Any] | Refusal:
    """Submit a job; where only the pixel size stands in the way, say so and accept it."""
    request = {"model": model, "scenes": [scene["key"]], "name": f"demo {scene['key']}"}
    job = client.submit(**request)
    if isinstance(job, Refusal) and job.is_gsd_mismatch:
        console.print(
            f"[yellow]{scene['key']}: its pixels are {scene['gsd_m']:.3g} m, outside the model's "
            "range. It runs with accept_gsd_mismatch, so its classes are not to be trusted.[/]"
        )
        job = client.submit(**request, accept_gsd_mismatch=True)
    return job


def follow(console: Console, client: DemoClient, shown: Shown) -> None:
    """Show a bar per job until all have ended."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles  {task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = {
            name: progress.add_task(name, total=job["tiles_planned"], state=job["state"])
            for name, job in shown.jobs.items()
        }
        while open_jobs := [n for n, job in shown.jobs.items() if job["state"] not in FINAL]:
            for name in open_jobs:
                job = shown.jobs[name] = client.job(shown.jobs[name]["id"])
                kinds = ("completed", "failed", "reused", "skipped")
                done = sum(job[f"tiles_{kind}"] for kind in kinds)
                progress.update(bars[name], completed=done, state=job["state"])
            time.sleep(POLL_S)


def table(shown: Shown) -> Table:
    """Every scene's outcome."""
    result = Table("scene", "state", "tiles", "km2", "seconds", "device", box=SIMPLE)
    for name, job in shown.jobs.items():
        run = job["runs"][-1]
        result.add_row(
            name,
            job["state"],
            tiles_text(job),
            f"{job['area_km2']:,.1f}",
            f"{run['metrics'].get('device_s', 0):.1f}",
            "simulated" if run["simulated"] else str(run["device_uuid"]),
        )
    for name in shown.refused:
        result.add_row(name, "refused")
    return result


def tiles_text(job: dict[str, Any]) -> str:
    """Tiles of a job in short."""
    parts = [str(job["tiles_completed"])]
    if job["tiles_reused"]:
        parts.append(f"{job['tiles_reused']} reused")
    if job["tiles_failed"]:
        parts.append(f"{job['tiles_failed']} failed")
    if job["tiles_skipped"]:
        parts.append(f"{job['tiles_skipped']} skipped")
    return ", ".join(parts)


def outputs_lines(shown: Shown) -> list[str]:
    """Where each job's outputs lie, or why it has none."""
    lines = []
    for name, job in shown.jobs.items():
        places = job["runs"][-1]["metrics"].get("outputs", {})
        found = [short(places[kind]) for kind in OUTPUTS if places.get(kind)]
        lines += [f"{name}: {text}" for text in found or [str(job["error"] or "no outputs")]]
    return lines


def refusal_lines(shown: Shown) -> list[str]:
    """Why scenes were refused."""
    return [f"{name} was refused: {reason}" for name, reason in shown.refused.items()]


def short(path: str) -> str:
    """A path relative to where the user stands, where it lies below."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def compare(client: DemoClient, dagster_url: str, name: str, job: dict[str, Any]) -> list[str]:
    """Where PostGIS, GeoParquet and Dagster disagree on a job's last run."""
    run = job["runs"][-1]
    if run["state"] != "COMPLETED":
        return []
    counts = {
        "PostGIS": client.count_tiles(run["id"]),
        "GeoParquet": predictions.count(Path(run["metrics"]["outputs"]["predictions"])),
        "Dagster": dagster_row_count(dagster_url, run["id"]),
        "the API": run["tiles_completed"] + run["tiles_failed"] + run["tiles_skipped"],
    }
    if len(set(counts.values())) == 1:
        return []
    return [f"{name}: counts differ: " + ", ".join(f"{k} {v}" for k, v in counts.items())]
