"""A worker's part, played by hand: claim a run, commit its tiles, end it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import shapely

from constellation_pipelines.domain.device import Device
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.store import events, plans, queue, tiles, workers
from tests.api.service import MODEL, Service

TILE_PX = 512
DEVICE = Device("SIM-0", 0, "Simulated GPU", 16_000, None, simulated=True)


@dataclass(frozen=True)
class Work:
    """A run on a device."""

    service: Service
    job_id: UUID
    lease: queue.Lease

    @property
    def page(self) -> str:
        return f"/job/?id={self.job_id}"

    def commit_tile(
        self, number: int, *, error: str | None = None, cloud_fraction: float | None = None
    ) -> None:
        """A tile with a result: failed with an error, skipped where it is clouded."""
        box = shapely.MultiPolygon([shapely.box(0, 0, 1, 1)])
        state = TileState.SKIPPED if cloud_fraction is not None else TileState.COMPLETED
        state = TileState.FAILED if error else state
        result = TileResult(
            window=Window(0, number * TILE_PX, TILE_PX, TILE_PX),
            state=state,
            cloud_fraction=cloud_fraction,
            valid_fraction=1.0,
            error=error,
        )
        digest = f"{self.lease.run_id}-{number}"
        row = tiles.TileRow(digest, result, box, box, 26.0, gsd_mismatch=False)
        with self.service.database.transaction() as connection:
            tiles.commit(connection, self.lease, [row])

    def complete(self, metrics: dict[str, Any]) -> None:
        with self.service.database.transaction() as connection:
            plans.record_metrics(connection, self.lease.run_id, metrics)
            queue.finish(connection, self.lease, 0)
        set_state(self.service, self.job_id, self.lease.run_id, "COMPLETED")


def submit(service: Service, scene: str = "coast", **more: Any) -> UUID:
    """A new job over one scene of four tiles, none of them reused."""
    body = {"model": MODEL, "scenes": [scene], "reuse": False} | more
    response = service.http.post("/jobs", json=body)
    assert response.status_code == 202, response.text
    return UUID(response.json()["id"])


def begin(service: Service, job_id: UUID) -> Work:
    """Run the job's only run on the device."""
    run_id = UUID(service.http.get(f"/jobs/{job_id}").json()["runs"][0]["id"])
    with service.database.transaction() as connection:
        worker_id = workers.register(connection, host="here", pid=1, devices=[DEVICE])
        workers.set_ready(connection, worker_id, DEVICE.uuid, True)
        queue.enqueue(
            connection, run_id=run_id, instance_ref="{}", resume=False, priority=0, gpu_count=1
        )
        claim = queue.claim(connection, worker_id)
    assert claim is not None
    assert claim.lease.run_id == run_id
    set_state(service, job_id, run_id, "RUNNING")
    return Work(service, job_id, claim.lease)


def set_state(service: Service, job_id: UUID, run_id: UUID, state: str) -> None:
    """What the trigger on Dagster's runs does."""
    with service.database.transaction() as connection:
        connection.execute("select constellation.lock_job(%s)", (job_id,))
        connection.execute(
            "update constellation.runs set state = %s, started_at = coalesce(started_at, now()) "
            "where id = %s",
            (state, run_id),
        )
        events.emit(connection, f"run.{state.lower()}", job_id, run_id, {"state": state})
        connection.execute("select constellation.settle_job(%s)", (job_id,))
