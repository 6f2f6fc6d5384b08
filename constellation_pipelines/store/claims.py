"""Claims: which run starts next on a worker's devices.

One statement chooses run, devices, slots and places under the limits, and writes the lease. Two
claimants that choose the same number meet a unique index; two that overfill a device meet
`leases_memory_fits`. The loser looks again at once, and sees what the winner has written.
"""

from dataclasses import dataclass
from uuid import UUID

from psycopg import errors

from constellation_pipelines.domain.fleet import MEMORY_MARGIN
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.leases import LEASE_TTL_S, Lease

RESERVE_AFTER_S = 10  # a run that is passed for longer has devices kept free for it
LOOKED_AT = 32  # runs that are tried in turn where other claimants hold the first ones
TRIES = 5

# A claimant that stops between its statement and its commit holds numbers that others want: they
# wait for it only briefly, and it loses its transaction. Compiling the statement (jit) takes ten
# times as long as running it.
SETTINGS = """
select set_config('lock_timeout', '500ms', true),
       set_config('idle_in_transaction_session_timeout', '5s', true),
       set_config('jit', 'off', true)
"""

LOST_RACE = (
    errors.UniqueViolation,  # a slot or a place under a limit
    errors.ExclusionViolation,  # memory
    errors.DeadlockDetected,
)

