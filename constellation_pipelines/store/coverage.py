"""Coverage: which map cells a model has seen, pre-aggregated for low zooms.

Cells are Web Mercator squares: at zoom z, 2^z of them along each axis. A scene's cells are
recounted from all valid tiles that touch them, so that running it again changes nothing.
"""

from typing import Any
from uuid import UUID

from constellation_pipelines.store.database import Connection

CELL_ZOOM = 12  # 64 x 64 cells in a map tile of zoom 6; coarser zooms roll up from here

# A tile counts in one cell: that of a point near its middle. The centroid will not do, for that of
# a tile across 180 degrees lies on the other side of the Earth.
CELLS = """
create or replace temporary view tile_cells as
select t.model_id, t.scene_id, t.top_class, t.area_km2,
       least(4095, floor((st_x(p) + 20037508.342789244) / 40075016.685578488 * 4096))::int as x,
       least(4095, floor((20037508.342789244 - st_y(p)) / 40075016.685578488 * 4096))::int as y
  from constellation.tiles t, lateral st_pointonsurface(t.geom_3857) p
 where t.state = 'COMPLETED' and t.valid_fraction > 0 and not st_isempty(t.geom_3857)
"""

# Two runs may touch the same cells: who counts last must also have looked last.
LOCK = "select pg_advisory_xact_lock(hashtextextended('coverage ' || %(model_id)s::text, 0))"

RECOUNT = """
insert into constellation.coverage_cells (model_id, z, x, y, tiles, area_km2, top_class, updated_at)
select model_id, %(zoom)s, x, y, count(*), sum(area_km2), mode() within group (order by top_class),
       clock_timestamp()
  from tile_cells
 where model_id = %(model_id)s
   and (x, y) in (select x, y from tile_cells
                   where model_id = %(model_id)s and scene_id = %(scene_id)s)
 group by model_id, x, y
on conflict (model_id, z, x, y) do update
   set tiles = excluded.tiles, area_km2 = excluded.area_km2, top_class = excluded.top_class,
       updated_at = excluded.updated_at
"""

SUMMARY = """
select count(*)::int as tiles, coalesce(sum(area_km2), 0)::float8 as area_km2,
       coalesce(sum(area_km2 * valid_fraction), 0)::float8 as valid_area_km2,
       st_asgeojson(st_simplify(st_unaryunion(st_collect(footprint::geometry)), 0.0001))::jsonb
         as footprint
  from constellation.tiles
 where model_id = %(model_id)s and scene_id = %(scene_id)s and state = 'COMPLETED'
"""


def refresh(connection: Connection, *, model_id: UUID, scene_id: UUID) -> int:
    """Recount the cells that a scene touches; return how many there are."""
    connection.execute(CELLS)
    args = {"model_id": model_id, "scene_id": scene_id, "zoom": CELL_ZOOM}
    connection.execute(LOCK, args)
    return connection.execute(RECOUNT, args).rowcount


def of_scene(connection: Connection, *, model_id: UUID, scene_id: UUID) -> dict[str, Any]:
    """Tiles, areas in km2 and the covered footprint (GeoJSON, lon/lat) of a scene by a model."""
    args = {"model_id": model_id, "scene_id": scene_id}
    row = connection.execute(SUMMARY, args).fetchone()
    return dict(row or {})
