"""Dagster's instance folder: where it stores, launches and logs."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

SEARCH_PATH = "-csearch_path=dagster,public"
# Dagster writes some thirty events a run, each in a transaction of its own. What a crash of the
# server could take back of them is repeated by the run's next attempt; what must not be taken back,
# a run's end, waits for the disk all the same: see `project_dagster_run`.
QUICK_COMMIT = "-csynchronous_commit=off"
DATABASE_VARIABLE = "CONSTELLATION_DATABASE_URL"
DAGSTER_DATABASE_VARIABLE = "CONSTELLATION_DAGSTER_DATABASE_URL"


def dagster_database_url(database_url: str) -> str:
    """The same database for Dagster: the driver it is built on, and its tables in a schema apart.

    The driver is named because a newer SQLAlchemy reads a bare postgresql:// as psycopg 3, with
    which Dagster's storage fails.
    """
    parts = urlsplit(database_url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query["options"] = f"{query.get('options', '')} {SEARCH_PATH} {QUICK_COMMIT}".strip()
    # `urlsplit` and `urlunsplit` drop the empty host of a socket URL; it is put back by hand.
    path = urlunsplit(("", "", parts.path, urlencode(query, quote_via=quote), ""))
    return f"postgresql+psycopg2://{parts.netloc}{path}"


def write(data_dir: Path, code_port: int, location: str) -> Path:
    """Write dagster.yaml and workspace.yaml into `<data_dir>/dagster`; return that folder."""
    import yaml

    home = data_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance_config(home), sort_keys=False))
    (home / "workspace.yaml").write_text(yaml.safe_dump(workspace_config(code_port, location)))
    return home


def instance_config(home: Path) -> dict[str, Any]:
    """What dagster.yaml says. URLs come from the environment, so no password lies in a file."""
    return {
        "run_storage": storage("ConstellationRunStorage"),
        "event_log_storage": storage("ConstellationEventLogStorage"),
        "schedule_storage": storage("ConstellationScheduleStorage"),
        "run_coordinator": {
            "module": "constellation_pipelines.launcher.coordinator",
            "class": "ConstellationRunCoordinator",
        },
        "run_launcher": {
            "module": "constellation_pipelines.launcher.launcher",
            "class": "ConstellationRunLauncher",
            "config": {"database_url": {"env": DATABASE_VARIABLE}},
        },
        "run_monitoring": {
            "enabled": True,
            "poll_interval_seconds": 5,
            "start_timeout_seconds": 600,
            "cancel_timeout_seconds": 60,
            "max_resume_run_attempts": 2,
            "free_slots_after_run_end_seconds": 1,
        },
        "local_artifact_storage": {
            "module": "dagster._core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": str(home)},
        },
        "compute_logs": {
            "module": "constellation_pipelines.launcher.compute_logs",
            "class": "ConstellationComputeLogManager",
            # While a page shows a step's output, Dagster looks for more of it so often. It would be
            # each 2.5 s.
            "config": {"base_dir": str(home / "compute_logs"), "polling_timeout": 0.2},
        },
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},  # no sign-up form before the first page
    }


def storage(name: str) -> dict[str, Any]:
    """One of Dagster's three storages. `migrate` makes the tables: to look for them costs 60 ms."""
    return {
        "module": "constellation_pipelines.launcher.storage",
        "class": name,
        "config": {
            "postgres_url": {"env": DAGSTER_DATABASE_VARIABLE},
            "should_autocreate_tables": False,
        },
    }


def workspace_config(code_port: int, location: str) -> dict[str, Any]:
    """What workspace.yaml says: one code server, on the loopback address."""
    server = {"host": "127.0.0.1", "port": code_port, "location_name": location}
    return {"load_from": [{"grpc_server": server}]}
