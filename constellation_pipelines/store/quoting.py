"""What a model was seen to take on each kind of device, for quotes."""

from collections.abc import Sequence
from uuid import UUID

from constellation_pipelines.domain.fleet import Staging, WaitingRun
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.job import JobParams
from constellation_pipelines.domain.model import Model
from constellation_pipelines.domain.quote import Cost, Pace, cost, new_runs
from constellation_pipelines.store import waiting
from constellation_pipelines.store.database import Connection
from constellation_pipelines.store.tenancy import seeing_all

RUNS_LOOKED_AT = 20  # the latest of each kind of device
RUNS_OF_A_DEVICE = 10
TILES_OF_A_RUN = 200

# The times of the latest tiles of each kind, whoever's they are: they tell of devices, not of jobs.
PACES = """
with ended as (
  select g.name, r.id, row_number() over (partition by g.name order by r.created_at desc) as at
    from constellation.models m
   cross join constellation.gpus g
   cross join lateral (
     select id, created_at from constellation.runs
      where model_id = m.id and gpu_id = g.id and state = 'COMPLETED'
      order by created_at desc limit %(runs_of_device)s) r
   where m.digest = %(digest)s
), tiles as (
  select e.name, t.ms
    from ended e cross join lateral (
      select read_ms + infer_ms as ms from constellation.tiles
       where run_id = e.id and state = 'COMPLETED' limit %(tiles)s) t
   where e.at <= %(runs)s
), spread as (
  select name, count(*)::int as seen, avg(ms) as mean_ms,
         percentile_cont(array[0.1, 0.5, 0.9]) within group (order by ms) as ms
    from tiles group by name
), profile as (
  select device_name as name, device_s / nullif(tiles, 0) as mean_s
    from constellation.profiles where model_digest = %(digest)s and chip_px = %(chip_px)s
)
select name, p.mean_s, coalesce(s.seen, 0) as seen, s.mean_ms, s.ms[1] as p10_ms,
       s.ms[2] as p50_ms, s.ms[3] as p90_ms
  from profile p full join spread s using (name)
"""


def paces(connection: Connection, model: Model) -> dict[str, Pace]:
    """What is known of a model, by the name of a kind of device."""
    args = {
        "digest": model.digest,
        "chip_px": model.card.chip_px,
        "runs": RUNS_LOOKED_AT,
        "runs_of_device": RUNS_OF_A_DEVICE,
        "tiles": TILES_OF_A_RUN,
    }
    rows = connection.execute(PACES, args).fetchall()
    return {row.pop("name"): Pace(**row) for row in rows}


def quote(
    connection: Connection,
    model: Model,
    params: JobParams,
    tiles: Sequence[int],
    *,
    priority: int,
    account: str,
    fetched: bool = False,
) -> Cost:
    """What a job with so many tiles to run in each scene would take, were it submitted now.

    `fetched` says that pixels of one of its scenes have to come from another host first.
    """
    with seeing_all(connection):  # the queue is everyone's, and so are the devices
        known = paces(connection, model)
        fleet = waiting.fleet(connection, more_digests=(model.digest,))
    ids: list[UUID] = [new_id() for _ in tiles]
    template = WaitingRun(
        run_id=ids[0],
        account=account,
        priority=priority,
        enqueued_at=fleet.at,
        gpu_count=params.gpu_count,
        mem_mb=params.gpu_mem_mb,
        model_digest=model.digest,
        chip_px=model.card.chip_px,
        tiles_left=0,
        not_before=None,
        serial_job_id=ids[0] if params.mode == "serial" else None,
        reserved_worker_id=None,
        staging=Staging("", 0, 0) if fetched else None,
    )
    return cost(fleet, new_runs(template, tiles, ids), known)
