"""Footprints of tiles, as GeoJSON made by PostGIS."""

from uuid import UUID

from constellation_pipelines.store.database import Connection

COLLECTION = """
with page as (
  select * from constellation.tiles
   where run_id = %(run_id)s and (row_off_px, col_off_px) > (%(after_row)s, %(after_col)s)
   order by row_off_px, col_off_px
   limit %(limit)s
)
select jsonb_build_object(
  'type', 'FeatureCollection',
  'features', coalesce(jsonb_agg(jsonb_build_object(
    'type', 'Feature',
    'id', id,
    'geometry', st_asgeojson(footprint, 7)::jsonb,
    'properties', jsonb_build_object(
      'row_off_px', row_off_px, 'col_off_px', col_off_px,
      'height_px', height_px, 'width_px', width_px,
      'state', state, 'class_counts', class_counts, 'top_class', top_class,
      'confidence', confidence, 'statistics', statistics, 'valid_fraction', valid_fraction,
      'cloud_fraction', cloud_fraction, 'gsd_mismatch', gsd_mismatch,
      'area_km2', area_km2, 'read_ms', read_ms, 'infer_ms', infer_ms, 'error', error)
    ) order by row_off_px, col_off_px), '[]'::jsonb),
  'next', case when count(*) = %(limit)s then
    (array_agg(row_off_px || ',' || col_off_px order by row_off_px desc, col_off_px desc))[1] end
)::text as document
from page
"""


def collection(
    connection: Connection, run_id: UUID, *, after: tuple[int, int] = (-1, -1), limit: int
) -> str:
    """A GeoJSON FeatureCollection of the tiles a run wrote, row-major, below `after` (row, column).

    Its member `next` is "row,column" of the last feature when there may be more, else null.
    """
    args = {"run_id": run_id, "after_row": after[0], "after_col": after[1], "limit": limit}
    row = connection.execute(COLLECTION, args).fetchone()
    assert row is not None
    return str(row["document"])
