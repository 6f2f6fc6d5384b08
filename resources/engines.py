"""The lease of this run, the engines of its devices, and where its worker stages pixels."""

import json
import os
from uuid import UUID

from dagster import ConfigurableResource
from pydantic import Field

from constellation_pipelines.domain.errors import EngineFailed
from constellation_pipelines.inference.client import EngineClient
from constellation_pipelines.store.queue import Lease


class EnginesResource(ConfigurableResource):  # type: ignore[type-arg]  # Dagster's generic is unbound
    """Reads what the worker put into the environment of the run process it forked."""

    staging: str = Field(default="", description="Folder of the mirrors of remote scenes.")

    def lease(self, run_id: UUID) -> Lease:
        """The lease under which this process may write. Raises EngineFailed without one."""
        fence = os.environ.get("CONSTELLATION_FENCE")
        if fence is None:
            raise EngineFailed(
                "this run was not started by a Constellation worker, so it holds no device: "
                "start the stack with `constellation up` and launch the run there"
            )
        return Lease(run_id, int(fence))

    def sockets(self) -> dict[str, str]:
        """Socket path of each leased device's engine, by device uuid."""
        return dict(json.loads(os.environ.get("CONSTELLATION_ENGINES", "{}")))

    def clients(self) -> dict[str, EngineClient]:
        """The engines of the leased devices, by device uuid. Raises EngineFailed without any."""
        sockets = self.sockets()
        if not sockets:
            raise EngineFailed(
                "this run leased no device: remove its tag constellation/gpu_count or raise it"
            )
        return {uuid: EngineClient(path) for uuid, path in sockets.items()}
