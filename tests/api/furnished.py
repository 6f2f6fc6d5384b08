"""A server on which something has happened: what the fuzzer and the test of links begin with."""

from dataclasses import dataclass
from uuid import UUID

import httpx

from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.ids import new_id
from tests.api.people import client, make_key
from tests.api.service import Service, add_scene, save_model

MODEL_NAME = "eurosat-landcover"
SCENE = "s2_cape_lookout"
HOOK_URL = "https://hooks.example.org/jobs"
# The usual page of each list is shorter than the list, so that there is a following one.
MORE_THAN_A_PAGE = 60
TILES = 1_100

AUTH = {"auth": "required", "rate_reads_per_s": 100_000, "rate_writes_per_s": 100_000}

# Alive however long the requests take: nobody beats for it.
WORKER = """
insert into constellation.workers (id, host, pid, heartbeat_at)
values (%(worker)s, 'h', 1, now() + interval '5 hours')
"""
DEVICE = """
insert into constellation.gpus
       (id, uuid, host, idx, name, total_mem_mb, simulated, worker_id, engine_ready)
values (%(gpu)s, 'SIM-0', 'h', 0, 'CPU', 1024, true, %(worker)s, true)
"""
LEASE = """
insert into constellation.leases (fence, gpu_id, worker_id, run_id, account, mem_mb, expires_at)
values (nextval('constellation.fence'), %(gpu)s, %(worker)s, %(run)s, 'ann', 100,
        now() + interval '5 hours')
"""
RUNNING = """
update constellation.runs set state = 'RUNNING', gpu_id = %(gpu)s, started_at = clock_timestamp()
 where id = %(run)s
"""
COMPLETED_TILES = """
insert into constellation.tiles
       (id, digest, scene_id, model_id, run_id, job_id, row_off_px, col_off_px, height_px, width_px,
        state, footprint, geom_3857, area_km2, class_counts, valid_fraction, read_ms, infer_ms)
select gen_random_uuid(), id || '.' || n, scene_id, model_id, id, job_id, n / 100 * 512,
       n %% 100 * 512, 512, 512, 'COMPLETED', 'MULTIPOLYGON(((15 45, 15.1 45, 15.1 45.1, 15 45)))',
       'SRID=3857;MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))', 1, '{"1": 4}', 1, 1, 1
  from constellation.runs, generate_series(0, %(tiles)s - 1) n where id = %(run)s
"""
FAULT = """
insert into constellation.faults (id, run_id, gpu_id, kind, decision, message)
values (gen_random_uuid(), %(run)s, %(gpu)s, 'transient', 'retry', 'the file was away')
"""
MORE_SCENES = """
insert into constellation.scenes
       (id, key, uri, digest, grid, bands, nodata, gsd_m, footprint, area_km2, item)
select gen_random_uuid(), 'other_' || n, uri || n, md5(n::text), grid, bands, nodata, gsd_m,
       footprint, area_km2, item
  from constellation.scenes, generate_series(1, %(more)s) n where key = %(scene)s
"""


@dataclass(frozen=True)
class Furnished:
    """Keys of one account, by scope, and what is there for them."""

    keys: dict[Scope, str]
    scene: str
    job: str
    run: str
    webhook: str

    @property
    def model(self) -> str:
        return f"{MODEL_NAME}@1"


def furnish(service: Service) -> Furnished:
    """An account with a key of each scope, a model, scenes, a webhook, jobs, a run on a device."""
    save_model(service.database, MODEL_NAME)
    keys = {scope: make_key(service.database, "ann", scope).text for scope in Scope}
    with client(service, keys[Scope.OPERATOR]) as ann:
        of_ann = Service(service.url, service.database, service.scenes, ann)
        scene = add_scene(of_ann, SCENE, crs="EPSG:32618", west_m=350_000.0, north_m=3_840_000.0)
        webhook = ann.post("/webhooks", json={"url": HOOK_URL}).json()["id"]
        jobs = [new_job(ann, n) for n in range(MORE_THAN_A_PAGE)]
        run = ann.get(f"/jobs/{jobs[0]}").json()["runs"][0]["id"]
    work(service, UUID(run))
    return Furnished(keys, scene, jobs[0], run, webhook)


def new_job(ann: httpx.Client, number: int) -> str:
    """Submit a job and raise it, so that two events, deliveries and lines of the audit are made."""
    body = {"model": MODEL_NAME, "scenes": [SCENE], "name": f"job {number}"}
    made = ann.post("/jobs", json=body)
    assert made.status_code == 202, made.text
    job = str(made.json()["id"])
    assert ann.patch(f"/jobs/{job}", json={"priority": number % 10}).status_code == 200
    return job


def work(service: Service, run: UUID) -> None:
    """Let a run have a device, a fault, and more tiles than a page has."""
    args = {"worker": new_id(), "gpu": new_id(), "run": run, "tiles": TILES}
    args |= {"more": 2 * MORE_THAN_A_PAGE, "scene": SCENE}
    with service.database.transaction() as connection:
        for statement in (WORKER, DEVICE, LEASE, RUNNING, COMPLETED_TILES, FAULT, MORE_SCENES):
            connection.execute(statement, args)
