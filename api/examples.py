"""Examples of the OpenAPI document, by the names of parameters: one name means one thing."""

from typing import Any

ID = "0198f2a6-7c1e-7d2a-9b57-3f1c2f0e4d11"

OF_PARAMETERS: dict[str, Any] = {
    "account": "me",
    "action": "job.submitted",
    "after": "0,512",
    "area_id": ID,
    "bbox": "-76.6,34.5,-76.4,34.7",
    "by": "day,model",
    "code": "SplxlOBeZQQYbYS6WxSbIA",
    "created_after": "2026-11-01T00:00:00Z",
    "created_before": "2026-12-01T00:00:00Z",
    "error": "access_denied",
    "first_day": "2026-11-01",
    "follow": False,
    "format": "json",
    "from": "2026-11-01",
    "idempotency-key": "9f1f6f0e-cape-lookout",
    "if-none-match": '"9f86d081884c7d659a2feaa0"',
    "iss": "https://login.example.org/",
    "job": ID,
    "job_id": ID,
    "last-event-id": 0,
    "last_day": "2026-11-30",
    "limit": 50,
    "model": "eurosat-landcover@1",
    "name": "cape-lookout",
    "near": "13.4,52.5",
    "next": "/scenes/",
    "radius_m": 100_000,
    "run_id": ID,
    "scene": "s2_cape_lookout",
    "seconds": 600,
    "sort": "newest",
    "state": ["RUNNING"],
    "step_s": 5,
    "submitted_by": "local",
    "to": "2026-11-30",
    "uuid": "SIM-0",
    "webhook_id": ID,
    "x": 1176,
    "y": 1624,
    "z": 12,
}

# Where one name has several meanings: by operation.
OF_OPERATIONS: dict[str, dict[str, Any]] = {
    "show_model": {"reference": "eurosat-landcover@1"},
    "end_login": {"state": "af0ifjsldkj"},
    "show_series": {"by": "day"},
    "show_scene": {"reference": "s2_cape_lookout"},
}

# Cursors are opaque: the only right one is `next` of the page before.
WITHOUT = frozenset({"cursor"})

OF_BODIES: dict[str, Any] = {
    "change_job": {"priority": 10},
    "add_webhook": {"url": "https://hooks.example.org/jobs", "event_types": ["job.completed"]},
}


def give(operation: dict[str, Any]) -> None:
    """Add examples to an operation's parameters and body, where they have none of their own."""
    name = operation["operationId"]
    known = OF_PARAMETERS | OF_OPERATIONS.get(name, {})
    for parameter in operation.get("parameters", []):
        if (example := known.get(parameter["name"].lower())) is not None:
            parameter.setdefault("example", example)
    if name in OF_BODIES:
        content = operation["requestBody"]["content"]["application/json"]
        content.setdefault("example", OF_BODIES[name])
