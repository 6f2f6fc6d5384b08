-- Whoever changes a run's status - web server, daemon, worker - our rows and events change in the
-- same transaction. A run that was launched from Dagster's UI gets a job of its own.
create or replace function constellation.project_dagster_run() returns trigger language plpgsql as $$
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
  if before = 'RUNNING' and after in ('QUEUED', 'STARTING') then
    after := null;  -- its process has begun already, and Dagster follows: see begin_run
  end if;
  update constellation.runs
     set dagster_status = new.status,
         state = coalesce(after, state),
         started_at = case when after = 'RUNNING' then coalesce(started_at, clock_timestamp())
                           else started_at end,
         finished_at = case when after in ('COMPLETED', 'FAILED', 'CANCELLED')
                            then coalesce(finished_at, clock_timestamp()) end
   where id = run;
  if after is not null and after is distinct from before then
    if after in ('COMPLETED', 'FAILED', 'CANCELLED') then
      -- Dagster's connections commit without waiting for the disk; an end that was told must last.
      perform set_config('synchronous_commit', 'on', true);
    end if;
    perform constellation.emit(
      'run.' || case after when 'RUNNING' then 'started' else lower(after) end,
      job, run, jsonb_build_object('state', after));
    perform constellation.settle_job(job);
  end if;
  return new;
end
$$;


-- A run's process begins its work as soon as it holds the lease, and reports to Dagster beside it.
-- The run is running from then on, so that no tile is told of before its run's start.
create function constellation.begin_run(run uuid) returns void language plpgsql as $$
declare
  job uuid := (select r.job_id from constellation.runs r where r.id = run);
begin
  perform constellation.lock_job(job);
  update constellation.runs
     set state = 'RUNNING', started_at = coalesce(started_at, clock_timestamp())
   where id = run and state in ('PENDING', 'QUEUED', 'STARTING');
  if found then
    perform constellation.emit('run.started', job, run, jsonb_build_object('state', 'RUNNING'));
    perform constellation.settle_job(job);
  end if;
end
$$;

-- Memory promised to the live leases of a device never exceeds what the device has. Whoever leases
-- locks the device first; the sum is then taken from what is committed by now, not from what the
-- claim saw when it began.
create function constellation.check_memory() returns trigger language plpgsql as $$
declare
  total_mb int;
  promised_mb bigint;
begin
  select total_mem_mb into total_mb
    from constellation.gpus where id = new.gpu_id for no key update;
  select sum(mem_mb) into promised_mb
    from constellation.leases where gpu_id = new.gpu_id and released_at is null;
  if promised_mb > total_mb then
    raise exception 'device % has % MB, its leases take % MB', new.gpu_id, total_mb, promised_mb
      using errcode = 'exclusion_violation', constraint = 'leases_memory_fits';
  end if;
  return null;
end
$$;

create trigger leases_memory_fits after insert on constellation.leases
  for each row execute function constellation.check_memory();
