"""The lake as a Dagster resource."""

from pathlib import Path

from dagster import ConfigurableResource
from pydantic import Field

from constellation_pipelines.lake.files import RunFiles, files_of_run


class LakeResource(ConfigurableResource):  # type: ignore[type-arg]  # Dagster's generic is unbound
    """Knows where results lie."""

    root: str = Field(description="Folder of the GeoParquet files and rasters.")

    def files_of_run(self, *, run_id: str, model: str, date: str) -> RunFiles:
        """The files of one run."""
        return files_of_run(Path(self.root), run_id=run_id, model=model, date=date)