# healthy, ours    the worker's devices; those of them that may take a run, locked by us
# device           with what is left of each: slots, memory
# waiting          runs that nothing but room holds up; of remote scenes those whose first pixels
#                  this worker has on its host
# account, fleet   what is held under each limit, and the lowest free number below it; whether an
#                  account has used up its GPU-hours is noted by the dispatcher
# shape, place     kinds of waiting runs (few, however many wait), and each on each device
# kept_for, kept   a run that smaller ones would pass for ever, and the devices kept free for it:
#                  those nearest to free, so that what they still do only ever shrinks
#
# Order: priority, then whoever devices are kept for, then the account with the fewest devices,
# then age. Devices: spread first, because two runs on one device share its speed while another
# idles; of equally busy ones the fullest that has room, so that large runs find large devices.
CLAIM = """
with healthy as (
  select id, uuid, idx, name, total_mem_mb, slots from constellation.gpus
   where worker_id = %(worker_id)s and health = 'ok'
), ours as (
  select id from constellation.gpus
   where worker_id = %(worker_id)s and health = 'ok' and engine_ready
     for no key update skip locked
), lease as (
  select gpu_id, slot, mem_mb from constellation.leases
   where released_at is null and gpu_id in (select id from healthy)
), device as (
  select h.id, h.uuid, h.idx, h.name, h.total_mem_mb, h.id in (select id from ours) as ours,
         (select count(*) from lease l where l.gpu_id = h.id) as runs,
         h.total_mem_mb
           - (select coalesce(sum(mem_mb), 0) from lease l where l.gpu_id = h.id) as free_mb,
         (select min(n) from generate_series(0, h.slots - 1) n
           where not exists (select 1 from lease l where l.gpu_id = h.id and l.slot = n)) as slot
    from healthy h
), leased as (
  select coalesce(account, '') as account, serial_job_id, gpu_count, account_slot, global_slot
    from constellation.run_queue where state = 'leased'
), waiting as (
  select run_id, priority, enqueued_at, coalesce(account, '') as account, reserved_worker_id,
         gpu_count, coalesce(model_digest, '') as model_digest,
         coalesce(chip_px, 0) as chip_px, coalesce(mem_mb, 0) as mem_mb
    from constellation.run_queue q
   where state = 'queued' and (not_before is null or not_before <= now())
     and not exists (select 1 from leased l where l.serial_job_id = q.serial_job_id)
     and not exists (select 1 from constellation.stagings g
                      where g.run_id = q.run_id
                        and (g.state = 'wanted' or g.worker_id <> %(worker_id)s))
), account as (
  select of_account.*,
         case when most is not null then
           (select min(n) from generate_series(0, least(most - 1, runs)) n
             where not exists (select 1 from leased l
                                where l.account = of_account.account and l.account_slot = n))
         end as slot
    from (
      select w.account, coalesce(l.runs, 0)::int as runs, coalesce(l.devices, 0) as devices,
             coalesce(a.max_running_runs,
                      (select running_runs_per_account from constellation.limits)) as most,
             coalesce(a.gpu_hours_spent_until > now(), false) as spent
        from (select distinct account from waiting) w
        left join (select account, count(*) as runs, sum(gpu_count) as devices
                     from leased group by account) l on l.account = w.account
        left join constellation.accounts a on a.name = w.account
    ) of_account
), fleet as (
  select most is null or runs < most as has_room,
         case when most is not null then
           (select min(n) from generate_series(0, least(most - 1, runs)) n
             where not exists (select 1 from leased l where l.global_slot = n))
         end as slot
    from (select (select running_runs from constellation.limits) as most,
                 (select count(*)::int from leased) as runs) of_fleet
), shape as (
  select distinct gpu_count, model_digest, chip_px, mem_mb from waiting where gpu_count > 0
), place as (
  select s.gpu_count, s.model_digest, s.chip_px, s.mem_mb, d.id, d.uuid, d.idx, d.runs, d.slot,
         d.free_mb, need.mb as need_mb,
         d.ours and d.slot is not null and need.mb <= d.free_mb as open
    from shape s cross join device d
    left join constellation.profiles p
      on p.model_digest = s.model_digest and p.device_name = d.name and p.chip_px = s.chip_px
   cross join lateral (
     select coalesce(
       case when p.mem_mb is not null
            then least(ceil(p.mem_mb * %(margin)s::numeric), d.total_mem_mb)::int end,
       nullif(s.mem_mb, 0),
       d.total_mem_mb) as mb
   ) need
   where need.mb <= d.total_mem_mb
), fit as (
  select gpu_count, model_digest, chip_px, mem_mb,
         count(*) filter (where open) >= gpu_count as now, count(*) >= gpu_count as ever
    from place group by gpu_count, model_digest, chip_px, mem_mb
), runnable as (
  select w.*, a.devices, a.slot as account_slot, fleet.slot as global_slot,
         w.gpu_count = 0 or coalesce(fit.now, false) as fits, coalesce(fit.ever, false) as could
    from waiting w
    join account a on a.account = w.account and (a.most is null or a.runs < a.most)
                  and (w.gpu_count = 0 or not a.spent)
    join fleet on fleet.has_room
    left join fit on (fit.gpu_count, fit.model_digest, fit.chip_px, fit.mem_mb)
                   = (w.gpu_count, w.model_digest, w.chip_px, w.mem_mb)
), last_to_fit as materialized (
  select priority, enqueued_at from runnable where fits and gpu_count > 0
   order by priority, enqueued_at desc limit 1
), passed as (
  select * from runnable r
   where could and not fits
     and enqueued_at < now() - make_interval(secs => %(reserve_after_s)s)
     and (reserved_worker_id = %(worker_id)s
          or exists (select 1 from last_to_fit f
                      where f.priority < r.priority
                         or (f.priority = r.priority and f.enqueued_at > r.enqueued_at))
             and gpu_count > (
               select count(*) from constellation.gpus g
                 join constellation.workers w on w.id = g.worker_id
                where w.id = r.reserved_worker_id and w.stopped_at is null and g.health = 'ok'
                  and w.heartbeat_at > now() - make_interval(secs => %(ttl_s)s)))
   order by priority desc, enqueued_at, run_id limit %(looked_at)s
), kept_for as (
  select p.* from passed p join constellation.run_queue q on q.run_id = p.run_id
   where q.state = 'queued'
   order by p.priority desc, p.enqueued_at, p.run_id
   limit 1 for no key update of q skip locked
), kept as (
  select place.id from place join kept_for k
      on (k.gpu_count, k.model_digest, k.chip_px, k.mem_mb)
       = (place.gpu_count, place.model_digest, place.chip_px, place.mem_mb)
   order by place.runs, place.idx limit coalesce((select gpu_count from kept_for), 0)
), fit_beside as (
  select gpu_count, model_digest, chip_px, mem_mb from place
   where open and id not in (select id from kept)
   group by gpu_count, model_digest, chip_px, mem_mb having count(*) >= gpu_count
), candidate as (
  select r.*, k.run_id is not null as beside,
         row_number() over (
           order by r.priority desc, r.reserved_worker_id = %(worker_id)s desc nulls last,
                    r.devices, r.enqueued_at, r.run_id) as turn
    from runnable r
    left join kept_for k on k.priority > r.priority
          or (k.priority = r.priority
              and (k.enqueued_at, k.run_id) < (r.enqueued_at, r.run_id))
   where r.fits
     and (k.run_id is null or r.gpu_count = 0
          or (r.gpu_count, r.model_digest, r.chip_px, r.mem_mb) in (select * from fit_beside))
   order by turn limit %(looked_at)s
), next_run as (
  select c.* from candidate c join constellation.run_queue q on q.run_id = c.run_id
   where q.state = 'queued'
   order by c.turn limit 1 for no key update of q skip locked
), number as (
  select next_run.*, nextval('constellation.fence') as fence from next_run
), chosen as (
  select place.id, place.uuid, place.idx, place.slot, place.need_mb, n.fence, n.run_id,
         n.account
    from place join number n
      on (n.gpu_count, n.model_digest, n.chip_px, n.mem_mb)
       = (place.gpu_count, place.model_digest, place.chip_px, place.mem_mb)
   where place.open and not (n.beside and place.id in (select id from kept))
   order by place.runs, place.free_mb, place.idx
   limit coalesce((select gpu_count from number), 0)
), held as (
  insert into constellation.leases
         (fence, gpu_id, worker_id, run_id, account, slot, mem_mb, expires_at)
  select fence, id, %(worker_id)s, run_id, nullif(account, ''), slot, need_mb,
         now() + make_interval(secs => %(ttl_s)s)
    from chosen
), reserved as (
  update constellation.run_queue set reserved_worker_id = %(worker_id)s
   where run_id = (select run_id from kept_for)
     and reserved_worker_id is distinct from %(worker_id)s
), placed as (
  update constellation.runs
     set gpu_id = (select id from chosen order by idx limit 1)
   where id = (select run_id from number)
)
update constellation.run_queue q
   set state = 'leased', fence = number.fence, worker_id = %(worker_id)s, pid = null,
       account_slot = number.account_slot, global_slot = number.global_slot,
       reserved_worker_id = null, not_before = null,
       leased_at = clock_timestamp(), heartbeat_at = now()
  from number where q.run_id = number.run_id
returning q.run_id, q.instance_ref, q.resume, q.attempt, q.fence,
          array(select uuid from chosen order by idx) as devices
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that a worker may start now. `devices` are device uuids in order of index."""

    lease: Lease
    instance_ref: str
    resume: bool
    attempt: int
    devices: tuple[str, ...]


def claim(connection: Connection, worker_id: UUID) -> Claim | None:
    """Lease the next fitting run and its devices to a worker; None when nothing fits.

    None too after races lost in a row, or when another claimant stands still: the next turn comes
    soon, and the worker has other things to do.
    """
    args = {
        "worker_id": worker_id,
        "ttl_s": LEASE_TTL_S,
        "reserve_after_s": RESERVE_AFTER_S,
        "margin": MEMORY_MARGIN,
        "looked_at": LOOKED_AT,
    }
    for _ in range(TRIES):
        try:
            with connection.transaction():
                connection.execute(SETTINGS)
                row = connection.execute(CLAIM, args, prepare=True).fetchone()
        except LOST_RACE:
            continue
        except (errors.LockNotAvailable, errors.IdleInTransactionSessionTimeout):
            return None  # another one stands still, or we did
        if row is None:
            return None
        lease = Lease(row["run_id"], row["fence"])
        devices = tuple(row["devices"])
        return Claim(lease, row["instance_ref"], row["resume"], row["attempt"], devices)
    return None
