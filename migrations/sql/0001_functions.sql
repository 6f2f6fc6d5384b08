-- Events are written only here. The lock makes a job's event ids grow in the order of commits, so
-- that "everything after id n" never misses one. Take it first, before any row of the job.
create function constellation.lock_job(job uuid) returns void language sql as $$
  select pg_advisory_xact_lock(hashtextextended(job::text, 0))
$$;

create function constellation.emit(type text, job uuid, run uuid, payload jsonb)
returns void language plpgsql as $$
begin
  perform constellation.lock_job(job);
  insert into constellation.events (type, job_id, run_id, account, payload)
  values (emit.type, job, run,
          coalesce((select submitted_by from constellation.jobs where id = job), 'system'), payload);
  perform pg_notify('constellation_outbox', '');
end
$$;

-- The state of a job follows from the states of its runs; of runs that retried a scene only the
-- newest counts.
create function constellation.settle_job(job uuid) returns void language plpgsql as $$
declare
  before text;
  after text;
  open_runs int;
  begun_runs int;
  failed_runs int;
  cancelled_runs int;
  reasons text;
begin
  select state into before from constellation.jobs where id = job for update;
  select count(*) filter (where state not in ('COMPLETED', 'FAILED', 'CANCELLED')),
         count(*) filter (where state not in ('PENDING', 'QUEUED', 'CANCELLED')),
         count(*) filter (where state = 'FAILED'),
         count(*) filter (where state = 'CANCELLED'),
         string_agg(distinct error, '; ') filter (where state = 'FAILED')
    into open_runs, begun_runs, failed_runs, cancelled_runs, reasons
    from (select distinct on (coalesce(scene_id, id)) state, error
            from constellation.runs where job_id = job
           order by coalesce(scene_id, id), created_at desc, id desc) newest_of_scene;
  after := case
    when open_runs > 0 and begun_runs > 0 then 'RUNNING'
    when open_runs > 0 then before
    when failed_runs > 0 then 'FAILED'
    when cancelled_runs > 0 then 'CANCELLED'
    else 'COMPLETED'
  end;
  if after = before then
    return;
  end if;
  update constellation.jobs
     set state = after,
         started_at = case when begun_runs = 0 then started_at
                           else coalesce(started_at, clock_timestamp()) end,
         finished_at = case when after = 'RUNNING' then null else clock_timestamp() end,
         error = case when after = 'FAILED' then reasons end
   where id = job;
  perform constellation.emit(
    'job.' || case after when 'RUNNING' then 'started' else lower(after) end,
    job, null, jsonb_build_object('state', after));
end
$$;

-- Whoever changes a run's status - web server, daemon, worker - our rows and events change in the
-- same transaction. A run that was launched from Dagster's UI gets a job of its own.
create function constellation.project_dagster_run() returns trigger language plpgsql as $$
declare
  tags jsonb := coalesce(new.run_body::jsonb -> 'tags', '{}'::jsonb);
  run uuid;
  job uuid;
  before text;
  after text := case new.status
    when 'NOT_STARTED' then 'QUEUED'
    when 'QUEUED' then 'QUEUED'
    when 'STARTING' then 'STARTING'
    when 'STARTED' then 'RUNNING'
    when 'CANCELING' then 'CANCELLING'
    when 'SUCCESS' then 'COMPLETED'
    when 'FAILURE' then 'FAILED'
    when 'CANCELED' then 'CANCELLED'
  end;  -- null for a status of a newer Dagster: it is kept in dagster_status, our state stays
begin
  if new.run_id !~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    return new;
  end if;
  run := new.run_id::uuid;
  select r.job_id into job from constellation.runs r where r.id = run;
  if job is null then
    job := constellation.adopt_dagster_run(run, new.pipeline_name, new.run_body::jsonb);
  end if;
  perform constellation.lock_job(job);
  select r.state into before from constellation.runs r where r.id = run for update;
  update constellation.runs
     set dagster_status = new.status,
         state = coalesce(after, state),
         started_at = case when after = 'RUNNING' then coalesce(started_at, clock_timestamp())
                           else started_at end,
         finished_at = case when after in ('COMPLETED', 'FAILED', 'CANCELLED')
                            then coalesce(finished_at, clock_timestamp()) end
   where id = run;
  if after is not null and after is distinct from before then
    perform constellation.emit(
      'run.' || case after when 'RUNNING' then 'started' else lower(after) end,
      job, run, jsonb_build_object('state', after));
    perform constellation.settle_job(job);
  end if;
  return new;
end
$$;

-- A run that no job asked for through the API: launched or re-executed in Dagster's UI, or by a
-- backfill. It joins the job of its tag, else gets a job of its own. Returns the job's id.
create function constellation.adopt_dagster_run(run uuid, dagster_job text, body jsonb)
returns uuid language plpgsql as $$
declare
  tags jsonb := coalesce(body -> 'tags', '{}'::jsonb);
  scene text := tags ->> 'dagster/partition';
  job uuid := (select id from constellation.jobs where id::text = tags ->> 'constellation/job_id');
  assets text := (
    select string_agg(array_to_string(array(select jsonb_array_elements_text(k -> 'path')), '/'), ', '
                      order by k)
      from jsonb_path_query(body, '$.asset_selection.__frozenset__[*]') k);
begin
  if job is null then
    job := run;
    insert into constellation.jobs (id, name, params, state, origin, submitted_by)
    values (job,
            left(coalesce(assets, dagster_job) || coalesce(' on ' || scene, ''), 200),
            jsonb_build_object('dagster_job', dagster_job, 'assets', assets,
                               'scenes', to_jsonb(array_remove(array[scene], null))),
            'PENDING', 'dagster', coalesce(tags ->> 'constellation/account', 'dagster-ui'));
    perform constellation.emit('job.submitted', job, null,
                               jsonb_build_object('state', 'PENDING', 'origin', 'dagster'));
  end if;
  perform constellation.lock_job(job);  -- first: the insert below holds the job's row as well
  insert into constellation.runs (id, job_id, scene_id, state)
  values (run, job, (select id from constellation.scenes where key = scene), 'PENDING');
  return job;
end
$$;

-- Called once Dagster has made its tables.
create function constellation.attach_dagster() returns void language plpgsql as $$
begin
  drop trigger if exists constellation_projection on dagster.runs;
  create trigger constellation_projection
    after insert or update of status on dagster.runs
    for each row execute function constellation.project_dagster_run();
end
$$;
