"""The generated clients work against the server that they were generated from."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.service import MODEL, Service

CHECKOUT = Path(__file__).parent.parent.parent
ENVIRONMENT = CHECKOUT / ".venv-clients" / ".stamp"
BUILT = CHECKOUT / "build" / "clients"

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

GO_MODULE = """
module example.org/trial

go 1.18

require example.org/constellation/client v0.0.0

replace example.org/constellation/client => {client}
"""

GO_PROGRAM = """
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"

	c "example.org/constellation/client"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	url, model, scene := os.Args[1], os.Args[2], os.Args[3]
	configuration := c.NewConfiguration()
	configuration.Servers = c.ServerConfigurations{{URL: url}}
	jobs, ctx := c.NewAPIClient(configuration).JobsAPI, context.Background()
	request := *c.NewJobRequest(model, []string{scene})
	job, _, err := jobs.SubmitJob(ctx).JobRequest(request).IdempotencyKey("go-1").Execute()
	must(err)
	again, _, err := jobs.SubmitJob(ctx).JobRequest(request).IdempotencyKey("go-1").Execute()
	must(err)
	page, _, err := jobs.ListJobs(ctx).State([]c.JobState{c.JOBSTATE_PENDING}).Limit(1).Execute()
	must(err)
	ended, _, err := jobs.CancelJob(ctx, job.Id).Execute()
	must(err)
	request = *c.NewJobRequest("no@1", []string{scene})
	_, answer, err := jobs.SubmitJob(ctx).JobRequest(request).Execute()
	var refused *c.GenericOpenAPIError
	errors.As(err, &refused)
	problem, _ := refused.Model().(c.Problem)
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"same":    job.Id == again.Id && job.Id == page.Items[0].Id,
		"state":   ended.State,
		"refused": []any{answer.StatusCode, problem.Errors[0].Pointer},
	}))
}
"""


@pytest.fixture(scope="module")
def clients() -> Path:
    """The folder of both clients, made from the API's document as it is."""
    if not ENVIRONMENT.is_file():
        pytest.skip(
            "the clients' generator is not installed: `make test` and `make clients` install it"
        )
    answer(str(CHECKOUT / "scripts" / "clients"))
    return BUILT


def answer(*command: str, cwd: Path = CHECKOUT, **environment: str) -> str:
    """What a command prints; it must end well."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_client_takes_a_job_from_submission_to_its_end(
    clients: Path, service: Service, scene: str
) -> None:
    command = (sys.executable, "-c", SCRIPT, service.url, MODEL, scene)
    assert json.loads(answer(*command, PYTHONPATH=str(clients / "python"))) == {
        "same": True,
        "tiles": 4,
        "features": [],
        "state": "CANCELLED",
        "account": "local",
        "refused": [422, "/model"],
    }


def test_the_go_client_compiles_and_takes_a_job_from_submission_to_its_end(
    clients: Path, service: Service, scene: str, tmp_path: Path
) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go: install it to have the Go client compiled and tried")
    (tmp_path / "go.mod").write_text(GO_MODULE.format(client=clients / "go"))
    (tmp_path / "main.go").write_text(GO_PROGRAM)
    # Nothing is fetched: neither modules nor another version of Go.
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    folders = {"GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path / "go")}
    answer(go, "build", "-o", "trial", ".", cwd=tmp_path, **offline, **folders)
    assert json.loads(answer(str(tmp_path / "trial"), service.url, MODEL, scene)) == {
        "same": True,
        "state": "CANCELLED",
        "refused": [422, "/model"],
    }
