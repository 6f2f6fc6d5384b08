"""The registered scene: where every lineage begins."""

from typing import Any

import dagster as dg

from assets.names import REGISTERED_SCENE
from assets.partitions import scenes
from constellation_pipelines.domain.scene import Scene
from constellation_pipelines.store import scenes as scene_store
from resources.database import DatabaseResource


@dg.asset(
    key=REGISTERED_SCENE,
    partitions_def=scenes,
    group_name="scenes",
    kinds={"geotiff", "postgres"},
    description="A raster that was registered: header, footprint, bands and digest are known.",
)
def registered_scene(
    context: dg.AssetExecutionContext, database: DatabaseResource
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare class
    """Report what the catalogue knows of a scene. Raises NotFound if it was never registered."""
    with database.open() as opened, opened.transaction() as connection:
        scene = scene_store.find(connection, context.partition_key)
    return dg.MaterializeResult(metadata=describe(scene))


def describe(scene: Scene) -> dict[str, Any]:
    """A scene as asset metadata."""
    grid = scene.grid
    return {
        "scene_id": str(scene.id),
        "crs": grid.crs[:200],
        "size_px": f"{grid.width_px} x {grid.height_px}",
        "gsd_m": scene.gsd_m,
        "area_km2": scene.area_km2,
        "bands": ", ".join(band.common_name or band.name for band in scene.bands),
        "acquired": scene.start_at.isoformat() if scene.start_at else "unknown",
        "digest": scene.digest,
        "footprint": dg.MetadataValue.json(scene.footprint),
        "raster": dg.MetadataValue.path(scene.uri),
    }
