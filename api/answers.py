"""Answers of the OpenAPI document, by operation: one story, of a job over Cape Lookout.

`tests/api/test_service.py` holds each to its form, every member of it included.
"""

import json
from typing import Any

Json = dict[str, Any]

JOB_ID = "0198f2a6-7c1e-7d2a-9b57-3f1c2f0e4d11"
RUN_ID = "0198f2a6-7d02-7a41-8c11-5b0a9e6f2c47"
SCENE_ID = "0198f29e-1b60-7f0c-a3d4-0c6a1f9b7e52"
GPU_ID = "0198f290-55aa-7c3e-b1f7-9a2d4e8c6b10"
GPU_UUID = "GPU-5f2e7a0c-9b1d-4c38-8e66-2d7f0a91c3b4"
HOOK_ID = "0198f2a1-90d4-7e55-8f2b-7c1d3a6e9f08"
MODEL = "eurosat-landcover@2"
AREA = [[[[-76.6, 34.5], [-76.4, 34.5], [-76.4, 34.7], [-76.6, 34.7], [-76.6, 34.5]]]]


def at(clock: str) -> str:
    """An instant of the story's day."""
    return f"2026-11-25T{clock}Z"


JOB: Json = {
    "id": JOB_ID,
    "name": f"{MODEL} on s2_cape_lookout",
    "state": "RUNNING",
    "priority": 10,
    "origin": "api",
    "submitted_by": "ann",
    "params": {
        "model": MODEL,
        "scenes": ["s2_cape_lookout"],
        "aoi": {"type": "MultiPolygon", "coordinates": AREA},
        "accept_gsd_mismatch": False,
        "reuse": True,
        "max_failed_tile_ratio": 0.5,
        "mode": "parallel",
        "gpu_count": 1,
        "gpu_mem_mb": None,
        "max_cloud_fraction": None,
        "area": "cape-lookout",
    },
    "created_at": at("07:30:00"),
    "started_at": at("07:30:01.2"),
    "finished_at": None,
    "error": None,
    "tiles_planned": 40,
    "tiles_reused": 4,
    "tiles_completed": 11,
    "tiles_failed": 1,
    "tiles_skipped": 0,
    "area_km2": 288.4,
}
# What has not begun yet.
UNTOUCHED: Json = {"tiles_completed": 0, "tiles_failed": 0, "area_km2": 0.0}
SUBMITTED: Json = JOB | UNTOUCHED | {"state": "PENDING", "priority": 0, "started_at": None}

RUN: Json = {
    "id": RUN_ID,
    "job_id": JOB_ID,
    "scene_id": SCENE_ID,
    "scene_key": "s2_cape_lookout",
    "model": MODEL,
    "state": "RUNNING",
    "device_uuid": GPU_UUID,
    "simulated": False,
    "attempt": 1,
    "tiles_planned": 40,
    "tiles_reused": 4,
    "tiles_completed": 11,
    "tiles_failed": 1,
    "tiles_skipped": 0,
    "created_at": at("07:30:00"),
    "started_at": at("07:30:01.2"),
    "finished_at": None,
    "error": None,
    "metrics": {},
    "outputs": {},
    "waiting": None,
}
ENDED: Json = RUN | {
    "state": "COMPLETED",
    "tiles_completed": 35,
    "finished_at": at("07:30:05.8"),
    "outputs": {
        "predictions": f"/data/lake/predictions/model={MODEL}/date=2026-11-25/{RUN_ID}.parquet",
        "classes": f"/data/lake/rasters/{RUN_ID}/classes.tif",
    },
}
WAITING: Json = RUN | {
    "state": "QUEUED",
    "device_uuid": None,
    "simulated": None,
    "attempt": 2,
    "tiles_completed": 0,
    "tiles_failed": 0,
    "started_at": None,
    "waiting": {
        "code": "devices_busy",
        "reason": "all devices that it fits on are busy",
        "place": 2,
        "estimated_start_at": at("07:31:20"),
    },
}
PROGRESS: Json = {
    "tiles_done": 16,
    "tiles_planned": 40,
    "tiles_per_s": 6.7,
    "eta_at": at("07:30:06.5"),
    "faults": [
        {
            "kind": "transient",
            "count": 2,
            "latest_at": at("07:30:02.1"),
            "latest": "the scene's file could not be read right now",
        }
    ],
    "tile_errors": [{"error": "the block at row 512, column 1024 cannot be decoded", "tiles": 1}],
}
DETAIL: Json = JOB | {"progress": PROGRESS, "runs": [RUN]}
STILL: Json = {"tiles_per_s": None, "eta_at": None}
CANCELLED: Json = JOB | {
    "state": "CANCELLED",
    "finished_at": at("07:30:03"),
    "progress": PROGRESS | STILL,
    "runs": [RUN | {"state": "CANCELLED", "finished_at": at("07:30:03")}],
}
RETRIED: Json = JOB | {
    "state": "PENDING",
    "progress": PROGRESS | STILL,
    "runs": [RUN | {"state": "CANCELLED", "finished_at": at("07:30:03")}, WAITING],
}

