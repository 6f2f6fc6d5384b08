"""Rows that a deployment has after a year: scenes all over the world, jobs, tiles.

Every fourth job asked for the western half of its scene only.
"""

from constellation_pipelines.store.database import Connection

SCENES, JOBS, TILES = 1_000, 100_000, 1_000_000

# Foreign keys and triggers hold for these rows by the way they are made.
UNCHECKED = "set session_replication_role = replica"

# A scene of a degree each, spread over the land's latitudes; copies of the one that is there.
FILL_SCENES = """
insert into constellation.scenes
select (jsonb_populate_record(s, jsonb_build_object(
         'id', gen_random_uuid(), 'key', 'filled-' || n, 'uri', s.uri || n,
         'digest', md5(n::text) || md5('s' || n)))).*
  from constellation.scenes s, generate_series(1, %(scenes)s) n where s.key = %(scene)s
"""

MOVE_SCENES = """
update constellation.scenes
   set footprint = st_multi(st_makeenvelope(lon, lat, lon + 1, lat + 1, 4326))::geography
  from (select id as moved, (hashtext(key) %% 1750) / 10.0 as lon,
               (hashtext(key || 'lat') %% 600) / 10.0 as lat
          from constellation.scenes) places
 where id = moved and key like 'filled-%%'
"""

FILL_JOBS = """
insert into constellation.jobs
       (id, name, params, priority, state, origin, submitted_by, created_at, started_at,
        finished_at)
select gen_random_uuid(), 'job ' || n,
       jsonb_build_object('model', %(model)s::text, 'scenes', jsonb_build_array('filled-1'),
         'aoi', null, 'accept_gsd_mismatch', false, 'reuse', true, 'max_failed_tile_ratio', 0.5,
         'mode', 'parallel', 'gpu_count', 1, 'gpu_mem_mb', null, 'max_cloud_fraction', null),
       0, case when n %% 50 = 0 then 'FAILED' else 'COMPLETED' end, 'api', 'local', at, at, at
  from (select n, now() - n * interval '5 minutes' as at from generate_series(1, %(jobs)s) n) made
"""

FILL_RUNS = """
insert into constellation.runs
       (id, job_id, account, scene_id, model_id, state, attempt, tiles_planned, tiles_reused,
        tiles_completed, created_at, started_at, finished_at, metrics, ground)
select gen_random_uuid(), j.id, j.submitted_by, s.id, m.id, j.state, 1, %(tiles)s / %(jobs)s, 0,
       %(tiles)s / %(jobs)s, j.created_at, j.created_at, j.created_at, '{"area_km2": 262.1}',
       case when hashtext(j.id::text) %% 4 = 0 then s.west end
  from (select *, row_number() over () as n from constellation.jobs) j
  join (select id, row_number() over () as n,
               st_multi(st_makeenvelope(st_xmin(f), st_ymin(f), st_xmin(f) + 0.5, st_ymax(f), 4326))
                 ::geography as west
          from constellation.scenes, lateral (select footprint::geometry as f) g
         where key like 'filled-%%') s
    on s.n = j.n %% %(scenes)s + 1
 cross join (select id from constellation.models limit 1) m
"""

# A job's tiles are rows of one half or both of its scene's; each place is projected once.
FILL_TILES = """
with place as materialized (
  select id as scene_id, half, n, shape::geography as footprint, st_transform(shape, 3857) as plane
    from constellation.scenes
   cross join (values (true, 1, 0.5), (false, 2, 0.5)) as cut (half, columns, width)
   cross join generate_series(0, %(tiles)s / %(jobs)s - 1) n
   cross join lateral (
     select (%(tiles)s / %(jobs)s / columns) as rows, st_xmin(footprint::geometry) as west,
            st_ymin(footprint::geometry) as south) corner
   cross join lateral (
     select st_multi(st_makeenvelope(
              west + n %% columns * width, south + (n / columns) * 1.0 / rows,
              west + (n %% columns + 1) * width, south + (n / columns + 1) * 1.0 / rows, 4326))
            as shape) placed
   where key like 'filled-%%'
)
insert into constellation.tiles (id, digest, scene_id, model_id, run_id, job_id, account,
       row_off_px, col_off_px, height_px, width_px, state, footprint, geom_3857, area_km2,
       class_counts, top_class, confidence, valid_fraction, read_ms, infer_ms)
select gen_random_uuid(), md5(r.id::text || p.n) || md5(p.n::text || r.id::text), r.scene_id,
       r.model_id, r.id, r.job_id, r.account, p.n * 512, 0, 512, 512, 'COMPLETED', p.footprint,
       p.plane, 26.2, '{"0": 64}', 0, 0.9, 1, 1, 1
  from constellation.runs r
  join place p on p.scene_id = r.scene_id and p.half = (r.ground is not null)
"""

# An index over many rows is made in a fraction of the time that as many insertions take.
INDEXES = """
select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition
  from pg_index where indrelid = 'constellation.tiles'::regclass
   and not exists (select 1 from pg_constraint where conindid = indexrelid)
"""


def fill(connection: Connection, scene: str, model: str, *, tiles: int = TILES) -> None:
    """Fill the tables of a database that has one scene and one model."""
    args = {"scenes": SCENES, "jobs": JOBS, "tiles": tiles, "scene": scene, "model": model}
    connection.execute(UNCHECKED)
    for statement in (FILL_SCENES, MOVE_SCENES, FILL_JOBS, FILL_RUNS):
        connection.execute(statement, args)
    indexes = connection.execute(INDEXES).fetchall()
    for index in indexes:
        connection.execute(f"drop index {index['name']}")
    connection.execute(FILL_TILES, args)
    connection.execute("set local maintenance_work_mem = '512MB'")
    for index in indexes:
        connection.execute(index["definition"])
    connection.execute("set session_replication_role = origin")
