"""schemathesis against a server: its command, as anyone may run it, with what it must be told."""

import json
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from api.schemas.job import EXAMPLE
from tests.api.furnished import HOOK_URL, MODEL_NAME, SCENE
from tests.api.service import Service
from tests.api.walks import Walks, read

# A log that is followed ends with its job, and no job of this server ever ends; requests may have
# headers that nobody knows. Not to be ready is no fault of a server without a worker. That every
# request of a right form is accepted is nothing to ask for: it may name what there is not. Each
# request has one key: with a made-up cookie beside it, it would have two and be refused. Wrong
# keys are slowed down by 429, which `ignored_auth` takes for a fault: tests/api/test_keys.py asks.
CONFIG = """
[generation]
max-examples = {examples}
no-shrink = true
database = "none"
with-security-parameters = false

[phases.stateful]
max-steps = 24

[phases.stateful.generation]
max-examples = {scenarios}
mode = "positive"

[checks]
positive_data_acceptance.enabled = false
missing_required_header.enabled = false
ignored_auth.enabled = false
object_level_authorization.enabled = false

[[operations]]
include-operation-id = "follow_logs"
parameters = {{ "query.follow" = "false" }}
checks = {{ negative_data_rejection = {{ enabled = false }} }}

[[operations]]
include-operation-id = "readyz"
checks = {{ not_a_server_error = {{ enabled = false }} }}
"""

PAGING = {"cursor", "limit"}


@dataclass(frozen=True)
class Fuzzed:
    """How schemathesis ended: `code` is 0 where it found nothing; `said` is what it printed."""

    code: int
    said: str
    walks: Walks
    document: dict[str, Any]


def narrowed(document: dict[str, Any], key: str) -> dict[str, Any]:
    """The document with the names that the server knows in place of any, so that requests get past
    the first refusal.
    """
    schemas = document["components"]["schemas"]
    of_job = schemas["JobRequest"]["properties"]
    of_job["model"] = {"enum": [MODEL_NAME, f"{MODEL_NAME}@1"]}
    of_job["scenes"] |= {"items": {"enum": [SCENE]}}
    of_job["aoi"] = {"enum": [None, EXAMPLE["aoi"]]}
    del of_job["max_cloud_fraction"]  # the scene has no mask
    of_job["reuse"] = {"type": "boolean"}
    of_scene = schemas["SceneRequest"]["properties"]
    of_scene["path"] = {"enum": [f"{SCENE}.tif"]}
    of_scene["bands"] = {"enum": [None, ["red", "green", "blue"]]}
    del of_scene["url"], of_scene["quality"]
    of_job["area"] = {"type": "null"}
    schemas["AreaRequest"]["properties"]["geometry"] = {"enum": [EXAMPLE["aoi"]]}
    schemas["WebhookRequest"]["properties"]["url"] = {"enum": [HOOK_URL]}
    schemas["SignIn"]["properties"]["key"] = {"enum": [key]}
    return document


def unfiltered(document: dict[str, Any]) -> dict[str, Any]:
    """The document with nothing but pages in the list of jobs. Requests then are right, but not all
    that are right: it is not for those that are to be refused. Links that lead to a filter go too:
    one to a parameter that is not there would end all walks.
    """
    listing = document["paths"]["/api/v1/jobs"]["get"]
    kept = [one for one in listing["parameters"] if one["name"] in PAGING]
    listing["parameters"] = kept
    for links in links_of(document):
        for name, link in list(links.items()):
            filters = link["operationId"] == listing["operationId"] and link["parameters"]
            if filters and not filters.keys() <= PAGING:
                del links[name]
    return document


def links_of(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The links of every answer of the document."""
    for operations in document["paths"].values():
        for operation in operations.values():
            for answer in operation["responses"].values():
                yield answer.get("links", {})


def fuzz(
    service: Service,
    folder: Path,
    *,
    key: str,
    examples: int,
    scenarios: int,
    timeout_s: float,
    seed: int = 1,
    repeated_for_s: int | None = None,
    walks_only: bool = False,
) -> Fuzzed:
    """Run schemathesis as whoever has this key.

    A walk over links ends early where the server's state makes it go another way than before:
    `repeated_for_s` has fuzzing and walks begun anew until so much time has gone. `walks_only`
    leaves out all else, and the filters of jobs: most leave nothing to go on with.
    """
    config, document = folder / "schemathesis.toml", folder / "openapi.json"
    report = folder / "report.ndjson"
    config.write_text(CONFIG.format(examples=examples, scenarios=scenarios))
    said = httpx.get(f"{service.url}/openapi.json", timeout=60).json()
    narrow = narrowed(deepcopy(said), key)
    document.write_text(json.dumps(unfiltered(narrow) if walks_only else narrow))
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config)),
        *("run", str(document), "--url", service.url, "--seed", str(seed)),
        *("--header", f"Authorization: Bearer {key}", "--continue-on-failure"),
        *("--report", "ndjson", "--report-ndjson-path", str(report)),
        *("--no-color", "--suppress-health-check", "all", "--request-timeout", "60"),
    ]
    if walks_only:
        command += ["--phases", "stateful"]
    if repeated_for_s is not None:
        command += ["--max-time", str(repeated_for_s)]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return Fuzzed(done.returncode, done.stdout + done.stderr, read(report, said), said)
