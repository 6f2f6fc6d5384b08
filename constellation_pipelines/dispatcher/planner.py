"""One turn of the dispatcher's work; every step is safe to do again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from dagster import DagsterError

from constellation_pipelines.dispatcher import pending
from constellation_pipelines.dispatcher.dagster_door import DagsterDoor
from constellation_pipelines.domain.errors import ConstellationError, ServiceUnavailable
from constellation_pipelines.store import plans, queue, reaper, workers
from constellation_pipelines.store.database import Database
from constellation_pipelines.store.devices import WORKER_ALIVE_S
from constellation_pipelines.store.run_ends import words
from constellation_pipelines.store.workers import WorkerRecord
from constellation_pipelines.worker.proof import is_local, proof_of_death

CANCELLED = "The run was cancelled; its process did not stop by itself and was ended."
HUNG_S = 60.0  # a worker of this host that lives but says nothing for so long has lost its runs


class Planner:
    """Moves what is pending towards Dagster, and reaps what was left behind."""

    def __init__(self, database: Database, door: DagsterDoor) -> None:
        self._database = database
        self._door = door
        self._hear_until = 0.0

    def hear_first(self) -> None:
        """Take no silence for death until every worker has had time to be heard again.

        For a start, and a database that was away: nobody could beat then.
        """
        self._hear_until = time.monotonic() + WORKER_ALIVE_S

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
            stranded = pending.stranded_runs(connection)
        for run_id in stranded:
            with tolerated(run_id):
                self._door.enqueue_again(run_id)
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
                with tolerated(run_id):
                    self._door.cancel(run_id)

    def _reap(self) -> None:
        """Runs of a dead worker start again; what has died too often is reported as failed."""
        with self._database.transaction() as connection:
            suspects = workers.unended(connection)
            untold = queue.untold(connection)
        for worker in suspects:
            self._bury(worker)
        for run in untold:
            with tolerated(run.run_id):
                self._tell(run)

    def _bury(self, worker: WorkerRecord) -> None:
        """Queue the runs of a dead worker again. One that was only silent may come back."""
        reason = "it has stopped" if worker.stopped else proof_of_death(worker)
        if reason is not None and (worker.stopped or is_local(worker)):
            self._take_over(worker, reason)
            with self._database.transaction() as connection:
                workers.stop(connection, worker.id)
        elif worker.holds_runs and self._is_lost(worker):
            self._take_over(worker, f"it has been silent for {worker.silent_s:.0f} s")

    def _take_over(self, worker: WorkerRecord, reason: str) -> None:
        proof = reaper.Proof(worker.id, worker.host, reason)
        runs = reaper.take_over(self._database, proof)
        print(
            f"worker {worker.pid} on {worker.host} is gone, {reason}: {runs} runs pass on",
            flush=True,
        )

    def _is_lost(self, worker: WorkerRecord) -> bool:
        """Whether silence is proof: not right after an outage, later where the process lives."""
        limit_s = HUNG_S if is_local(worker) else WORKER_ALIVE_S
        return time.monotonic() > self._hear_until and worker.silent_s > limit_s

    def _tell(self, run: queue.Untold) -> None:
        if run.cancelled:
            self._door.end_cancelled(run.run_id, CANCELLED)
            return
        ended = "was lost with its worker" if run.exit_code is None else words(run.exit_code)
        reason = run.reason or f"The run's process {ended}; no attempt is left."
        with self._database.transaction() as connection:
            plans.record_error(connection, run.run_id, reason)
        self._door.fail(run.run_id, reason)


@contextmanager
def tolerated(run_id: UUID) -> Iterator[None]:
    """Leave a run alone that this Dagster cannot read, such as one in a state of a newer one."""
    try:
        yield
    except (ValueError, DagsterError) as error:
        print(f"run {run_id} is left as it is: {error}", flush=True)
