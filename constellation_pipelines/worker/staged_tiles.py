"""Which tiles of a remote scene a run will read, in the order in which it will."""

from dataclasses import dataclass
from uuid import UUID

import numpy as np

from constellation_pipelines.domain.fit import fit
from constellation_pipelines.domain.scene import Grid, Scene
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.planned import planned_tiles
from constellation_pipelines.geo.tiling import area_of
from constellation_pipelines.remote.mirror import Mirror
from constellation_pipelines.remote.needs import Needs
from constellation_pipelines.remote.tiff import Numbers
from constellation_pipelines.store import models, scenes, stagings, tiles
from constellation_pipelines.store.database import Connection


@dataclass(frozen=True, slots=True)
class Wanted:
    """Tiles of `grid` that a run reads with `halo_px` around; None for the whole raster."""

    scene: Scene
    windows: tuple[Window, ...] | None
    grid: Grid
    halo_px: int = 0

    @property
    def nothing(self) -> bool:
        """Whether the run needs no pixel at all."""
        return self.windows == ()

    def blocks(self, mirror: Mirror) -> Numbers:
        """The blocks they need, in the order of need, each once."""
        if self.windows is None:
            return np.arange(len(mirror.offsets), dtype=np.int64)
        needs = Needs(mirror, self.scene.grid, self.grid, self.halo_px)
        return needs.of_all(self.windows)


def wanted_of(connection: Connection, order: stagings.Order) -> Wanted:
    """What the run of an order will read. Where only Dagster knows its model: everything.

    Raises SceneUnfit, AoiMissesScene or NotFound, which the run would raise too.
    """
    scene = scenes.get(connection, order.scene_id)
    request = stagings.request_of(connection, order.run_id)
    if request.model is None:
        return Wanted(scene, None, scene.grid)
    model = models.find(connection, request.model)
    accept = bool(request.params.get("accept_gsd_mismatch"))
    fitted = fit(scene, model.card, accept_gsd_mismatch=accept)
    digest_of = planned_tiles(
        scene,
        model,
        fitted,
        area=area_of(request.params.get("aoi")),
        max_cloud_fraction=request.params.get("max_cloud_fraction"),
        account=request.account,
    )
    reuse = bool(request.params.get("reuse", True))
    missing, done = parted(connection, order.run_id, digest_of, reuse=reuse)
    windows = (*missing, *done) if order.everything else tuple(missing)
    return Wanted(scene, windows, fitted.grid, model.card.halo_px)


def parted(
    connection: Connection, run_id: UUID, digest_of: dict[Window, str], *, reuse: bool
) -> tuple[list[Window], list[Window]]:
    """Windows without a result that this run builds on, and those with one."""
    writers = tiles.valid(connection, list(digest_of.values()), run_id)
    done = {digest for digest, writer in writers.items() if reuse or writer == run_id}
    return (
        [window for window, digest in digest_of.items() if digest not in done],
        [window for window, digest in digest_of.items() if digest in done],
    )
