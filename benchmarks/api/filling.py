"""Rows that a deployment has after a year: scenes all over the world, jobs, tiles."""

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
        tiles_completed, created_at, started_at, finished_at, metrics)
select gen_random_uuid(), j.id, j.submitted_by, s.id, m.id, j.state, 1, 10, 0, 10, j.created_at,
       j.created_at, j.created_at, '{"area_km2": 262.1}'
  from (select *, row_number() over () as n from constellation.jobs) j
  join (select id, row_number() over () as n from constellation.scenes where key like 'filled-%%') s
    on s.n = j.n %% %(scenes)s + 1
 cross join (select id from constellation.models limit 1) m
"""

FILL_TILES = """
insert into constellation.tiles (id, digest, scene_id, model_id, run_id, job_id, account,
       row_off_px, col_off_px, height_px, width_px, state, footprint, geom_3857, area_km2,
       class_counts, top_class, confidence, valid_fraction, read_ms, infer_ms)
select gen_random_uuid(), md5(r.id::text || n) || md5(n::text || r.id::text), r.scene_id,
       r.model_id, r.id, r.job_id, r.account, n * 512, 0, 512, 512, 'COMPLETED', shape::geography,
       st_transform(shape, 3857), 26.2, '{"0": 64}', 0, 0.9, 1, 1, 1
  from constellation.runs r
 cross join generate_series(0, %(tiles)s / %(jobs)s - 1) n
  join constellation.scenes s on s.id = r.scene_id
 cross join lateral (
   select st_multi(st_makeenvelope(west, south + n * 0.1, west + 0.05,
                                   south + n * 0.1 + 0.05, 4326)) as shape
     from (select st_xmin(s.footprint::geometry) as west, st_ymin(s.footprint::geometry) as south)
          corner) placed
"""


def fill(connection: Connection, scene: str, model: str, *, tiles: int = TILES) -> None:
    """Fill the tables of a database that has one scene and one model."""
    args = {"scenes": SCENES, "jobs": JOBS, "tiles": tiles, "scene": scene, "model": model}
    connection.execute(UNCHECKED)
    for statement in (FILL_SCENES, MOVE_SCENES, FILL_JOBS, FILL_RUNS, FILL_TILES):
        connection.execute(statement, args)
    connection.execute("set session_replication_role = origin")
