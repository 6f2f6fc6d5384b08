"""Keeps a run QUEUED in Dagster's UI until a worker has really leased its devices.

No daemon polls in the path: submitting writes the queue row and notifies the workers.
"""

from collections.abc import Mapping
from typing import Any, Self

from dagster import DagsterEvent, DagsterRun, DagsterRunStatus
from dagster._config.config_schema import UserConfigSchema
from dagster._core.instance import T_DagsterInstance
from dagster._core.run_coordinator.base import RunCoordinator, SubmitRunContext
from dagster._serdes import ConfigurableClass, ConfigurableClassData

from constellation_pipelines.domain.errors import InvalidInput
from constellation_pipelines.launcher import tags
from constellation_pipelines.launcher.launcher import ConstellationRunLauncher


class ConstellationRunCoordinator(RunCoordinator[T_DagsterInstance], ConfigurableClass):
    """Dagster's door to the run queue. Holds no state; any process may have one."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data
        super().__init__()  # type: ignore[no-untyped-call]  # Dagster's own

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Where Dagster read this class from."""
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No configuration: the launcher's serves both."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Called by Dagster with the values of dagster.yaml."""
        return cls(inst_data=inst_data)

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queue a run that has not started. Safe to call again for the same run."""
        run = context.dagster_run
        if run.status in (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.QUEUED):
            self.enqueue(run)
        return self._instance.get_run_by_id(run.run_id) or run

    def enqueue(self, run: DagsterRun) -> None:
        """Report the run as queued, then hand it to the workers.

        A run whose tags make no sense fails at once, with the reason, and is never queued.
        """
        try:
            tags.check(run.tags)
        except InvalidInput as error:
            self._instance.report_run_failed(run, error.message)
            return
        if run.status == DagsterRunStatus.NOT_STARTED:
            self._instance.report_dagster_event(DagsterEvent.job_enqueue(run), run_id=run.run_id)
        self.launcher.enqueue(run, resume=False)

    def cancel_run(self, run_id: str) -> bool:
        """Cancel a run, waiting or running."""
        return self.launcher.terminate(run_id)

    @property
    def launcher(self) -> ConstellationRunLauncher[T_DagsterInstance]:
        """The launcher of the same instance; no other kind can read our queue."""
        launcher = self._instance.run_launcher
        if not isinstance(launcher, ConstellationRunLauncher):
            raise TypeError(
                "ConstellationRunCoordinator needs ConstellationRunLauncher in dagster.yaml, "
                f"not {type(launcher).__name__}"
            )
        return launcher
