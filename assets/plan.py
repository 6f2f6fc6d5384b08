"""What a prediction run will do: which scene, which model, which tiles are still missing."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from assets.products import are_there
from constellation_pipelines.domain.errors import AoiMissesScene, NotFound
from constellation_pipelines.domain.fit import Fit, fit
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.domain.window import Window
from constellation_pipelines.geo.place import Places
from constellation_pipelines.geo.planned import planned_tiles
from constellation_pipelines.geo.tiling import area_of
from constellation_pipelines.inference.work_raster import are_whole
from constellation_pipelines.lake.files import RunFiles
from constellation_pipelines.store import models, plans, scenes, tiles
from constellation_pipelines.store.database import Connection
from resources.lake import LakeResource


@dataclass(frozen=True, slots=True)
class Options:
    """How a run treats its scene. `reuse` skips tiles that another run has done already."""

    accept_gsd_mismatch: bool = False
    reuse: bool = True
    max_failed_tile_ratio: float = 0.5
    max_cloud_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A run's work. `digests` names every planned tile; `todo` are those without a result, `reused`
    those that another run has done.
    """

    run_id: UUID
    job_id: UUID
    scene: Scene
    model: Model
    fit: Fit
    files: RunFiles
    digests: dict[Window, str]
    todo: tuple[Window, ...]
    reused: dict[Window, str]
    places: Places
    reuse: bool = True
    max_cloud_fraction: float | None = None
    retried: bool = False  # earlier runs of the same job and scene did not complete

    @property
    def planned(self) -> int:
        """Tiles asked for."""
        return len(self.digests)

    def reused_digests(self) -> list[str]:
        """Digests of the tiles that other runs have done."""
        return list(self.reused.values())


def make_plan(
    connection: Connection,
    run_id: UUID,
    *,
    scene_key: str,
    model_name: str,
    options: Options,
    lake: LakeResource,
) -> Plan:
    """Resolve a run's request, see what is missing, and note both on the run.

    Raises SceneUnfit, AoiMissesScene or NotFound, each with the reason.
    """
    request = plans.request_of(connection, run_id)
    scene = scenes.find(connection, scene_key)
    model = models.find(connection, str(request.params.get("model") or model_name))
    if model.card.name != model_name:
        raise NotFound(f"the job asks for {model.card.reference}, not for {model_name}")
    fitted = fit(
        scene,
        model.card,
        accept_gsd_mismatch=options.accept_gsd_mismatch,
        max_cloud_fraction=options.max_cloud_fraction,
    )
    aoi = request.params.get("aoi")
    digests = digests_of(scene, model, fitted, aoi, options, request.account)
    files = lake.files_of_run(run_id=str(run_id), model=model.card.reference, date=request.date)
    own, others = written(connection, run_id, digests)
    reused = others if options.reuse else set()
    # Tiles of an earlier attempt count as done only while their pixels are still there: in the
    # working rasters, or in outputs that are whole.
    whole = are_there(model.card, files) and len(own | reused) == len(digests)
    worked = are_whole(files.work, model.card, fitted.grid)
    done = reused | (own if worked or whole else set())
    plans.bind(
        connection,
        run_id,
        scene_id=scene.id,
        model_id=model.id,
        model=model.card.reference,
        planned=len(digests),
        reused=len(reused),
    )
    kept = {window: digest for window, digest in digests.items() if digest in reused}
    todo = tuple(window for window, digest in digests.items() if digest not in done)
    return Plan(
        run_id,
        request.job_id,
        scene,
        model,
        fitted,
        files,
        digests,
        todo,
        kept,
        Places(fitted.grid),
        reuse=options.reuse,
        max_cloud_fraction=options.max_cloud_fraction,
        retried=request.retried,
    )


def digests_of(
    scene: Scene,
    model: Model,
    fitted: Fit,
    aoi: dict[str, Any] | None,
    options: Options,
    account: str,
) -> dict[Window, str]:
    """Every tile of the scene that touches the AOI, row-major, with the digest of its result."""
    digests = planned_tiles(
        scene,
        model,
        fitted,
        area=area_of(aoi),
        max_cloud_fraction=options.max_cloud_fraction,
        account=account,
    )
    if not digests:
        raise AoiMissesScene(f"the area of interest does not touch scene {scene.key}", field="aoi")
    return digests


def written(
    connection: Connection, run_id: UUID, digests: dict[Window, str]
) -> tuple[set[str], set[str]]:
    """Digests with a valid result: those this run wrote, and those another one did."""
    writers = tiles.valid(connection, list(digests.values()), run_id)
    own = {digest for digest, writer in writers.items() if writer == run_id}
    return own, writers.keys() - own
