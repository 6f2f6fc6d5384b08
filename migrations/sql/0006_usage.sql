-- What was used on each day (UTC), first and last included, by account and model. Every lease counts
-- for as long as it held its slot of a device, on the days on which it did; every tile once, with the
-- account and the day of the run whose result it is. With `everyone` sums of all accounts, for whoever
-- may not see their rows: it is the caller's to show no more than that.
create function constellation.usage(first_day date, last_day date, everyone boolean default false)
returns table (day date, account text, model text, gpu_s float8, energy_j float8, tiles bigint,
               area_km2 float8)
language sql stable security definer set search_path = pg_catalog, constellation as $$
  with held as (
    select l.account, l.run_id, l.energy_j, l.acquired_at at time zone 'UTC' as since,
           coalesce(l.released_at, least(l.expires_at, now())) at time zone 'UTC' as until
      from leases l
     where l.account is not null and (everyone or may_see(l.account))
       and l.acquired_at < (last_day + 1)::timestamp at time zone 'UTC'
       and coalesce(l.released_at, now()) >= first_day::timestamp at time zone 'UTC'
  ), cut as (
    select h.account, h.run_id, d::date as day,
           extract(epoch from least(h.until, d + interval '1 day') - greatest(h.since, d))::float8
             as part_s,
           h.energy_j, extract(epoch from h.until - h.since)::float8 as whole_s
      from held h
      cross join generate_series(first_day::timestamp, last_day::timestamp, interval '1 day') d
     where h.since < d + interval '1 day' and h.until > d
  ), of_leases as (
    select c.day, c.account, coalesce(m.name || '@' || m.version, '') as model,
           sum(c.part_s) as gpu_s, sum(c.energy_j * c.part_s / nullif(c.whole_s, 0)) as energy_j
      from cut c
      left join runs r on r.id = c.run_id left join models m on m.id = r.model_id
     group by 1, 2, 3
  ), of_tiles as (
    select (t.created_at at time zone 'UTC')::date as day, t.account,
           m.name || '@' || m.version as model, count(*) as tiles, sum(t.area_km2) as area_km2
      from tiles t join models m on m.id = t.model_id
     where t.state = 'COMPLETED' and (everyone or may_see(t.account))
       and t.created_at >= first_day::timestamp at time zone 'UTC'
       and t.created_at < (last_day + 1)::timestamp at time zone 'UTC'
     group by 1, 2, 3
  )
  select day, account, model, coalesce(l.gpu_s, 0), l.energy_j, coalesce(t.tiles, 0),
         coalesce(t.area_km2, 0)
    from of_leases l full join of_tiles t using (day, account, model)
   order by day, account, model
$$;
