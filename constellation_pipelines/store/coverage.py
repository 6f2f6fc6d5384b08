"""Coverage: where a model has been, of a scene and of all, in the rows that a transaction sees.

Triggers of the database note what each statement changes; `settle` adds that to the map's cells and
to the totals, and whoever reads adds up both.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from constellation_pipelines.store.database import Connection

SETTLE = "select constellation.settle_coverage(%(most)s) as settled"

SCENE = """
select count(*)::int as tiles, coalesce(sum(area_km2), 0)::float8 as area_km2,
       coalesce(sum(area_km2 * valid_fraction), 0)::float8 as valid_area_km2,
       st_asgeojson(st_simplify(st_unaryunion(st_collect(footprint::geometry)), 0.0001))::jsonb
         as footprint
  from constellation.tiles
 where model_id = %(model_id)s and scene_id = %(scene_id)s and state = 'COMPLETED'
"""

COVERED = """
with known as (
  select model_id, tiles, area_m2, west_m, south_m, east_m, north_m, computed_at
    from constellation.coverage_totals
   union all
  select model_id, tiles, area_m2, west_m, south_m, east_m, north_m, computed_at
    from constellation.coverage_changes),
covered as (
  select model_id, sum(tiles)::int as tiles, sum(area_m2)::float8 / 1e6 as area_km2,
         max(computed_at) as computed_at,
         st_transform(st_makeenvelope(min(west_m), min(south_m), max(east_m), max(north_m), 3857),
                      4326) as box
    from known
   where %(model_id)s::uuid is null or model_id = %(model_id)s
   group by model_id having sum(tiles) > 0)
select m.id as model_id, m.name || '@' || m.version as model, tiles, area_km2, computed_at,
       array[st_xmin(box), st_ymin(box), st_xmax(box), st_ymax(box)] as bounds
  from covered join constellation.models m on m.id = covered.model_id
 order by m.name, m.version
"""

# Changes are only ever added, and settled ones stay counted, so this grows with every one that
# becomes visible, in whatever order transactions commit.
CHANGES = """
select (select coalesce(sum(changes), 0) from constellation.coverage_totals
         where model_id = %(model_id)s)::bigint
     + (select count(*) from constellation.coverage_changes where model_id = %(model_id)s) as n
"""


@dataclass(frozen=True, slots=True)
class Covered:
    """What a model covered. `bounds` are west, south, east, north in degrees; they hold all that
    was ever covered.
    """

    model_id: UUID
    model: str
    tiles: int
    area_km2: float
    computed_at: datetime
    bounds: list[float]


def covered(connection: Connection, model_id: UUID | None = None) -> list[Covered]:
    """What each model covered, or one of them."""
    return [Covered(**row) for row in connection.execute(COVERED, {"model_id": model_id})]


def of_scene(connection: Connection, *, model_id: UUID, scene_id: UUID) -> dict[str, Any]:
    """Tiles, areas in km2 and the covered footprint (GeoJSON, lon/lat) of a scene by a model."""
    args = {"model_id": model_id, "scene_id": scene_id}
    row = connection.execute(SCENE, args).fetchone()
    return dict(row or {})


def changes(connection: Connection, model_id: UUID) -> int:
    """How often what a model covered has changed: the same number, the same map."""
    row = connection.execute(CHANGES, {"model_id": model_id}).fetchone()
    assert row is not None  # a row of scalar subqueries is always there
    return int(row["n"])


def settle(connection: Connection, most: int) -> int:
    """Add up to `most` changes to the cells and totals, oldest first; return how many they were.

    None where another transaction is at it: 0.
    """
    row = connection.execute(SETTLE, {"most": most}).fetchone()
    assert row is not None  # a function's value
    return int(row["settled"])
