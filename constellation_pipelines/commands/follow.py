"""Following a job to its end."""

import time
from typing import Any

from constellation_pipelines.commands.client import Client, segment
from constellation_pipelines.commands.output import printable
from constellation_pipelines.domain.errors import ServiceUnavailable

POLL_S = 0.3
PATIENCE_S = 60.0  # how long the API may be away, for a restart
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


def follow(client: Client, job_id: str, *, quiet: bool = False) -> dict[str, Any]:
    """Wait for a job to end, with a progress bar of its tiles on stderr; return it.

    Raises ServiceUnavailable when the API stays away.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    path = f"/jobs/{segment(job_id)}"
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles"),
        TimeElapsedColumn(),
    )
    job: dict[str, Any] = client.get(path)  # before the bar, so that a refusal stands alone
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task("", total=None)
        while True:
            progress.update(
                task,
                description=f"{printable(job['name'][:40])} {job['state']}",
                total=job["tiles_planned"],
                completed=done(job),
            )
            if job["state"] in FINAL:
                return job
            time.sleep(POLL_S)
            job = patient_get(client, path)


def done(item: dict[str, Any]) -> int:
    """Tiles of a job or run that are through, reused ones included."""
    kinds = ("reused", "completed", "failed", "skipped")
    return sum(int(item[f"tiles_{kind}"]) for kind in kinds)


def patient_get(client: Client, path: str) -> dict[str, Any]:
    """A reply, though the API may be away for a moment."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            found: dict[str, Any] = client.get(path)
            return found
        except ServiceUnavailable:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)


def outcome_of(job: dict[str, Any]) -> str:
    """How a job ended, in one line."""
    reason = f": {job['error']}" if job["error"] else ""
    return f"job {job['id']} is {job['state']}{reason}"
