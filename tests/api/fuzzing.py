"""schemathesis against a server: its command, as anyone may run it, with what it must be told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from api.schemas.job import EXAMPLE
from constellation_pipelines.domain.ids import new_id
from tests.api.service import Service, add_scene, save_model

MODEL_NAME = "eurosat-landcover"
SCENE = "s2_cape_lookout"

# A log that is followed ends with its job, and no job of this server ever ends; requests may have
# headers that nobody knows. Not to be ready is no fault of a server without a worker. That every
# request of a right form is accepted is nothing to ask for: it may name what there is not.
CONFIG = """
[generation]
max-examples = {examples}
no-shrink = true
database = "none"

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


def prepare(service: Service) -> None:
    """Give a server the model and the scene that the document's examples name, and a GPU."""
    save_model(service.database, MODEL_NAME)
    add_scene(service, SCENE, crs="EPSG:32618", west_m=350_000.0, north_m=3_840_000.0)
    service.database.execute(
        "insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated)"
        " values (%s, 'SIM-0', 'h', 0, 'CPU', 1, true)",
        (new_id(),),
    )


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the names that the server knows in place of any, so that requests get past
    the first refusal.
    """
    of_job = document["components"]["schemas"]["JobRequest"]["properties"]
    of_job["model"] = {"enum": [MODEL_NAME, f"{MODEL_NAME}@1"]}
    of_job["scenes"] |= {"items": {"enum": [SCENE]}}
    of_job["aoi"] = {"enum": [None, EXAMPLE["aoi"]]}
    del of_job["max_cloud_fraction"]  # the scene has no mask
    of_job["reuse"] = {"type": "boolean"}
    return document


def fuzz(
    service: Service,
    folder: Path,
    *,
    examples: int,
    scenarios: int,
    timeout_s: float,
    seed: int = 1,
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis, one seed the same way each time; it exits with 0 where it found nothing."""
    config, document = folder / "schemathesis.toml", folder / "openapi.json"
    config.write_text(CONFIG.format(examples=examples, scenarios=scenarios))
    said = httpx.get(f"{service.url}/openapi.json", timeout=60).json()
    document.write_text(json.dumps(narrowed(said)))
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(config)),
        *("run", str(document), "--url", service.url, "--seed", str(seed)),
        *("--no-color", "--suppress-health-check", "all", "--request-timeout", "60"),
    ]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False
    )
