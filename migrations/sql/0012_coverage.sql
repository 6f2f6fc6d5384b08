-- The coverage map, counted ahead. A map tile of zoom 0 to 7 is a grid of 64 x 64 squares; a cell
-- counts the tiles of one account, model and class in one square of one map tile. Squares are
-- numbered row by row from the north-west. All of it follows from constellation.tiles:
--   a statement that changes tiles appends what it changed (coverage_changes), locking nothing,
--   settle_coverage adds that to the cells of every zoom and to the totals, one caller at a time,
--   whoever draws adds up both, so that a tile is on the map as it commits.
-- Areas are whole square metres: sums come out the same in whatever order. No check says that
-- counts are not negative: an upsert would ask it of what is to be added. Cells without a tile stay
-- until the next recount.
create table constellation.coverage_cells (
  model_id uuid not null,
  z smallint not null check (z between 0 and 7),
  x smallint not null check (x >= 0 and x < 1 << z),
  y smallint not null check (y >= 0 and y < 1 << z),
  account text not null,
  square smallint not null check (square between 0 and 4095),
  top_class smallint,
  tiles int not null,
  area_m2 bigint not null,
  constraint coverage_cells_are_one
    unique nulls not distinct (model_id, z, x, y, account, square, top_class)
) with (fillfactor = 85);  -- most changes are of numbers that no index holds

-- Of squares of zoom 7. Where tiles were taken away, numbers are negative and there are no bounds.
create table constellation.coverage_changes (
  id bigint generated always as identity primary key,
  model_id uuid not null,
  account text not null,
  x smallint not null,
  y smallint not null,
  square smallint not null,
  top_class smallint,
  tiles int not null,
  area_m2 bigint not null,
  west_m float8, south_m float8, east_m float8, north_m float8,
  computed_at timestamptz
);
create index coverage_changes_on_map on constellation.coverage_changes (model_id, x, y);

-- Bounds (EPSG:3857) and `computed_at` only grow; recount_coverage makes them anew. `changes` are
-- those that were settled: with those that were not it says whether anything changed.
create table constellation.coverage_totals (
  model_id uuid not null references constellation.models,
  account text not null,
  tiles bigint not null,
  area_m2 bigint not null,
  west_m float8, south_m float8, east_m float8, north_m float8,
  computed_at timestamptz,
  changes bigint not null,
  primary key (model_id, account)
);

do $$
declare
  name text;
begin
  foreach name in array array['coverage_cells', 'coverage_changes', 'coverage_totals'] loop
    execute format('grant select on constellation.%I to constellation_api, constellation_api_all',
                   name);
    execute format('alter table constellation.%I enable row level security', name);
    execute format(
      'create policy own on constellation.%I to constellation_api '
      'using (account = (select current_setting(''constellation.account'', true)))', name);
    execute format(
      'create policy every on constellation.%I to constellation_api_all using (true)', name);
  end loop;
end
$$;

-- ---- where a tile counts ----

create function constellation.is_covered(state text, valid_fraction float8, geom geometry)
returns boolean language sql immutable parallel safe as $$
  select state = 'COMPLETED' and valid_fraction > 0 and not st_isempty(geom)
$$;

-- The middle of the first part: that of a tile across 180 degrees would lie on the other side of
-- the Earth.
create function constellation.map_middle(geom geometry)
returns table (east_m float8, north_m float8)
language sql immutable parallel safe as $$
  select (st_xmin(box) + st_xmax(box)) / 2, (st_ymin(box) + st_ymax(box)) / 2
    from (select box3d(st_geometryn(geom, 1)) as box offset 0) first_part
$$;

-- The square of zoom 7 that a tile counts in.
create function constellation.map_square(geom geometry)
returns table (x smallint, y smallint, square smallint)
language sql immutable parallel safe as $$
  select (col >> 6)::smallint, (line >> 6)::smallint, ((line & 63) * 64 + (col & 63))::smallint
    from (select least(8191, greatest(0, floor((east_m + 20037508.342789244)
                                               / 40075016.685578488 * 8192)))::int as col,
                 least(8191, greatest(0, floor((20037508.342789244 - north_m)
                                               / 40075016.685578488 * 8192)))::int as line
            from constellation.map_middle(geom) offset 0) placed
$$;

-- The number of the square so many zooms up that holds this one.
create function constellation.square_above(x int, y int, square int, zooms int) returns smallint
language sql immutable parallel safe as $$
  select (((((y << 6) + (square >> 6)) >> zooms) & 63) * 64
          + ((((x << 6) + (square & 63)) >> zooms) & 63))::smallint
$$;

-- ---- kept true ----

