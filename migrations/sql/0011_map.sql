-- The tiles of a model in a part of the map (EPSG:3857), for who asks. As with tiles_near: under a
-- policy an index by place cannot be used, so this asks by place as the owner, and then whose the
-- tiles are. No more than `most` of them are read; null: all.
create function constellation.tiles_on_map(model uuid, place geometry, most int)
returns table (id uuid, run_id uuid, top_class smallint, confidence float8, created_at timestamptz,
               geom geometry)
language sql stable security definer set search_path = pg_catalog, public as $$
  select t.id, t.run_id, t.top_class, t.confidence, t.created_at, t.geom_3857
    from constellation.tiles t
   where t.model_id = model and t.geom_3857 && place
     and t.state = 'COMPLETED' and t.valid_fraction > 0 and constellation.may_see(t.account)
   limit most
$$;

-- The same, counted in a grid of so many squares along each side of `place`, from its north-west
-- corner. A tile counts in one square: that of the middle of its first part, for the middle of a
-- tile across 180 degrees would lie on the other side of the Earth.
create function constellation.squares_on_map(model uuid, place geometry, squares int)
returns table (col int, line int, tiles bigint, area_km2 float8, top_class smallint)
language sql stable security definer set search_path = pg_catalog, public as $$
  with edges as materialized (
    select st_xmin(place) as west, st_ymax(place) as north,
           squares / (st_xmax(place) - st_xmin(place)) as per_m),
  boxes as (
    select box3d(st_geometryn(t.geom_3857, 1)) as box, t.area_km2, t.top_class
      from constellation.tiles t
     where t.model_id = model and t.geom_3857 && place
       and t.state = 'COMPLETED' and t.valid_fraction > 0 and constellation.may_see(t.account)
    offset 0),  -- one box for each tile, not one for each use
  placed as (
    select floor(((st_xmin(box) + st_xmax(box)) / 2 - west) * per_m)::int as col,
           floor((north - (st_ymin(box) + st_ymax(box)) / 2) * per_m)::int as line,
           boxes.area_km2, boxes.top_class
      from boxes, edges),
  counted as (
    select p.col, p.line, p.top_class, count(*) as tiles, sum(p.area_km2) as area_km2 from placed p
     where p.col >= 0 and p.col < squares and p.line >= 0 and p.line < squares
     group by p.col, p.line, p.top_class)
  select c.col, c.line, sum(c.tiles)::bigint, sum(c.area_km2),
         (array_agg(c.top_class order by c.tiles desc, c.top_class)
            filter (where c.top_class is not null))[1]
    from counted c group by c.col, c.line
$$;