QUOTE: Json = {
    "model": MODEL,
    "tiles_planned": 40,
    "tiles_reused": 4,
    "tiles_to_run": 36,
    "device_s": {"low": 3.4, "expected": 4.6, "high": 7.9},
    "device_s_reason": None,
    "finish_at": {"low": at("07:30:09"), "expected": at("07:30:11"), "high": at("07:30:15")},
    "finish_reason": None,
    "kinds": [
        {
            "name": "NVIDIA H100 80GB HBM3",
            "devices": 2,
            "tiles_seen": 1840,
            "device_s": {"low": 3.4, "expected": 4.6, "high": 7.9},
        }
    ],
    "scenes": [
        {
            "scene": "s2_cape_lookout",
            "tiles_planned": 40,
            "tiles_reused": 4,
            "gsd_mismatch": False,
        }
    ],
}

LINE = (
    'id: 4711\nevent: line\ndata: {"id":4711,"type":"log.line","at":"2026-11-25T07:30:02Z",'
    f'"job_id":"{JOB_ID}","run_id":"{RUN_ID}",'
    '"payload":{"stream":"log","level":"INFO","text":"12 of 40 tiles"}}\n\n'
    "event: end\ndata: {}\n\n"
)

SQUARE = [[[[-76.6, 34.65], [-76.54, 34.65], [-76.54, 34.7], [-76.6, 34.7], [-76.6, 34.65]]]]
TILES: Json = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "0198f2a6-8f10-7b0e-9d3a-6c2e1f7a5b94",
            "geometry": {"type": "MultiPolygon", "coordinates": SQUARE},
            "properties": {
                "row_off_px": 0,
                "col_off_px": 512,
                "height_px": 512,
                "width_px": 512,
                "state": "COMPLETED",
                "class_counts": {"1": 12, "9": 52},
                "top_class": 9,
                "confidence": 0.94,
                "statistics": None,
                "valid_fraction": 1.0,
                "cloud_fraction": None,
                "gsd_mismatch": False,
                "area_km2": 26.2,
                "read_ms": 8.1,
                "infer_ms": 21.4,
                "error": None,
            },
        }
    ],
    "next": "0,512",
}

SAMPLE: Json = {
    "at": at("07:30:02"),
    "utilisation_pct": 91.0,
    "mem_used_mb": 2310,
    "temperature_c": 61.0,
    "power_w": 412.5,
}
HOLDER: Json = {
    "run_id": RUN_ID,
    "job_id": JOB_ID,
    "account": "ann",
    "acquired_at": at("07:30:00.9"),
    "expires_at": at("07:30:17"),
}
GPU: Json = {
    "id": GPU_ID,
    "uuid": GPU_UUID,
    "host": "node-1",
    "index": 0,
    "name": "NVIDIA H100 80GB HBM3",
    "total_mem_mb": 81559,
    "compute_capability": "9.0",
    "simulated": False,
    "slots": 2,
    "runs": 1,
    "leased_mem_mb": 2048,
    "online": True,
    "engine_ready": True,
    "seen_at": at("07:30:02"),
    "health": "ok",
    "health_reason": None,
    "health_at": at("06:12:44"),
    "faults": [
        {
            "kind": "device",
            "decision": "quarantine_device",
            "message": "Xid 94: a contained memory error",
            "run_id": None,
            "at": at("06:11:58"),
        }
    ],
    "sample": SAMPLE,
    "held_by": HOLDER,
    "holders": [HOLDER],
}