create function constellation.note_coverage() returns trigger
language plpgsql set search_path = pg_catalog, public as $$
begin
  if tg_op = 'UPDATE' then
    if not exists (select from added) then
      return null;  -- the other half of an upsert that only inserted
    end if;
  end if;
  if tg_op <> 'INSERT' then
    insert into constellation.coverage_changes
           (model_id, account, x, y, square, top_class, tiles, area_m2)
    select t.model_id, t.account, s.x, s.y, s.square, t.top_class, -count(*),
           -sum(round(t.area_km2 * 1e6)::bigint)
      from removed t, constellation.map_square(t.geom_3857) s
     where constellation.is_covered(t.state, t.valid_fraction, t.geom_3857)
     group by 1, 2, 3, 4, 5, 6;
  end if;
  if tg_op <> 'DELETE' then
    insert into constellation.coverage_changes
           (model_id, account, x, y, square, top_class, tiles, area_m2,
            west_m, south_m, east_m, north_m, computed_at)
    select t.model_id, t.account, s.x, s.y, s.square, t.top_class, count(*),
           sum(round(t.area_km2 * 1e6)::bigint), min(st_xmin(t.geom_3857)),
           min(st_ymin(t.geom_3857)), max(st_xmax(t.geom_3857)), max(st_ymax(t.geom_3857)),
           max(t.created_at)
      from added t, constellation.map_square(t.geom_3857) s
     where constellation.is_covered(t.state, t.valid_fraction, t.geom_3857)
     group by 1, 2, 3, 4, 5, 6;
  end if;
  return null;
end
$$;

-- Adds up to so many changes to cells and totals; returns how many there were. 0 too where another
-- transaction is at it.
create function constellation.settle_coverage(most int) returns int
language plpgsql set search_path = pg_catalog as $$
declare
  settled int;
begin
  if not pg_try_advisory_xact_lock(hashtextextended('constellation coverage', 0)) then
    return 0;
  end if;
  with taken as (
    delete from constellation.coverage_changes
     where id in (select id from constellation.coverage_changes order by id limit most)
    returning *),
  counted as (
    insert into constellation.coverage_cells as c
           (model_id, z, x, y, account, square, top_class, tiles, area_m2)
    select model_id, 7 - up, x >> up, y >> up, account,
           constellation.square_above(x, y, square, up), top_class, sum(tiles), sum(area_m2)
      from taken, generate_series(0, 7) up
     group by 1, 2, 3, 4, 5, 6, 7
    on conflict (model_id, z, x, y, account, square, top_class) do update
       set tiles = c.tiles + excluded.tiles, area_m2 = c.area_m2 + excluded.area_m2),
  totalled as (
    insert into constellation.coverage_totals as c
    select model_id, account, sum(tiles), sum(area_m2), min(west_m), min(south_m), max(east_m),
           max(north_m), max(computed_at), count(*)
      from taken group by 1, 2
    on conflict (model_id, account) do update
       set tiles = c.tiles + excluded.tiles, area_m2 = c.area_m2 + excluded.area_m2,
           west_m = least(c.west_m, excluded.west_m),
           south_m = least(c.south_m, excluded.south_m),
           east_m = greatest(c.east_m, excluded.east_m),
           north_m = greatest(c.north_m, excluded.north_m),
           computed_at = greatest(c.computed_at, excluded.computed_at),
           changes = c.changes + excluded.changes)
  select count(*) into settled from taken;
  return settled;
end
$$;

-- Counts everything anew from the tiles, which nobody can change meanwhile.
create function constellation.recount_coverage() returns void
language plpgsql set search_path = pg_catalog, public as $$
begin
  lock table constellation.tiles in share row exclusive mode;
  perform pg_advisory_xact_lock(hashtextextended('constellation coverage', 0));
  delete from constellation.coverage_changes;
  delete from constellation.coverage_cells;
  insert into constellation.coverage_cells
  select t.model_id, 7, s.x, s.y, t.account, s.square, t.top_class, count(*),
         sum(round(t.area_km2 * 1e6)::bigint)
    from constellation.tiles t, constellation.map_square(t.geom_3857) s
   where constellation.is_covered(t.state, t.valid_fraction, t.geom_3857)
   group by 1, 3, 4, 5, 6, 7;
  for zoom in reverse 6..0 loop
    insert into constellation.coverage_cells
    select model_id, zoom, x >> 1, y >> 1, account, constellation.square_above(x, y, square, 1),
           top_class, sum(tiles), sum(area_m2)
      from constellation.coverage_cells where z = zoom + 1
     group by 1, 3, 4, 5, 6, 7;
  end loop;
  update constellation.coverage_totals
     set tiles = 0, area_m2 = 0, west_m = null, south_m = null, east_m = null, north_m = null,
         computed_at = null, changes = changes + 1;
  insert into constellation.coverage_totals as c
  select t.model_id, t.account, count(*), sum(round(t.area_km2 * 1e6)::bigint),
         min(st_xmin(t.geom_3857)), min(st_ymin(t.geom_3857)), max(st_xmax(t.geom_3857)),
         max(st_ymax(t.geom_3857)), max(t.created_at), 1
    from constellation.tiles t
   where constellation.is_covered(t.state, t.valid_fraction, t.geom_3857)
   group by 1, 2
  on conflict (model_id, account) do update
     set tiles = excluded.tiles, area_m2 = excluded.area_m2, west_m = excluded.west_m,
         south_m = excluded.south_m, east_m = excluded.east_m, north_m = excluded.north_m,
         computed_at = excluded.computed_at;
