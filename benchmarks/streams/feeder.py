"""A job whose tiles are committed as runs commit them, at a pace, each commit with its instant."""

import json
import sys
import time
from dataclasses import asdict
from itertools import islice
from uuid import UUID

import shapely

from benchmarks.streams.plan import Plan
from constellation_pipelines.domain.states import TileState
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.store import queue, tiles
from constellation_pipelines.store.database import Database
from tests.store import fleet
from tests.store.test_tiles import new_model, new_scene

TILE_PX = 512
ACROSS = 100  # tiles in a row of the scene


def new_job(database: Database, plan: Plan, salt: str) -> tuple[UUID, list[queue.Lease]]:
    """A running job, and the leases of its runs, on a host of their own."""
    devices = [fleet.gpu(f"SIM-{salt}-{n}", n) for n in range(plan.runs)]
    worker = fleet.host(database, *devices, name=f"host-{salt}")
    model, job = new_model(database), fleet.job(database, account="local")
    leases = []
    for _ in range(plan.runs):
        run = fleet.run_of(database, job, model_id=model, tiles=plan.events)
        database.execute(
            "update constellation.runs set scene_id = %s, account = 'local' where id = %s",
            (new_scene(database), run),
        )
    for _ in range(plan.runs):
        claim = fleet.claim(database, worker)
        assert claim is not None
        leases.append(claim.lease)
    return job, leases


def row(run: int, number: int) -> tiles.TileRow:
    """The result of a run's tile."""
    row_px, col_px = number // ACROSS * TILE_PX, number % ACROSS * TILE_PX
    west, south = col_px * 1e-4, 50 - row_px * 1e-4
    footprint = shapely.MultiPolygon([shapely.box(west, south, west + 0.05, south + 0.05)])
    result = TileResult(
        window=Window(row_px, col_px, TILE_PX, TILE_PX),
        state=TileState.COMPLETED,
        class_counts={1: 40, 2: 20, 3: 4},
        confidence=0.9173,
        valid_fraction=1.0,
        error=None,
    )
    mercator = shapely.transform(footprint, lambda xy: xy * 111_319.49)
    digest = f"{run:x}-{number:x}".rjust(64, "0")
    return tiles.TileRow(digest, result, footprint, mercator, 26.2, gsd_mismatch=False)


def work(database_url: str, plan_json: str, salt: str) -> None:
    """Prepare, say the job's id, wait for a line, commit, say `[[run, count, at_s], ...]`.

    The instants are those of the monotonic clock, which all processes of a machine share.
    """
    plan = Plan(**json.loads(plan_json))
    database = Database(database_url)
    job, leases = new_job(database, plan, salt)
    prepared = []
    numbers = [iter(range(plan.events)) for _ in leases]
    for due_s, run, count in plan.commits:
        digits = int(salt) * plan.runs + run
        prepared.append((due_s, run, [row(digits, n) for n in islice(numbers[run], count)]))
    with database.transaction() as connection:
        tiles.rehearse(connection, UUID(int=0))
    print(job, flush=True)
    sys.stdin.readline()
    began_s, done = time.monotonic(), []
    for due_s, run, rows in prepared:
        time.sleep(max(0.0, began_s + due_s - time.monotonic()))
        with database.transaction() as connection:
            tiles.commit(connection, leases[run], rows)
        done.append((str(leases[run].run_id), len(rows), time.monotonic()))
    print(json.dumps(done), flush=True)
    database.close()


def argument(plan: Plan) -> str:
    """A plan as a process takes it."""
    return json.dumps(asdict(plan))