BAND: Json = {
    "index": 1,
    "name": "B04",
    "common_name": "red",
    "dtype": "uint16",
    "scale": 0.0001,
    "offset": -0.1,
    "wavelength_um": 0.665,
}
SCENE: Json = {
    "id": SCENE_ID,
    "key": "s2_cape_lookout",
    "uri": "/data/scenes/s2_cape_lookout.tif",
    "digest": "6b1f0c9a" * 8,
    "crs": "EPSG:32618",
    "width_px": 4096,
    "height_px": 2560,
    "gsd_m": 10.0,
    "area_km2": 1048.6,
    "bands": [BAND],
    "nodata": 0.0,
    "quality": {"kind": "scl", "uri": "/data/scenes/s2_cape_lookout_scl.tif", "index": 1},
    "footprint": {"type": "MultiPolygon", "coordinates": AREA},
    "start_at": "2026-09-14T15:59:01Z",
    "end_at": "2026-09-14T15:59:01Z",
    "created_at": at("07:20:11"),
}
SCENE_DETAIL: Json = SCENE | {
    "item": {"type": "Feature", "stac_version": "1.1.0", "id": "s2_cape_lookout"}
}
CARD: Json = {
    "id": "0198f28c-3e71-7b9d-8a44-1d5f0b2c7e93",
    "name": "eurosat-landcover",
    "version": "2",
    "reference": MODEL,
    "digest": "c41d7e02" * 8,
    "architecture": "resnet-d-compact",
    "task": "scene-classification",
    "bands": ["red", "green", "blue"],
    "chip_px": 64,
    "halo_px": 0,
    "gsd_min_m": 5.0,
    "gsd_max_m": 20.0,
    "classes": [{"value": 9, "name": "SeaLake", "color": "#1f78b4"}],
    "created_at": at("06:00:00"),
    "document": {"type": "Feature", "properties": {"mlm:name": "eurosat-landcover"}},
}

KEPT: Json = {
    "id": "0198f29f-4c1d-7a06-b2e8-6d0f5a7c9e13",
    "account": "ann",
    "name": "cape-lookout",
    "bbox": [-76.6, 34.5, -76.4, 34.7],
    "km2": 407.4,
    "created_at": at("07:19:40"),
}
HOOK: Json = {
    "id": HOOK_ID,
    "account": "ann",
    "url": "https://hooks.example.org/jobs",
    "event_types": ["job.completed"],
    "created_at": at("07:21:00"),
}
DELIVERY: Json = {
    "id": 412,
    "event_id": 9031,
    "event_type": "job.completed",
    "attempts": 2,
    "status": 204,
    "error": None,
    "created_at": at("07:30:06"),
    "due_at": at("07:30:11"),
    "delivered_at": at("07:30:11.3"),
    "gave_up_at": None,
}

USED: Json = {
    "day": "2026-11-25",
    "model": MODEL,
    "gpu_s": 4.6,
    "energy_j": 1896.0,
    "tiles": 35,
    "area_km2": 917.5,
}
USAGE: Json = {
    "account": "ann",
    "first_day": "2026-11-01",
    "last_day": "2026-11-30",
    "total": USED | {"day": None, "model": None},
    "items": [USED],
}
STANDING: Json = {"rank": 1, "account": "ann"} | {
    name: USED[name] for name in ("gpu_s", "energy_j", "tiles", "area_km2")
}
DAYS: Json = {"first_day": "2026-11-01", "last_day": "2026-11-30"}

FIGURES: Json = {"tiles": 33, "count": 2112, "area_km2": 251.9, "confidence": 0.91}
FOUND: Json = FIGURES | {"value": 9, "name": "SeaLake", "share": 0.878}
RESULTS: Json = {
    "model": MODEL,
    "unit": "chip",
    "runs": 1,
    "tiles_reused": 4,
    "missing": 1,
    "missing_runs": [{"run_id": RUN_ID, "reason": "missing"}],
    "total": {"tiles": 35, "count": 2240, "area_km2": 286.9, "confidence": 0.89},
}

SEEN: Json = {
    "model": MODEL,
    "tiles": 35,
    "area_km2": 917.5,
    "bounds": [-76.7, 34.4, -76.3, 34.8],
    "computed_at": at("07:30:05.6"),
}
TILEJSON: Json = {
    "tilejson": "3.0.0",
    "name": MODEL,
    "tiles": [f"/api/v1/coverage/{MODEL}/{{z}}/{{x}}/{{y}}"],
    "minzoom": 0,
    "maxzoom": 22,
    "bounds": [-76.7, 34.4, -76.3, 34.8],
    "vector_layers": [
        {"id": "tiles", "description": "Tiles", "fields": {"class": "Value of the class"}}
    ],
}

SESSION: Json = {
    "account": "ann",
    "scope": "operator",
    "door": "session",
    "actor": "k3fqzm2a",
    "expires_at": at("19:30:00"),
    "csrf_token": "5c1e0f7a" * 8,
}
AUDIT: Json = {
    "id": 77,
    "at": at("07:30:00"),
    "account": "ann",
    "actor": "k3fqzm2a",
    "action": "job.submitted",
    "object": JOB_ID,
    "address": "192.0.2.7",
    "details": {},
}

