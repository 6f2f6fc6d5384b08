"""What a retry takes over from runs that failed or were cancelled: their tiles and the pixels."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from assets.plan import Plan
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.work_raster import WorkRaster, are_whole, layouts
from constellation_pipelines.lake.files import RunFiles, remove_work
from constellation_pipelines.store import adoption
from constellation_pipelines.store.adoption import EarlierRun
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.queue import Lease
from resources.lake import LakeResource


def adopt(database: Database, lease: Lease, plan: Plan, lake: LakeResource) -> Plan:
    """Take over the finished tiles of earlier runs of the same job and scene.

    Returns the plan without them. Pixels first, rows after: whatever dies in between, a row never
    lacks its pixels. Raises LeaseLost.
    """
    for earlier in earlier_runs(database, plan.run_id):
        work = files_of(plan, earlier, lake).work
        window_of = {plan.digests[window]: window for window in plan.todo}
        with database.transaction() as connection:
            found = adoption.tiles_of(connection, earlier.id, list(window_of))
        if not found or not are_whole(work, plan.model.card, plan.fit.grid):
            continue
        copy_pixels(work, plan, [window_of[digest] for digest in found])
        with database.transaction() as connection:
            taken = adoption.adopt(connection, lease, found)
        todo = tuple(window for window in plan.todo if plan.digests[window] not in taken)
        plan = replace(plan, todo=todo)
    return plan


def settle(database: Database, lease: Lease, plan: Plan) -> Plan:
    """The plan with what other runs have committed meanwhile among its reused tiles."""
    with database.transaction() as connection:
        computed = [plan.digests[window] for window in plan.todo]
        others = adoption.settle(connection, lease, computed, list(plan.digests.values()))
    reused = {window: digest for window, digest in plan.digests.items() if digest in others}
    return replace(plan, reused=reused)


def forget_earlier(database: Database, lease: Lease, plan: Plan, lake: LakeResource) -> None:
    """Remove the files of earlier runs, once this run has outputs that hold all they held."""
    for earlier in earlier_runs(database, plan.run_id):
        files = files_of(plan, earlier, lake)
        remove_work(files)
        for path in files.all():
            path.unlink(missing_ok=True)
        with database.transaction() as connection:
            adoption.forget(connection, lease, earlier.id)


def earlier_runs(database: Database, run_id: UUID) -> list[EarlierRun]:
    """The unfinished runs that a run may build on, newest first."""
    with database.transaction() as connection:
        return adoption.earlier_runs(connection, run_id)


def files_of(plan: Plan, earlier: EarlierRun, lake: LakeResource) -> RunFiles:
    """Where an earlier run of the same model has its files."""
    reference = plan.model.card.reference
    return lake.files_of_run(run_id=str(earlier.id), model=reference, date=earlier.date)


def copy_pixels(source: Path, plan: Plan, windows: list[Window]) -> None:
    """Copy windows from one folder of working rasters into that of the plan."""
    grid = plan.fit.grid
    plan.files.work.mkdir(parents=True, exist_ok=True)
    for layout in layouts(plan.model.card):
        with (
            WorkRaster(source, layout, grid) as earlier,
            WorkRaster(plan.files.work, layout, grid) as work,
        ):
            for window in windows:
                work.write(window, earlier.read(window))