end
$$;

create function constellation.note_truncation() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
  perform constellation.recount_coverage();
  return null;
end
$$;

select constellation.recount_coverage();

create trigger tiles_coverage_added after insert on constellation.tiles
  referencing new table as added
  for each statement execute function constellation.note_coverage();
create trigger tiles_coverage_changed after update on constellation.tiles
  referencing old table as removed new table as added
  for each statement execute function constellation.note_coverage();
create trigger tiles_coverage_removed after delete on constellation.tiles
  referencing old table as removed
  for each statement execute function constellation.note_coverage();
create trigger tiles_coverage_truncated after truncate on constellation.tiles
  for each statement execute function constellation.note_truncation();

-- ---- tiles by place ----

-- Whose a tile is comes before its place, so that others' tiles in view cost nothing. Hashes, for
-- numbers are quicker to keep in such an index than texts.
drop index constellation.tiles_geom_3857;
create index tiles_on_map on constellation.tiles
 using gist (uuid_hash(model_id), hashtext(account), geom_3857);

drop function constellation.tiles_on_map;
drop function constellation.squares_on_map;

-- The covered tiles of a model whose box touches a part of the map (EPSG:3857), for who asks. Under
-- a policy the index could not be used (PostGIS's operators are not leakproof): it is for functions
-- that work as the owner.
create function constellation.tiles_in_box(model uuid, place geometry)
returns setof constellation.tiles language sql stable as $$
  select t.* from constellation.tiles t
   where current_setting('role') in ('none', 'constellation_api_all')
     and uuid_hash(t.model_id) = uuid_hash(model) and t.model_id = model
     and t.geom_3857 && place and constellation.is_covered(t.state, t.valid_fraction, t.geom_3857)
  union all
  select t.* from constellation.tiles t
   where current_setting('role') = 'constellation_api'
     and uuid_hash(t.model_id) = uuid_hash(model) and t.model_id = model
     and hashtext(t.account) = hashtext(current_setting('constellation.account', true))
     and t.account = current_setting('constellation.account', true)
     and t.geom_3857 && place and constellation.is_covered(t.state, t.valid_fraction, t.geom_3857)
$$;

-- Those that touch it. No more than `most` are read; null: all.
create function constellation.tiles_on_map(model uuid, place geometry, most int)
returns table (id uuid, run_id uuid, top_class smallint, confidence float8, created_at timestamptz,
               geom geometry)
language sql stable security definer set search_path = pg_catalog, public as $$
  select t.id, t.run_id, t.top_class, t.confidence, t.created_at, t.geom_3857
    from constellation.tiles_in_box(model, place) t
   where st_intersects(t.geom_3857, place)
   limit most
$$;

-- Counted in a grid of so many squares along each side of `place`, each tile in that of its middle.
create function constellation.squares_on_map(model uuid, place geometry, squares int)
returns table (square int, top_class smallint, tiles bigint, area_m2 bigint)
language sql stable security definer set search_path = pg_catalog, public as $$
  with edges as materialized (
    select st_xmin(place) as west_m, st_ymax(place) as north_m,
           squares / (st_xmax(place) - st_xmin(place)) as per_m),
  placed as (
    select floor((m.east_m - e.west_m) * per_m)::int as col,
           floor((e.north_m - m.north_m) * per_m)::int as line, t.top_class, t.area_km2
      from constellation.tiles_in_box(model, place) t, constellation.map_middle(t.geom_3857) m,
           edges e)
  select line * squares + col, top_class, count(*), sum(round(area_km2 * 1e6)::bigint)::bigint
    from placed where col >= 0 and col < squares and line >= 0 and line < squares
   group by 1, 2
$$;
