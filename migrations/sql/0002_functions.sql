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
