-- The API works under two roles that own nothing. Under constellation_api a transaction sees the
-- rows of the account that it names in constellation.account, and none where it names none; under
-- constellation_api_all it sees those of every account: for admins, and for the API's own needs.
-- Everything else (dispatcher, workers, Dagster) works as the owner, whom no policy binds.
grant usage on schema constellation to constellation_api, constellation_api_all;

-- What the accounts of a deployment share.
grant select on constellation.scenes, constellation.models, constellation.gpus,
                constellation.workers, constellation.profiles, constellation.limits
   to constellation_api, constellation_api_all;
grant insert, update on constellation.scenes to constellation_api, constellation_api_all;

-- What is an account's own.
grant select, insert, update on constellation.jobs, constellation.runs
   to constellation_api, constellation_api_all;
grant select, update on constellation.run_queue to constellation_api, constellation_api_all;
grant select, insert on constellation.events to constellation_api, constellation_api_all;
grant select, insert, update, delete on constellation.areas
   to constellation_api, constellation_api_all;
grant select on constellation.tiles, constellation.leases, constellation.faults,
                constellation.accounts
   to constellation_api, constellation_api_all;
grant insert on constellation.audit_events to constellation_api, constellation_api_all;
grant select on constellation.audit_events to constellation_api_all;
grant select on constellation.api_keys to constellation_api_all;
grant update (last_used_at) on constellation.api_keys to constellation_api_all;
grant select, insert, update on constellation.sessions to constellation_api_all;

-- One comparison with a value that is taken once per statement, so that an index can serve it.
-- Without a value it is null, or empty where an earlier transaction had one: neither is an account.
create function constellation.own_rows(tables text[], account_column text) returns void
language plpgsql as $$
declare
  name text;
begin
  foreach name in array tables loop
    execute format('alter table constellation.%I enable row level security', name);
    execute format(
      'create policy own on constellation.%I to constellation_api '
      'using (%I = (select current_setting(''constellation.account'', true)))',
      name, account_column);
    execute format(
      'create policy every on constellation.%I to constellation_api_all using (true)', name);
  end loop;
end
$$;
select constellation.own_rows(array['jobs'], 'submitted_by');
select constellation.own_rows(
  array['runs', 'tiles', 'run_queue', 'events', 'leases', 'areas', 'audit_events'], 'account');
select constellation.own_rows(array['accounts'], 'name');
drop function constellation.own_rows;

alter table constellation.api_keys enable row level security;
create policy every on constellation.api_keys to constellation_api_all using (true);
alter table constellation.sessions enable row level security;
create policy every on constellation.sessions to constellation_api_all using (true);

-- A fault of a device is everyone's to know, one of a run whoever's the run is.
alter table constellation.faults enable row level security;
create policy own on constellation.faults to constellation_api
  using (run_id is null or exists (select 1 from constellation.runs r where r.id = run_id));
create policy every on constellation.faults to constellation_api_all using (true);

-- How full a device is, is everyone's to know; whose runs fill it is not. A view reads as its owner.
create view constellation.device_load as
select gpu_id, count(*)::int as runs, coalesce(sum(mem_mb), 0)::int as leased_mem_mb
  from constellation.leases where released_at is null group by gpu_id;
grant select on constellation.device_load to constellation_api, constellation_api_all;

-- Scenes are shared: one that any account's run has read must not be described anew.
create function constellation.scene_is_used(scene uuid) returns boolean
language sql stable security definer set search_path = pg_catalog as $$
  select exists (select 1 from constellation.runs where scene_id = scene)
$$;

-- Whose a run, a tile or a lease is, where the statement that writes it does not say.
create function constellation.fill_account_of_run() returns trigger language plpgsql as $$
begin
  new.account := (select submitted_by from constellation.jobs where id = new.job_id);
  return new;
end
$$;
create trigger runs_account before insert on constellation.runs
  for each row when (new.account is null) execute function constellation.fill_account_of_run();

create function constellation.fill_account_of_tile() returns trigger language plpgsql as $$
begin
  new.account := (select account from constellation.runs where id = new.run_id);
  return new;
end
$$;
create trigger tiles_account before insert on constellation.tiles
  for each row when (new.account is null) execute function constellation.fill_account_of_tile();

-- Under a policy PostGIS's operators cannot use an index: they are not leakproof, so the policy has
-- to be asked first, row by row. This asks by place as the owner, and then whose the tiles are.
create function constellation.may_see(owner text) returns boolean language sql stable as $$
  select current_setting('role') in ('none', 'constellation_api_all')
      or owner = current_setting('constellation.account', true)
$$;
create function constellation.tiles_near(place geography, radius_m float8)
returns table (id uuid, run_id uuid, job_id uuid)
language sql stable security definer set search_path = pg_catalog, public as $$
  select t.id, t.run_id, t.job_id from constellation.tiles t
   where st_dwithin(t.footprint, place, radius_m) and constellation.may_see(t.account)
$$;
