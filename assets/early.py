"""The early start: a run's work begins once its device is leased, beside Dagster's own start.

Dagster takes about 0.1 s from a run's start to the first line of its step: a tenth of a second in
which the engine would be idle. The step finds the work begun and follows it.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

from dagster import DagsterRun

from assets.begun import BegunRun, Tools
from assets.predictions import PredictionConfig, begin_work, begun
from constellation_pipelines.domain import names
from constellation_pipelines.domain.errors import LeaseLost, NotFound
from constellation_pipelines.geo.place import Places
from constellation_pipelines.geo.tiling import tile_windows
from constellation_pipelines.launcher import tags
from constellation_pipelines.store import (
    models,
    plans,
    profiles,
    queue,
    scenes,
    tile_attempts,
    tiles,
)
from constellation_pipelines.store.database import Connection, Database
from resources.engines import EnginesResource
from resources.lake import LakeResource

# Dagster's start and the engine would share the processor where the device is a simulated one, and
# whoever submitted the job waits for a tile, not for Dagster: it waits this long at most.
HOLD_S = 0.25
AHEAD_TILES = 16  # whose places on Earth are worked out while the engine has the first of them

NO_RUN = UUID(int=0)


class EarlyStart:
    """Begins runs of prediction jobs; `models` are the models' names by name of the Dagster job."""

    def __init__(
        self,
        models: Mapping[str, str],
        *,
        database_url: str,
        lake: LakeResource,
        engines: EnginesResource,
    ) -> None:
        self._models = models
        self._database_url = database_url
        self._lake = lake
        self._engines = engines
        self._tools: Tools | None = None

    def prepare(self) -> None:
        """Open the database, and do once what is slow only the first time."""
        with self._opened().database.transaction() as connection:
            rehearse(connection)

    def begin(self, run: DagsterRun) -> None:
        """Begin the work of a prediction job's run; any other run begins in its step."""
        model = self._models.get(run.job_name)
        partition = run.tags.get(tags.PARTITION)
        if model is None or partition is None:
            return
        steps = run.step_keys_to_execute
        if steps is not None and names.predictions_op(model) not in steps:
            return
        run_id, options = UUID(run.run_id), config_of(run, model).options()
        work = begin_work(self._opened(), run_id, partition, model, options)
        begun[run_id] = work
        look_ahead(work)
        work.wait_for_first_tile(HOLD_S)

    def _opened(self) -> Tools:
        """Only ever called after the fork, for connections do not survive one."""
        if self._tools is None:
            database = Database(self._database_url, max_size=4, timeout_s=30)
            self._tools = Tools(database, self._lake, self._engines)
        return self._tools


def config_of(run: DagsterRun, model: str) -> PredictionConfig:
    """The config of the run's prediction step; its defaults where the run gives none."""
    ops: Any = run.run_config.get("ops", {})
    return PredictionConfig(**ops.get(names.predictions_op(model), {}).get("config", {}))


def look_ahead(work: BegunRun) -> None:
    """Work out where the first tiles lie; a plan that failed is the step's to tell."""
    try:
        plan = work.plan()
    except Exception:
        return
    plan.places.look_ahead(sorted(plan.todo)[:AHEAD_TILES])


def rehearse(connection: Connection) -> None:
    """Go through the statements of a run's start once, for no run: the server looks up what it
    needs in a new connection's first statements, and takes several times as long for them.
    """
    plans.begin(connection, NO_RUN)
    with suppress(NotFound):
        plans.request_of(connection, NO_RUN)
    with suppress(NotFound):
        scenes.find(connection, "")
    with suppress(LeaseLost):
        queue.guard(connection, queue.Lease(NO_RUN, 0))
    known = models.list_all(connection)
    for scene in scenes.list_page(connection, limit=1):
        for model in known[:1]:
            windows = tile_windows(scene.grid, model.card.tile_unit_px)
            Places(scene.grid).of(windows[:1])
    plans.bind(connection, NO_RUN, scene_id=NO_RUN, model_id=NO_RUN, model="", planned=0, reused=0)
    profiles.of_devices(connection, [], "", 1)
    tile_attempts.of_run(connection, NO_RUN)
    tiles.rehearse(connection, NO_RUN)
