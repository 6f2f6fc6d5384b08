"""One turn of the dispatcher's work; every step is safe to do again."""

from constellation_pipelines.dispatcher import pending
from constellation_pipelines.dispatcher.dagster_door import DagsterDoor
from constellation_pipelines.domain.errors import ConstellationError, ServiceUnavailable
from constellation_pipelines.store import plans, queue
from constellation_pipelines.store.database import Database


class Planner:
    """Moves what is pending towards Dagster, and reaps what was left behind."""

    def __init__(self, database: Database, door: DagsterDoor) -> None:
        self._database = database
        self._door = door

    def turn(self) -> None:
        """Scenes, runs, cancellations, lapsed leases: in this order."""
        self._add_scenes()
        self._launch()
        self._cancel()
        self._reap()

    def _add_scenes(self) -> None:
        with self._database.transaction() as connection:
            found = pending.new_scenes(connection)
        if not found:
            return
        self._door.add_scenes(sorted(scene["key"] for scene in found))
        with self._database.transaction() as connection:
            pending.mark_partitioned(connection, [scene["id"] for scene in found])

    def _launch(self) -> None:
        with self._database.transaction() as connection:
            runs = pending.pending_runs(connection)
        for run in runs:
            try:
                self._door.launch(run)
            except ServiceUnavailable:
                raise
            except ConstellationError as error:
                with self._database.transaction() as connection:
                    pending.fail_run(connection, run, error.message)

    def _cancel(self) -> None:
        with self._database.transaction() as connection:
            runs = pending.runs_to_cancel(connection)
            for run_id, state in runs:
                if state == "PENDING":
                    pending.cancel_pending_run(connection, run_id)
        for run_id, state in runs:
            if state != "PENDING":
                self._door.cancel(run_id)

    def _reap(self) -> None:
        """Runs of a dead worker start again; what has died too often is reported as failed."""
        with self._database.transaction() as connection:
            for lease in queue.lapsed(connection):
                if queue.requeue(connection, lease, resume=True) is None:
                    queue.finish(connection, lease, None)
            untold = queue.untold(connection)
        for run in untold:
            self._tell(run)

    def _tell(self, run: queue.Untold) -> None:
        if run.cancelled:
            self._door.fail(run.run_id, "The run was cancelled and its process has ended.")
            return
        code = run.exit_code
        ended = "was lost with its worker" if code is None else f"ended with {code}"
        reason = f"The run's process {ended}; no attempt is left."
        with self._database.transaction() as connection:
            plans.record_error(connection, run.run_id, reason)
        self._door.fail(run.run_id, reason)
