"""The generated clients: the Python one works against the server that it was generated from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.service import MODEL, Service

CHECKOUT = Path(__file__).parent.parent.parent
ENVIRONMENT = CHECKOUT / ".venv-clients" / ".stamp"

# What someone writes who has the client: a job from submission to its end, and a refusal.
SCRIPT = """
import json, sys
import constellation_client as c

url, model, scene = sys.argv[1:]
with c.ApiClient(c.Configuration(host=url)) as client:
    jobs = c.JobsApi(client)
    request = c.JobRequest(model=model, scenes=[scene], name="generated")
    job = jobs.submit_job(request, idempotency_key="generated-1")
    again = jobs.submit_job(request, idempotency_key="generated-1")
    shown = jobs.show_job(job.id)
    page = jobs.list_jobs(state=["PENDING"], limit=1)
    tiles = c.RunsApi(client).list_tiles(shown.runs[0].id)
    ended = jobs.cancel_job(job.id)
    usage = c.UsageApi(client).show_usage("me")
    try:
        jobs.submit_job(c.JobRequest(model="no@1", scenes=[scene]))
    except c.ApiException as error:
        refused = [error.status, json.loads(error.body)["errors"][0]["pointer"]]
print(json.dumps({
    "same": job.id == again.id == page.items[0].id, "tiles": job.tiles_planned,
    "features": tiles.features, "state": ended.state, "account": usage.account,
    "refused": refused,
}))
"""


def test_clients_are_generated_and_the_python_one_takes_a_job_from_submission_to_its_end(
    service: Service, scene: str
) -> None:
    if not ENVIRONMENT.is_file():
        pytest.skip(
            "the clients' generator is not installed: `make test` and `make clients` install it"
        )
    command = [str(CHECKOUT / "scripts" / "clients")]
    made = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stderr
    assert "SubmitJob" in (CHECKOUT / "build" / "clients" / "go" / "api_jobs.go").read_text()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "build" / "clients" / "python")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, service.url, MODEL, scene],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "same": True,
        "tiles": 4,
        "features": [],
        "state": "CANCELLED",
        "account": "local",
        "refused": [422, "/model"],
    }
