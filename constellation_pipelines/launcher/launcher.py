"""Dagster's run launcher, enqueue-only.

It lives in the web server, the daemon and the dispatcher, in several threads: it never forks,
never waits and never holds a device. All state is in Postgres; a worker does the rest.
"""

import threading
from collections.abc import Mapping
from typing import Any, Self
from uuid import UUID

from dagster import DagsterRun, Field, StringSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.instance import T_DagsterInstance
from dagster._core.launcher.base import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    RunLauncher,
    WorkerStatus,
)
from dagster._serdes import ConfigurableClass, ConfigurableClassData, serialize_value

from constellation_pipelines.launcher import tags
from constellation_pipelines.store import queue
from constellation_pipelines.store.database import Database

HEALTH = """
select state, exit_code, worker_id::text as worker_id, attempt,
       extract(epoch from now() - heartbeat_at)::float8 as silent_s
  from constellation.run_queue where run_id = %s
"""

DEBUG = """
select q.state, q.exit_code, q.attempt, q.pid, q.fence, q.enqueued_at, q.leased_at, q.finished_at,
       q.cancel_requested, w.host,
       extract(epoch from now() - q.heartbeat_at)::float8 as silent_s,
       array(select g.uuid from constellation.leases l join constellation.gpus g on g.id = l.gpu_id
              where l.fence = q.fence order by g.idx) as devices,
       array(select f.at::text || ' ' || f.kind || ', ' || f.decision || ': ' || f.message
               from constellation.faults f where f.run_id = q.run_id order by f.at) as faults
  from constellation.run_queue q left join constellation.workers w on w.id = q.worker_id
 where q.run_id = %s
"""

DATABASE_URL = Field(
    StringSource,
    description="postgresql:// URL of the database that holds Constellation's run queue, the one "
    "that Dagster's storage is in too. As {env: NAME} it is read from a variable, and no password "
    "lies in the file.",
)


class ConstellationRunLauncher(RunLauncher[T_DagsterInstance], ConfigurableClass):
    """Writes runs into Constellation's queue and reads back how they are."""

    def __init__(self, database_url: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._database_url = database_url
        self._inst_data = inst_data
        self._lock = threading.Lock()
        self._database: Database | None = None
        super().__init__()  # type: ignore[no-untyped-call]  # Dagster's own

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Where Dagster read this class from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The fields of `run_launcher.config` in dagster.yaml."""
        return {"database_url": DATABASE_URL}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Called by Dagster with the values of dagster.yaml."""
        return cls(inst_data=inst_data, **config_value)

    @property
    def database(self) -> Database:
        """The pool, opened on first use: instances are also made in processes that never launch."""
        with self._lock:
            if self._database is None:
                self._database = Database(self._database_url, max_size=4)
            return self._database

    def enqueue(self, run: DagsterRun, *, resume: bool) -> None:
        """Put a run into the queue. Raises InvalidInput when a tag of it makes no sense."""
        with self.database.transaction() as connection:
            queue.enqueue(
                connection,
                run_id=UUID(run.run_id),
                instance_ref=serialize_value(self._instance.get_ref()),
                resume=resume,
                priority=tags.priority(run.tags),
                gpu_count=tags.gpu_count(run.tags),
                mem_mb=tags.gpu_mem_mb(run.tags),
                scene_key=run.tags.get(tags.PARTITION),
            )

    def launch_run(self, context: LaunchRunContext) -> None:
        """Queue a run that another coordinator launched."""
        self.enqueue(context.dagster_run, resume=False)

    @property
    def supports_resume_run(self) -> bool:
        """Dagster's run monitoring may ask for an interrupted run to go on."""
        return True

    def resume_run(self, context: ResumeRunContext) -> None:
        """Queue an interrupted run again; it goes on with the tiles not yet committed.

        Not one that has no attempt left: the dispatcher is about to report it as failed.
        """
        row = self.database.fetch_one(HEALTH, (context.dagster_run.run_id,))
        if row is None or row["state"] != "done" or row["attempt"] < queue.MAX_ATTEMPTS:
            self.enqueue(context.dagster_run, resume=True)

    def terminate(self, run_id: str) -> bool:
        """Cancel a run: at once if it waits, else by its worker. False when it had ended."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        with self.database.transaction() as connection:
            waited = queue.withdraw(connection, UUID(run_id))
            held = not waited and queue.request_interrupt(connection, UUID(run_id))
        if not held:
            self._instance.report_run_canceled(run)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Dagster's run monitoring may ask whether a run's process lives."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What the queue says of a run. Silence is reported as unknown, not as death."""
        row = self.database.fetch_one(HEALTH, (run.run_id,))
        if row is None:
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the run is not in the queue")
        worker_id = row["worker_id"]
        if row["state"] == "queued":
            return CheckRunHealthResult(WorkerStatus.RUNNING, "waiting for a device")
        if row["state"] == "leased":
            if row["silent_s"] > queue.LEASE_TTL_S:
                message = f"its worker has been silent for {row['silent_s']:.0f} s"
                return CheckRunHealthResult(WorkerStatus.UNKNOWN, message, run_worker_id=worker_id)
            return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=worker_id)
        status = WorkerStatus.SUCCESS if row["exit_code"] == 0 else WorkerStatus.FAILED
        return CheckRunHealthResult(
            status, f"its process ended with {row['exit_code']}", run_worker_id=worker_id
        )

    def get_run_worker_debug_info(
        self, run: DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        """What the queue knows of a run, for an operator who reads it in Dagster's UI."""
        row = self.database.fetch_one(DEBUG, (run.run_id,))
        return None if row is None else debug_text(row)

    def dispose(self) -> None:
        """Close the pool."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


def debug_text(row: Mapping[str, Any]) -> str:
    """A queue row as lines of text."""
    lines = [f"queue state: {row['state']}", f"attempt: {row['attempt']} of {queue.MAX_ATTEMPTS}"]
    if row["state"] == "queued":
        lines.append(f"waiting for a device since {row['enqueued_at']}")
    else:
        lines.append(f"host: {row['host']}, process {row['pid']}, fence {row['fence']}")
        lines.append(f"devices: {', '.join(row['devices']) or 'none'}")
        lines.append(f"leased: {row['leased_at']}")
    if row["state"] == "leased":
        lines.append(f"last heartbeat: {row['silent_s']:.0f} s ago")
    if row["state"] == "done":
        lines.append(f"ended: {row['finished_at']}, exit code {row['exit_code']}")
    if row["cancel_requested"]:
        lines.append("asked to stop")
    return "\n".join([*lines, *(f"fault: {fault}" for fault in row["faults"])])
