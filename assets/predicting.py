"""The work of a prediction run: engine results in, committed tiles out."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from assets.plan import Plan
from constellation_pipelines.domain.errors import EngineFailed, ServiceUnavailable
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.inference.protocol import PredictOrder
from constellation_pipelines.store import tiles
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.queue import Lease

COMMIT_TILES = 64
COMMIT_S = 0.2
ENGINE_ATTEMPTS = 3
ENGINE_RETURN_S = 60.0
DATABASE_RETURN_S = 60.0


@dataclass(frozen=True, slots=True)
class Committer:
    """Writes results under the run's lease."""

    database: Database
    lease: Lease
    plan: Plan

    def commit(self, results: list[TileResult]) -> tiles.Progress:
        """Commit some tiles, waiting for a database that is away for a moment.

        Raises LeaseLost when the run has passed to another process, ServiceUnavailable when the
        database stays away.
        """
        rows = self._rows(results)
        deadline = time.monotonic() + DATABASE_RETURN_S
        while True:
            try:
                with self.database.transaction() as connection:
                    return tiles.commit(connection, self.lease, rows, replace=not self.plan.reuse)
            except ServiceUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)  # writing the same tiles again leaves one row of each

    def _rows(self, results: list[TileResult]) -> list[tiles.TileRow]:
        places = self.plan.places.of([result.window for result in results])
        return [
            tiles.TileRow(
                digest=self.plan.digests[result.window],
                result=result,
                footprint=place.footprint,
                mercator=place.mercator,
                area_km2=place.area_km2,
                gsd_mismatch=self.plan.fit.gsd_mismatch,
            )
            for result, place in zip(results, places, strict=True)
        ]


def in_batches(results: Iterable[TileResult]) -> Iterator[list[TileResult]]:
    """Group results so that the first is committed at once, and others when the next one comes."""
    batch: list[TileResult] = []
    committed_at = 0.0
    for result in results:
        batch.append(result)
        if len(batch) >= COMMIT_TILES or time.monotonic() - committed_at >= COMMIT_S:
            yield batch
            batch = []
            committed_at = time.monotonic()
    if batch:
        yield batch


def predict(
    client: EngineClient,
    committer: Committer,
    work_raster: Path,
    report: Callable[[tiles.Progress], None],
    warn: Callable[[str], None],
) -> None:
    """Run every tile that is still missing. An engine that dies is waited for, and goes on.

    Raises EngineFailed when it keeps dying or refuses the order, LeaseLost when the lease is gone.
    """
    order = order_of(committer.plan, work_raster)
    for attempt in range(1, ENGINE_ATTEMPTS + 1):
        done: set[Window] = set()
        try:
            for batch in in_batches(client.predict(order)):
                report(committer.commit(batch))
                done |= {result.window for result in batch}
            return
        except EngineFailed as error:
            if error.code != EngineFailed.code or attempt == ENGINE_ATTEMPTS:
                raise
            warn(f"{error.message}; attempt {attempt + 1} goes on with the tiles still missing")
            wait_for_engine(client)
        order = replace(order, windows=tuple(w for w in order.windows if w not in done))


def order_of(plan: Plan, work_raster: Path) -> PredictOrder:
    """What the engine is asked to do."""
    return PredictOrder(
        run_id=str(plan.run_id),
        model_folder=plan.model.folder,
        model_digest=plan.model.digest,
        uri=plan.scene.uri,
        grid=plan.scene.grid,
        bands=plan.fit.bands,
        nodata=plan.scene.nodata,
        windows=plan.todo,
        work_raster=str(work_raster),
    )


def wait_for_engine(client: EngineClient) -> None:
    """Wait until the worker has brought the engine back. Raises EngineFailed after a minute."""
    deadline = time.monotonic() + ENGINE_RETURN_S
    while True:
        try:
            client.hello()
            return
        except EngineFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
