"""The same statements over asyncpg, on the server's core, in an environment of its own."""

import json
import subprocess
from pathlib import Path

from benchmarks.environment import CHECKOUT, prepare
from constellation_pipelines.store import job_list
from constellation_pipelines.store.job_list import ORDERS, Sort

FOLDER = CHECKOUT / ".venv-peers-api"
HERE = Path(__file__).parent
RUN_S = 120

LIST = [job_list.PAGE.format(order=ORDERS[Sort.NEWEST], where="", limit=50)]

# The rows of a job with one run, and its event.
SUBMIT = [
    "insert into constellation.jobs (id, name, params, priority, state, origin, submitted_by)"
    " values ({id}, 'raw', '{}', 0, 'PENDING', 'api', 'local')",
    "insert into constellation.runs (id, job_id, account, scene_id, model_id, state)"
    " select {id}, {id}, 'local', (select id from constellation.scenes limit 1),"
    " (select id from constellation.models limit 1), 'PENDING'",
    "select constellation.emit('job.submitted', {id}, null, '{}')",
]


def raw_rates(
    url: str, folder: Path, core: int, *, connections: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Transactions a second and processor time of each, by what they do."""
    task = folder / "raw.json"
    what = {"list": LIST, "submit": SUBMIT}
    limits = {"connections": connections, "seconds": seconds}
    task.write_text(json.dumps({"url": url, "transactions": [*what.values()]} | limits))
    command = [str(prepare(FOLDER, HERE / "peers.txt")), str(HERE / "raw.py"), str(task)]
    done = subprocess.run(
        ["taskset", "-c", str(core), *command],
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the asyncpg peer failed: {done.stderr.strip().splitlines()[-1:]}")
    return dict(zip(what, json.loads(done.stdout), strict=True))