# By operation, status and type of the answer.
ANSWERS: dict[tuple[str, str, str], Any] = {
    (operation, status, "application/json"): answer
    for operation, status, answer in (
        ("submit_job", "202", SUBMITTED),
        ("list_jobs", "200", {"items": [JOB], "next": None}),
        ("quote_job", "200", QUOTE),
        ("show_job", "200", DETAIL),
        ("change_job", "200", DETAIL),
        ("cancel_job", "202", CANCELLED),
        ("retry_job", "202", RETRIED),
        ("show_run", "200", ENDED),
        ("list_gpus", "200", {"items": [GPU]}),
        ("list_samples", "200", {"uuid": GPU_UUID, "simulated": False, "items": [SAMPLE]}),
        ("add_scene", "201", SCENE_DETAIL),
        ("add_scene", "200", SCENE_DETAIL),
        ("list_scenes", "200", {"items": [SCENE], "next": None}),
        ("show_scene", "200", SCENE_DETAIL),
        ("list_models", "200", {"items": [CARD]}),
        ("show_model", "200", CARD),
        ("add_area", "201", KEPT),
        ("add_area", "200", KEPT),
        ("list_areas", "200", {"items": [KEPT], "next": None}),
        (
            "show_area",
            "200",
            KEPT | {"geometry": {"type": "MultiPolygon", "coordinates": AREA}},
        ),
        ("remove_area", "200", KEPT),
        ("add_webhook", "201", HOOK | {"secret": "whsec_" + "x" * 43}),
        ("list_webhooks", "200", {"items": [HOOK]}),
        ("remove_webhook", "200", HOOK),
        ("list_deliveries", "200", {"items": [DELIVERY], "next": None}),
        ("show_usage", "200", USAGE),
        ("show_leaderboard", "200", DAYS | {"items": [STANDING]}),
        ("show_classes", "200", RESULTS | {"items": [FOUND]}),
        (
            "show_series",
            "200",
            RESULTS | {"by": "day", "items": [FOUND | {"period": "2026-11-25"}]},
        ),
        ("list_coverage", "200", {"items": [SEEN]}),
        ("show_coverage", "200", TILEJSON),
        ("sign_in", "201", SESSION),
        ("show_session", "200", SESSION),
        ("show_sign_in", "200", {"oidc_name": "Example Login"}),
        ("list_audit", "200", {"items": [AUDIT], "next": None}),
        ("show_about", "200", {"version": "0.1.0", "dagster_url": "http://127.0.0.1:3000"}),
        ("healthz", "200", {"status": "ok"}),
        (
            "readyz",
            "200",
            {
                "ready": True,
                "parts": {
                    "postgres": {"ok": True, "detail": "connected"},
                    "worker": {"ok": True, "detail": "1 live, 2 devices, 2 engines ready"},
                    "nats": {"ok": True, "detail": "connected"},
                },
            },
        ),
        (
            "readyz",
            "503",
            {
                "ready": False,
                "parts": {
                    "postgres": {"ok": True, "detail": "connected"},
                    "worker": {"ok": False, "detail": "0 live, 0 devices, 0 engines ready"},
                    "nats": {"ok": True, "detail": "connected"},
                },
            },
        ),
    )
} | {
    ("show_classes", "200", "text/csv"): (
        "value,name,tiles,count,area_km2,share,confidence\r\n9,SeaLake,33,2112,251.9,0.878,0.91\r\n"
    ),
    ("show_series", "200", "text/csv"): (
        "period,value,name,tiles,count,area_km2,share,confidence\r\n"
        "2026-11-25,9,SeaLake,33,2112,251.9,0.878,0.91\r\n"
    ),
    ("list_tiles", "200", "application/geo+json"): TILES,
    ("show_map_tile", "200", "application/vnd.mapbox-vector-tile"): "",  # nothing is covered there
    ("follow_logs", "200", "text/event-stream"): LINE,
    ("show_metrics", "200", "text/plain"): (
        "# HELP constellation_jobs jobs by state\n# TYPE constellation_jobs gauge\n"
        'constellation_jobs{state="RUNNING"} 1.0\n'
    ),
    ("show_usage", "200", "text/csv"): (
        f"day,model,gpu_s,energy_j,tiles,area_km2\r\n2026-11-25,{MODEL},4.6,1896.0,35,917.5\r\n"
    ),
}


def give(operation: Json) -> None:
    """Add examples to an operation's answers: copies, because YAML names what it meets twice."""
    for (name, status, kind), example in ANSWERS.items():
        if name == operation["operationId"]:
            operation["responses"][status]["content"][kind]["example"] = json.loads(
                json.dumps(example)
            )
