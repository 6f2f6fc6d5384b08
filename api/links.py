"""Links of the OpenAPI document: what an answer holds that other operations ask for.

People read them as the way through the API; tools that test it walk them.
"""

from typing import Any

BODY = "$response.body#/"

# Operation and status -> the operations one can go on with, and where their parameters come from.
JOB = {
    name: {"job_id": BODY + "id"}
    for name in ("show_job", "change_job", "cancel_job", "retry_job", "follow_logs")
}
RUN = {name: {"run_id": BODY + "runs/0/id"} for name in ("show_run", "list_tiles")}

LINKS: dict[tuple[str, str], dict[str, dict[str, str]]] = {
    ("submit_job", "202"): JOB,
    ("show_job", "200"): JOB | RUN,
    ("cancel_job", "202"): {name: JOB[name] for name in ("show_job", "retry_job")},
    ("list_jobs", "200"): {
        "list_jobs": {"cursor": BODY + "next"},
        "show_job": {"job_id": BODY + "items/0/id"},
    },
    ("list_tiles", "200"): {
        "list_tiles": {"run_id": "$request.path.run_id", "after": BODY + "next"}
    },
    ("add_scene", "201"): {"show_scene": {"reference": BODY + "key"}},
    ("list_scenes", "200"): {
        "list_scenes": {"cursor": BODY + "next"},
        "show_scene": {"reference": BODY + "items/0/key"},
    },
    ("list_models", "200"): {"show_model": {"reference": BODY + "items/0/reference"}},
    ("list_gpus", "200"): {"list_samples": {"uuid": BODY + "items/0/uuid"}},
    ("show_session", "200"): {"show_usage": {"account": BODY + "account"}},
    ("list_audit", "200"): {"list_audit": {"cursor": BODY + "next"}},
}


def give(name: str, responses: dict[str, Any]) -> None:
    """Add an operation's links to its answers."""
    for (operation, status), targets in LINKS.items():
        if operation == name:
            responses[status]["links"] = {
                target: {"operationId": target, "parameters": parameters}
                for target, parameters in targets.items()
            }
