"""Hands work to Dagster: scenes become partitions, pending runs become Dagster runs."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from uuid import UUID

from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterError,
    DagsterInstance,
    DagsterRun,
    JobDefinition,
    RepositoryDefinition,
)
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RemoteRepositoryOrigin
from dagster._core.workspace.load_target import WorkspaceFileTarget

from constellation_pipelines.dispatcher.pending import PendingRun
from constellation_pipelines.domain import names
from constellation_pipelines.domain.errors import ConstellationError
from constellation_pipelines.launcher import tags
from constellation_pipelines.launcher.coordinator import ConstellationRunCoordinator
from constellation_pipelines.launcher.storage import ConstellationEventLogStorage


class DagsterDoor:
    """Makes Dagster runs from loaded definitions, without the web server in the path."""

    def __init__(
        self,
        instance: DagsterInstance,
        repository: RepositoryDefinition,
        *,
        definitions: str,
        workspace: Path,
        load: Callable[[], RepositoryDefinition] | None = None,
    ) -> None:
        """`load` reads the definitions anew, for models that came after the start."""
        self._instance = instance
        self._repository = repository
        self._load = load
        self._definitions = definitions
        self._remote = remote_origin(workspace, repository.name)

    def reload(self) -> None:
        """Take up new models and changes of known ones. What does not load changes nothing."""
        if self._load is None:
            return
        try:
            self._repository = self._load()
        except Exception as error:  # whatever a definition does; the old ones still serve
            print(f"the definitions do not load, so the old ones stay: {error}", flush=True)

    def add_scenes(self, keys: list[str]) -> None:
        """Make scenes partitions, and report each as registered."""
        self._instance.add_dynamic_partitions(names.SCENES, keys)
        for key in keys:
            event = AssetMaterialization(AssetKey(names.REGISTERED_SCENE), partition=key)
            self._instance.report_runless_asset_event(event)

    def launch(self, run: PendingRun) -> None:
        """Make and queue a Dagster run with the run's own id. Safe to call again after a crash.

        Raises ConstellationError when the model has no Dagster job, its package not being there,
        or when Dagster refuses the run.
        """
        try:
            with planned_events_later(self._instance):
                self._coordinator.enqueue(self._make(run))
        except DagsterError as error:
            raise ConstellationError(f"Dagster refused the run: {error}") from error

    def enqueue_again(self, run_id: UUID) -> None:
        """Queue a run that Dagster has and the queue has not. A run that went on stays as it is."""
        run = self._instance.get_run_by_id(str(run_id))
        if run is not None and run.status.value in ("NOT_STARTED", "QUEUED"):
            self._coordinator.enqueue(run)

    def _make(self, run: PendingRun) -> DagsterRun:
        """The Dagster run of this id, made now unless an earlier turn did."""
        made = self._instance.get_run_by_id(str(run.id))
        if made is None:
            job = self._job(run.model)
            made = self._instance.create_run_for_job(
                job,
                run_id=str(run.id),
                run_config=run_config(run),
                tags=run_tags(run),
                remote_job_origin=self._remote.get_job_origin(job.name),
                job_code_origin=code_origin(self._definitions, job.name),
            )
        return made

    def cancel(self, run_id: UUID) -> None:
        """Cancel a run that Dagster knows."""
        self._coordinator.cancel_run(str(run_id))

    def fail(self, run_id: UUID, reason: str) -> None:
        """Report a run as failed."""
        run = self._instance.get_run_by_id(str(run_id))
        if run is not None and not run.is_finished:
            self._instance.report_run_failed(run, reason)

    def end_cancelled(self, run_id: UUID, reason: str) -> None:
        """Report a run as cancelled whose process has ended without doing so."""
        run = self._instance.get_run_by_id(str(run_id))
        if run is not None and not run.is_finished:
            self._instance.report_run_canceled(run, reason)

    @property
    def _coordinator(self) -> ConstellationRunCoordinator[DagsterInstance]:
        coordinator = self._instance.run_coordinator
        if not isinstance(coordinator, ConstellationRunCoordinator):
            raise ConstellationError(
                "dagster.yaml names another run coordinator than ConstellationRunCoordinator"
            )
        return coordinator

    def _job(self, model: str) -> JobDefinition:
        name = names.dagster_job(model)
        if not self._repository.has_job(name):  # it may have been added just now
            self.reload()
        if not self._repository.has_job(name):
            raise ConstellationError(
                f"model {model} has no Dagster job: its package is not in the models folder any "
                "more; add it again with `constellation models add`"
            )
        return self._repository.get_job(name)


def planned_events_later(instance: DagsterInstance) -> AbstractContextManager[None]:
    """Let a run be queued before the log says what it will do."""
    storage = instance.event_log_storage
    if isinstance(storage, ConstellationEventLogStorage):
        return storage.planned_events_later()
    return nullcontext()


def run_config(run: PendingRun) -> dict[str, object]:
    """The job's options as config of the predictions op."""
    known = ("accept_gsd_mismatch", "reuse", "max_failed_tile_ratio", "max_cloud_fraction")
    options = {name: run.params[name] for name in known if run.params.get(name) is not None}
    return {"ops": {names.predictions_op(run.model): {"config": options}}}


def run_tags(run: PendingRun) -> dict[str, str]:
    """Tags of a run: whose it is, what it does, how urgent it is, what it needs."""
    wanted = {tags.GPU_COUNT: "gpu_count", tags.GPU_MEM_MB: "gpu_mem_mb"}
    needs = {
        tag: str(run.params[name])
        for tag, name in wanted.items()
        if run.params.get(name) is not None
    }
    return needs | {
        tags.JOB_ID: str(run.job_id),
        tags.ACCOUNT: run.submitted_by,
        tags.MODEL: f"{run.model}@{run.version}",
        tags.PARTITION: run.scene_key,
        tags.PRIORITY: str(run.priority),
    }


def code_origin(definitions: str, job_name: str) -> JobPythonOrigin:
    """Where a run process finds the job: in the module that holds `defs`."""
    pointer = ModuleCodePointer(definitions, "defs")
    repository = RepositoryPythonOrigin(sys.executable, pointer)
    return JobPythonOrigin(job_name, repository)


def remote_origin(workspace: Path, repository: str) -> RemoteRepositoryOrigin:
    """Where Dagster's UI finds our jobs; without it no run can be queued, nor run again there.

    Raises ConstellationError when the workspace file is not there.
    """
    if not workspace.exists():
        raise ConstellationError(f"there is no {workspace}; start the stack, which writes it")
    location = next(iter(WorkspaceFileTarget([str(workspace)]).create_origins()))
    return RemoteRepositoryOrigin(location, repository)
