"""Links of the OpenAPI document: what an answer holds that other operations ask for.

People read them as the way through the API; tools that test it walk them.
"""

from copy import deepcopy
from typing import Any

Link = dict[str, Any]

OF_JOB = ("show_job", "change_job", "cancel_job", "retry_job", "follow_logs")
OF_RUN = ("show_run", "list_tiles")
OF_AREA = ("show_area", "remove_area")
OF_RESULTS = ("show_classes", "show_series")
OF_WEBHOOK = ("list_deliveries", "remove_webhook")


def found(**places: str) -> Link:
    """A link whose parameters lie in the answer at these places, JSON pointers."""
    return {"parameters": {name: f"$response.body#/{place}" for name, place in places.items()}}


def each(targets: tuple[str, ...], **places: str) -> dict[str, Link]:
    """The same link to several operations."""
    return {target: found(**places) for target in targets}


def onward(path: str, cursor: str) -> Link:
    """The following page of a list, whose path has a parameter."""
    here = {path: f"$request.path.{path}"}
    return {"parameters": here | found(**{cursor: "next"})["parameters"]}


JOB = each(OF_JOB, job_id="id")
IN_PROGRESS = each(("show_job", "change_job", "cancel_job", "follow_logs"), job_id="id")
AREA = each(OF_AREA, area_id="id")
WEBHOOK = each(OF_WEBHOOK, webhook_id="id")

# Operation and status -> the operations one can go on with, and where what they take comes from.
LINKS: dict[tuple[str, str], dict[str, Link]] = {
    ("quote_job", "200"): {
        "submit_job": {"requestBody": "$request.body"},
        "show_model": found(reference="model"),
        "show_scene": found(reference="scenes/0/scene"),
    },
    ("submit_job", "202"): JOB,
    ("show_job", "200"): JOB | each(OF_RUN, run_id="runs/0/id"),
    ("change_job", "200"): IN_PROGRESS,
    ("cancel_job", "202"): each(("show_job", "retry_job", "follow_logs"), job_id="id"),
    ("retry_job", "202"): IN_PROGRESS | each(OF_RUN, run_id="runs/0/id"),
    ("list_jobs", "200"): {"list_jobs": found(cursor="next")} | each(OF_JOB, job_id="items/0/id"),
    ("show_run", "200"): {
        "show_job": found(job_id="job_id"),
        "list_tiles": found(run_id="id"),
        "show_scene": found(reference="scene_key"),
        "show_model": found(reference="model"),
        "list_samples": found(uuid="device_uuid"),
        **each(OF_RESULTS, model="model", job="job_id", scene="scene_key"),
    },
    ("list_tiles", "200"): {"list_tiles": onward("run_id", "after")},
    ("add_scene", "200"): {"show_scene": found(reference="key")},
    ("add_scene", "201"): {"show_scene": found(reference="key")},
    ("list_scenes", "200"): {
        "list_scenes": found(cursor="next"),
        "show_scene": found(reference="items/0/key"),
    },
    ("add_area", "200"): AREA,
    ("add_area", "201"): AREA,
    ("list_areas", "200"): each(OF_AREA, area_id="items/0/id"),
    ("show_area", "200"): {"remove_area": found(area_id="id")},
    ("list_models", "200"): {
        "show_model": found(reference="items/0/reference"),
        "list_jobs": found(model="items/0/reference"),
        **each(OF_RESULTS, model="items/0/reference"),
    },
    ("show_model", "200"): {
        "list_jobs": found(model="reference"),
        "show_coverage": found(model="reference"),
    }
    | each(OF_RESULTS, model="reference"),
    ("list_gpus", "200"): {
        "list_samples": found(uuid="items/0/uuid"),
        "show_run": found(run_id="items/0/held_by/run_id"),
        "show_job": found(job_id="items/0/held_by/job_id"),
    },
    ("add_webhook", "201"): WEBHOOK,
    ("list_webhooks", "200"): each(OF_WEBHOOK, webhook_id="items/0/id"),
    ("list_deliveries", "200"): {"list_deliveries": onward("webhook_id", "cursor")},
    ("show_classes", "200"): {"show_series": found(model="model")},
    ("show_series", "200"): {"show_classes": found(model="model")},
    ("list_coverage", "200"): {"show_coverage": found(model="items/0/model")},
    ("show_session", "200"): {"show_usage": found(account="account")},
    ("sign_in", "201"): {"show_usage": found(account="account")},
    ("show_leaderboard", "200"): {"show_usage": found(account="items/0/account")},
    ("list_audit", "200"): {"list_audit": found(cursor="next")},
}


def give(name: str, responses: dict[str, Any]) -> None:
    """Add an operation's links to its answers."""
    for (operation, status), targets in LINKS.items():
        if operation == name:
            responses[status]["links"] = {
                target: {"operationId": target, **deepcopy(link)}
                for target, link in targets.items()
            }
